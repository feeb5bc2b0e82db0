"""Files that are either whole or absent: atomic writes, hashes, fingerprints."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from luthier.errors import ArtifactError

HOME_VARIABLE = "LUTHIER_HOME"
# What a file system may answer that is no fault of ours.
DISK_ERRORS = frozenset(
    {
        errno.EACCES,
        errno.EDQUOT,
        errno.EFBIG,
        errno.EIO,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOSPC,
        errno.EPERM,
        errno.EROFS,
        errno.ESTALE,
    }
)


@contextmanager
def disk_errors_named(folder: Path) -> Iterator[None]:
    """Turn what the file system refuses inside the block into a sentence.

    Args:
        folder: named where the refusal names no file.

    Raises:
        ArtifactError: a full disk, a read-only folder, a failing device or the like.
    """
    try:
        yield
    except Exception as error:
        number = _disk_error(error)
        if number is None:
            raise
        where = error.filename if isinstance(error, OSError) and error.filename else folder
        raise ArtifactError(
            f"the file system refuses: {os.strerror(number)}.",
            where=str(where),
            fix="Nothing is lost: make room or give access, then give the same command again.",
        ) from error


def _disk_error(error: Exception) -> int | None:
    """Return the number of the file system's error behind an exception; None where it is about something else."""
    number = error.errno if isinstance(error, OSError) else None
    tells = isinstance(error, shutil.Error) or type(error).__module__.startswith(
        ("safetensors", "pyarrow", "tokenizers")
    )
    if number is None and tells:
        found = re.search(r"(?:os error|Errno) (\d+)", str(error))
        number = int(found[1]) if found else None
    return number if number in DISK_ERRORS else None


def home() -> Path:
    """Return the folder for samples and caches: `LUTHIER_HOME`, or `luthier` under the user's cache folder."""
    chosen = os.environ.get(HOME_VARIABLE)
    if chosen:
        return Path(chosen).expanduser().resolve()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser().resolve() / "luthier"


def sha256_file(path: Path) -> str:
    """Return the hexadecimal sha256 of a file, read in blocks so that memory stays flat."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def canonical_json(value: Any) -> str:
    """Return one text for equal values: keys sorted, no spaces, no NaN (a NaN raises ValueError)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def fingerprint(value: Any) -> str:
    """Return the sha256 of a JSON-like value's canonical text."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def fsync_file(path: Path) -> None:
    """Wait until a file's bytes are on the device."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_folder(path: Path) -> None:
    """Wait until a folder's entries are on the device (on platforms that allow opening a folder)."""
    if os.name == "posix":
        fsync_file(path)


def write_bytes_atomic(path: Path, data: bytes) -> None:
    """Write a file so that a reader, or a crash at any instant, sees the old bytes or the new ones, never a part.

    Args:
        path: the file; its folder must exist.
        data: the whole content.
    """
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    fsync_folder(path.parent)


def json_bytes(value: Any) -> bytes:
    """Return a value as indented JSON; NaN and infinity are refused, since JSON has neither."""
    return f"{json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)}\n".encode()


def append_line(path: Path, line: str) -> None:
    """Append a line to a file, down to the device; what a kill left of a last line is cut off first."""
    with path.open("a+b") as stream:
        _cut_torn_line(stream)
        stream.write(f"{line}\n".encode())
        stream.flush()
        os.fsync(stream.fileno())


def _cut_torn_line(stream: BinaryIO) -> None:
    size = stream.seek(0, os.SEEK_END)
    if size == 0:
        return
    stream.seek(size - 1)
    if stream.read() != b"\n":
        stream.seek(0)
        stream.truncate(stream.read().rfind(b"\n") + 1)


def write_json_atomic(path: Path, value: Any) -> None:
    """Write a value as indented JSON, atomically."""
    write_bytes_atomic(path, json_bytes(value))


def read_json(path: Path) -> Any:
    """Return the value in a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))
