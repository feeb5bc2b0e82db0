"""A folder with a manifest: every file's size and sha256, written last, so that its presence is the commit.

The manifest guards itself as well: `self` is the sha256 of its other keys, and its bytes must be the ones that writing
it again would give, so a flipped byte in the manifest is noticed like one anywhere else.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from luthier.artifacts.files import (
    fingerprint,
    fsync_file,
    fsync_folder,
    json_bytes,
    sha256_file,
    write_bytes_atomic,
)
from luthier.errors import ArtifactError

MANIFEST = "manifest.json"
SELF = "self"


def list_files(folder: Path) -> dict[str, dict[str, Any]]:
    """Return `{relative path: {sha256, bytes}}` for every file below a folder except its manifest."""
    entries = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name != MANIFEST:
            entries[name] = {"sha256": sha256_file(path), "bytes": path.stat().st_size}
    return entries


def seal(folder: Path, head: Mapping[str, Any]) -> dict[str, Any]:
    """Flush every file of a folder to the device, then write its manifest.

    Args:
        folder: the folder, complete but for the manifest.
        head: the manifest's other keys.

    Returns:
        The manifest as written: `head` and `files`.
    """
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            fsync_file(path)
        elif path.is_dir():
            fsync_folder(path)
    manifest = {**head, "files": list_files(folder)}
    manifest[SELF] = fingerprint(manifest)
    write_bytes_atomic(folder / MANIFEST, json_bytes(manifest))
    return manifest


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return a folder's manifest.

    Raises:
        ArtifactError: there is none, it is not JSON, or it was changed after it was written.
    """
    path = folder / MANIFEST
    try:
        text = path.read_bytes()
        manifest = json.loads(text)
    except FileNotFoundError:
        raise ArtifactError(
            "has no manifest.json: it is no bundle, or was never finished.", where=str(folder)
        ) from None
    except (ValueError, OSError) as error:
        raise ArtifactError(f"is damaged: {error}.", where=str(path)) from None
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        raise ArtifactError("is not a manifest: it must hold a mapping `files`.", where=str(path))
    rest = {key: value for key, value in manifest.items() if key != SELF}
    if manifest.get(SELF) != fingerprint(rest) or json_bytes(manifest) != text:
        raise ArtifactError("is damaged: it does not match its own sha256.", where=str(path))
    return manifest


def verify_files(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Check that a folder holds exactly the files of its manifest, byte for byte.

    Raises:
        ArtifactError: names every file that is missing, added or changed.
    """
    wrong = [*_damaged(folder, manifest["files"])]
    present = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    wrong += [f"{name} is not in the manifest" for name in sorted(present - set(manifest["files"]) - {MANIFEST})]
    if wrong:
        raise ArtifactError(f"is damaged: {'; '.join(wrong)}.", where=str(folder))


def _damaged(folder: Path, files: Mapping[str, Any]) -> Iterator[str]:
    for name, entry in files.items():
        path = folder / name
        if not _inside(folder, path):
            yield f"{name} lies outside the folder"
        elif not path.is_file():
            yield f"{name} is missing"
        elif path.stat().st_size != entry["bytes"]:
            yield f"{name} has {path.stat().st_size} bytes instead of {entry['bytes']}"
        elif sha256_file(path) != entry["sha256"]:
            yield f"{name} has another sha256 than the manifest"


def _inside(folder: Path, path: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `target` that takes its name on leaving; on an error nothing is left.

    The caller seals the folder. An older folder of that name is replaced: it is moved aside first and removed last, so
    that a crash in between leaves a whole folder under one of the two names; `remove_leftovers` gives it its name back.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp"))
    temporary.chmod(0o755)
    try:
        yield temporary
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    fsync_folder(temporary)
    aside = None
    if target.exists():
        aside = target.with_name(f".{target.name}.{os.getpid()}.old")
        target.rename(aside)
    try:
        temporary.rename(target)
    except BaseException:
        if aside is not None:
            aside.rename(target)
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    fsync_folder(target.parent)
    if aside is not None:
        shutil.rmtree(aside, ignore_errors=True)


def remove_leftovers(parent: Path) -> None:
    """Remove temporary folders and files that a killed process left in a folder.

    A folder that was moved aside and whose successor never took its name gets its name back.
    """
    for path in parent.glob(".*.tmp"):
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    for path in parent.glob(".*.old"):
        target = path.with_name(path.name.removeprefix(".").rsplit(".", 2)[0])
        shutil.rmtree(path, ignore_errors=True) if target.exists() else path.rename(target)
