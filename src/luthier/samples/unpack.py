"""Take named members out of a zip or a gzipped tar, and nothing else.

Covered: names that lead out of the folder, absolute and drive paths, links, devices, sparse files, encrypted members,
two members of one name, archives that unpack to more than they may. Not covered: flaws in zlib itself. The archive is
looked through whole before it is trusted: one bad member refuses it, wanted or not.
"""

from __future__ import annotations

import errno
import gzip
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Protocol, cast

from luthier.errors import SampleError

MAX_MEMBERS = 10_000
_BLOCK = 1 << 20
# What the readers of the standard library raise on damage, as tests/unit/samples/test_unpack.py provokes it.
_UNREADABLE = (zipfile.BadZipFile, EOFError, zlib.error, ValueError, OverflowError, RuntimeError, struct.error)


def extract(archive: Path, members: Mapping[str, str], folder: Path, *, max_bytes: int) -> list[Path]:
    """Write the named members of an archive into a folder.

    Args:
        archive: a zip (a wheel is one) or a gzipped tar.
        members: name in the archive → path below `folder` to write it to.
        folder: exists already.
        max_bytes: the most that the whole archive, not only the wanted part, may unpack to.

    Returns:
        The files written, in the order of `members`.

    Raises:
        SampleError: the archive is not safe, not readable, or lacks one of the members.
    """
    targets = {name: _inside(folder, path) for name, path in members.items()}
    with _readable(archive):
        if zipfile.is_zipfile(archive):
            _extract_zip(archive, targets, max_bytes)
        else:
            _extract_tar(archive, targets, max_bytes)
    missing = sorted(name for name, target in targets.items() if not target.is_file())
    if missing:
        raise SampleError(f"must hold {missing[0]}; it does not.", where=archive.name)
    return list(targets.values())


def zip_names(archive: Path, *, max_bytes: int) -> list[str]:
    """Return the names of a zip's members in order, after the same checks as `extract`."""
    with _readable(archive), zipfile.ZipFile(archive) as bundle:
        return [info.filename for info in _checked_zip(bundle, archive.name, max_bytes)]


@contextmanager
def _readable(archive: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        # EINVAL: a damaged offset to seek to. No number: a damaged gzip stream. Anything else is about this machine.
        if error.errno not in (None, errno.EINVAL):
            raise
        raise _unreadable(archive, error) from error
    except (*_UNREADABLE, tarfile.TarError) as error:
        raise _unreadable(archive, error) from error


def _unreadable(archive: Path, error: Exception) -> SampleError:
    return SampleError(f"must be a whole zip or gzipped tar; got an unreadable one ({error}).", where=archive.name)


def _inside(folder: Path, path: str) -> Path:
    target = folder.joinpath(path)
    assert target.resolve().is_relative_to(folder.resolve()), f"{path} leads out of {folder}"
    return target


def _check_name(name: str, archive: str) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or ":" in name.split("/")[0]:
        raise SampleError(f"must hold only paths below its own root; got {name!r}.", where=archive)


def _check_amount(count: int, size: int, archive: str, max_bytes: int) -> None:
    if count > MAX_MEMBERS:
        raise SampleError(f"must hold at most {MAX_MEMBERS} members; got more.", where=archive)
    if size > max_bytes:
        raise SampleError(f"must unpack to at most {max_bytes} bytes; got more.", where=archive)


def _checked_zip(bundle: zipfile.ZipFile, archive: str, max_bytes: int) -> list[zipfile.ZipInfo]:
    infos = bundle.infolist()
    _check_amount(len(infos), sum(info.file_size for info in infos), archive, max_bytes)
    seen: set[str] = set()
    for info in infos:
        _check_name(info.filename, archive)
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise SampleError(f"must hold only files and folders; {info.filename!r} is neither.", where=archive)
        if info.flag_bits & 0x1:
            raise SampleError(f"must not be encrypted; {info.filename!r} is.", where=archive)
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise SampleError(f"must be stored or deflated; {info.filename!r} is neither.", where=archive)
        if info.filename in seen:
            raise SampleError(f"must hold each name once; got {info.filename!r} twice.", where=archive)
        seen.add(info.filename)
    return infos


def _extract_zip(archive: Path, targets: Mapping[str, Path], max_bytes: int) -> None:
    with zipfile.ZipFile(archive) as bundle:
        for info in _checked_zip(bundle, archive.name, max_bytes):
            if info.filename in targets and not info.is_dir():
                with bundle.open(info) as stream:
                    _write(stream, targets[info.filename], info.file_size)


class Readable(Protocol):
    """What hands out bytes."""

    def read(self, size: int = -1, /) -> bytes:
        """Return at most `size` bytes, none at the end."""
        ...


class _Bounded:
    """A stream that refuses to hand out more than so many bytes: headers count as well as members."""

    def __init__(self, stream: Readable, archive: str, max_bytes: int) -> None:
        self._stream, self._archive, self._max = stream, archive, max_bytes
        self._left = max_bytes

    def read(self, size: int = -1, /) -> bytes:
        data = self._stream.read(self._left + 1 if size < 0 else min(size, self._left + 1))
        self._left -= len(data)
        _check_amount(0, self._max - self._left, self._archive, self._max)
        return data


def _extract_tar(archive: Path, targets: Mapping[str, Path], max_bytes: int) -> None:
    # Headers and padding take room too: 1 KiB a member is what a plain tar spends on them.
    limit = max_bytes + MAX_MEMBERS * 1024
    with (
        gzip.open(archive) as raw,
        tarfile.open(fileobj=_bounded(raw, archive.name, limit), mode="r|") as bundle,
    ):
        for member in _checked_tar(bundle, archive.name, max_bytes):
            stream = bundle.extractfile(member) if member.name in targets and member.isreg() else None
            if stream is not None:
                _write(stream, targets[member.name], member.size)


def _checked_tar(bundle: tarfile.TarFile, archive: str, max_bytes: int) -> Iterator[tarfile.TarInfo]:
    seen: set[str] = set()
    total = 0
    for count, member in enumerate(bundle, start=1):
        total += member.size
        _check_amount(count, total, archive, max_bytes)
        _check_name(member.name, archive)
        if member.issparse() or not (member.isreg() or member.isdir()):
            raise SampleError(f"must hold only files and folders; {member.name!r} is neither.", where=archive)
        if member.name in seen:
            raise SampleError(f"must hold each name once; got {member.name!r} twice.", where=archive)
        seen.add(member.name)
        yield member


def _bounded(stream: Readable, archive: str, max_bytes: int) -> IO[bytes]:
    # A forward-only tar reads its stream and does nothing else with it, whatever its type says.
    return cast(IO[bytes], _Bounded(stream, archive, max_bytes))


def _write(stream: Readable, target: Path, size: int) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    left = size
    with target.open("xb") as out:
        while left and (block := stream.read(min(_BLOCK, left))):
            out.write(block)
            left -= len(block)
    if left:
        raise EOFError(f"{target.name} ends {left} bytes early")
