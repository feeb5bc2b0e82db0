"""The samples on disk: `LUTHIER_HOME/samples/NAME/VERSION-RECIPE`, each folder whole or absent.

A folder is built beside its final place, its files synced, its manifest (`sample.json`) written last, and then renamed.
One lock per sample keeps two processes from building it twice. A folder that no longer matches its manifest is set
aside, never repaired in place.
"""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.artifacts.files import (
    HOME_VARIABLE,
    fsync_file,
    fsync_folder,
    home,
    read_json,
    sha256_file,
    write_json_atomic,
)
from luthier.errors import SampleError
from luthier.samples.build import BUILDERS, GENERATORS
from luthier.samples.catalogue import PREFIX, Kind, Sample, describe, megabytes
from luthier.samples.distribution import fetch_distribution, locked
from luthier.samples.download import Progress

_log = logging.getLogger(__name__)
MANIFEST = "sample.json"
CARD = "SAMPLE.md"
DATA_FILE = "data.arrow"
_SCHEMA_VERSION = 1
# Distribution files up to this many bytes stay: they cost little, and two samples share one.
_KEEP_BYTES = 16_000_000


@dataclass(frozen=True)
class SamplePath:
    """A sample that is on disk.

    Attributes:
        kind: `model` or `data`.
        path: its folder; for a model, a plain Transformers folder.
        sample: its card.
    """

    kind: Kind
    path: Path
    sample: Sample

    @property
    def file(self) -> Path:
        """Return the file to read: a data sample's Arrow file, a model sample's weights."""
        return self.path / (DATA_FILE if self.kind == "data" else "model.safetensors")

    @property
    def columns(self) -> Mapping[str, str]:
        """Return role → column for a data sample; empty for a model."""
        return self.sample.columns

    @property
    def manifest(self) -> dict[str, Any]:
        """Return the content of `sample.json`: files with sha256 and size, rows, labels, pins."""
        manifest: dict[str, Any] = read_json(self.path / MANIFEST)
        return manifest


def path(name: str) -> SamplePath:
    """Return where a fetched sample is; look at nothing but this machine.

    Raises:
        SampleError: there is no such sample, or it is not fetched, or its folder is damaged.
    """
    sample = describe(name)
    folder = _folder(sample)
    damage = _damage(folder)
    if damage is not None:
        state = "is not on this machine" if not folder.exists() else f"is damaged: {damage}"
        raise SampleError(f"{PREFIX}{sample.name} {state}.", fix=f"Run `luthier samples fetch {sample.name}`.")
    return SamplePath(sample.kind, folder, sample)


def resolve(name: str) -> SamplePath:
    """Return a sample, fetching it if it is not on this machine (see `fetch`)."""
    return fetch(name, deep=False)


def fetch(name: str, progress: Progress | None = None, *, deep: bool = True) -> SamplePath:
    """Return a sample, fetching and building it unless a whole one is on this machine.

    Args:
        name: with or without the `sample:` in front.
        progress: called with bytes so far and bytes in all while the distribution file is fetched.
        deep: compare the sha256 of every file of a finished sample, not only names and sizes.

    Raises:
        SampleError: there is no such sample, it cannot be fetched, or what came is not what is pinned.
    """
    sample = describe(name)
    folder = _folder(sample)
    if _damage(folder, deep=deep) is None:
        return SamplePath(sample.kind, folder, sample)
    try:
        with locked(f"sample-{sample.name}"):
            damage = _damage(folder, deep=deep)  # another process may have built it meanwhile
            if damage is not None:
                _check_room(sample)
                if folder.exists():
                    _set_aside(folder, damage)
                _make(sample, folder, progress)
    except OSError as error:
        raise SampleError(
            f"{PREFIX}{sample.name} could not be written ({error.strerror or error}).",
            where=str(home()),
            fix=f"Set {HOME_VARIABLE} to a folder that you may write to.",
        ) from error
    return SamplePath(sample.kind, folder, sample)


def _check_room(sample: Sample) -> None:
    needed = sample.disk + (sample.distribution.size if sample.distribution is not None else 0)
    free = shutil.disk_usage(home()).free
    if free < needed:
        raise SampleError(
            f"{PREFIX}{sample.name} needs {megabytes(needed)} of free disk to be made; got {megabytes(free)}.",
            where=str(home()),
            fix=f"Free some, or set {HOME_VARIABLE} to a folder on another disk.",
        )


def _folder(sample: Sample) -> Path:
    return home() / "samples" / sample.name / f"{sample.version}-{sample.recipe[:12]}"


def _damage(folder: Path, *, deep: bool = False) -> str | None:
    """Return what is wrong with a sample's folder, or None if it is as its manifest says."""
    try:
        files: dict[str, dict[str, Any]] = read_json(folder / MANIFEST)["files"]
        for name, expected in files.items():
            file = folder / name
            if not file.is_file():
                return f"{name} is missing"
            if file.stat().st_size != expected["size"]:
                return f"{name} has {file.stat().st_size} bytes; expected {expected['size']}"
            if deep and sha256_file(file) != expected["sha256"]:
                return f"{name} is not the file that was built (its sha256 differs)"
    except (OSError, json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError):
        return f"{MANIFEST} is missing or cannot be read"
    return None


def _set_aside(folder: Path, damage: str) -> None:
    number = 1
    while (aside := folder.with_name(f"{folder.name}.damaged-{number}")).exists():
        number += 1
    folder.replace(aside)
    _log.warning("%s: %s; it was set aside as %s and is made anew", folder, damage, aside.name)


def _make(sample: Sample, folder: Path, progress: Progress | None) -> None:
    parent = folder.parent
    parent.mkdir(parents=True, exist_ok=True)
    for left_over in parent.glob(".building-*"):
        shutil.rmtree(left_over)  # ours is the only process that may build here: its maker is dead
    pin = sample.distribution
    fetched = None if pin is None else fetch_distribution(pin, progress=progress)
    work = Path(tempfile.mkdtemp(dir=parent, prefix=".building-"))
    try:
        _build(sample, None if fetched is None else fetched.path, work)
        (work / "sample").replace(folder)
        fsync_folder(parent)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    if fetched is not None and fetched.ours and fetched.path.stat().st_size > _KEEP_BYTES:
        fetched.path.unlink(missing_ok=True)


def _build(sample: Sample, archive: Path | None, work: Path) -> None:
    out, scratch = work / "sample", work / "scratch"
    out.mkdir()
    scratch.mkdir()
    facts = GENERATORS[sample.builder](out) if archive is None else BUILDERS[sample.builder](archive, out, scratch)
    (out / CARD).write_text(sample.card(), "utf-8")
    files = sorted(file for file in out.rglob("*") if file.is_file())
    entries = {
        file.relative_to(out).as_posix(): {"sha256": sha256_file(file), "size": file.stat().st_size} for file in files
    }
    for file in files:
        fsync_file(file)
    for below in (file for file in out.rglob("*") if file.is_dir()):
        fsync_folder(below)
    manifest = {
        "schema_version": _SCHEMA_VERSION,
        "recipe": sample.recipe,
        **sample.facts(),
        "contents": facts,
        "files": entries,
    }
    write_json_atomic(out / MANIFEST, manifest)
