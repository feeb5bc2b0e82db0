from __future__ import annotations

import contextlib
import gzip
import io
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.errors import SampleError
from luthier.samples import unpack
from luthier.samples.unpack import extract, zip_names

GOOD = {"pkg/a.txt": b"alpha", "pkg/b/c.bin": bytes(5000), "pkg/other": b"left out"}
EVIL_NAMES = ["../out", "pkg/../../out", "/etc/out", "pkg\\..\\out", "C:/out", "pkg/a\\b"]


def write(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "archive"
    path.write_bytes(data)
    return path


def folder_of(tmp_path: Path) -> Path:
    folder = tmp_path / "deep" / "er" / "out"
    folder.mkdir(parents=True)
    return folder


def files_below(path: Path) -> set[str]:
    return {file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()}


@pytest.fixture(params=["zip", "tar"])
def make(request: pytest.FixtureRequest, make_zip: Any, make_tar: Any) -> Callable[[dict[str, bytes]], bytes]:
    return make_zip if request.param == "zip" else make_tar


def tar_with(info: tarfile.TarInfo, data: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as bundle:
        info.size = len(data)
        bundle.addfile(info, io.BytesIO(data))
        good = tarfile.TarInfo("pkg/a.txt")
        good.size = 5
        bundle.addfile(good, io.BytesIO(b"alpha"))
    return buffer.getvalue()


def test_only_wanted_members_are_written(tmp_path: Path, make: Any) -> None:
    folder = folder_of(tmp_path)
    written = extract(write(tmp_path, make(GOOD)), {"pkg/b/c.bin": "x/c.bin", "pkg/a.txt": "a"}, folder, max_bytes=9000)
    assert written == [folder / "x/c.bin", folder / "a"]
    assert files_below(folder) == {"x/c.bin", "a"}
    assert (folder / "x/c.bin").read_bytes() == GOOD["pkg/b/c.bin"]


def test_a_tar_inside_a_tar(tmp_path: Path, make_tar: Any) -> None:
    outer = write(tmp_path, make_tar({"p/inner.tar.gz": make_tar(GOOD)}))
    folder = folder_of(tmp_path)
    (inner,) = extract(outer, {"p/inner.tar.gz": "inner.tar.gz"}, folder, max_bytes=9000)
    (file,) = extract(inner, {"pkg/a.txt": "a.txt"}, folder, max_bytes=9000)
    assert file.read_bytes() == b"alpha"


@pytest.mark.parametrize("name", EVIL_NAMES)
def test_names_that_lead_elsewhere_refuse_the_archive(tmp_path: Path, make: Any, name: str) -> None:
    archive = write(tmp_path, make({name: b"evil", **GOOD}))
    folder = folder_of(tmp_path)
    with pytest.raises(SampleError, match="must hold only paths below its own root"):
        extract(archive, {"pkg/a.txt": "a.txt", name: "evil"}, folder, max_bytes=9000)
    assert files_below(tmp_path) == {"archive"}


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
@pytest.mark.parametrize("wanted", [True, False])
def test_links_and_devices_in_a_tar_refuse_it(tmp_path: Path, kind: bytes, wanted: bool) -> None:
    info = tarfile.TarInfo("pkg/link")
    info.type = kind
    info.linkname = "/etc/passwd"
    members = {"pkg/link": "link"} if wanted else {"pkg/a.txt": "a.txt"}
    folder = folder_of(tmp_path)
    with pytest.raises(SampleError, match="must hold only files and folders; 'pkg/link' is neither"):
        extract(write(tmp_path, tar_with(info)), members, folder, max_bytes=9000)
    assert not list(folder.iterdir())


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_links_and_devices_in_a_zip_refuse_it(tmp_path: Path, kind: int) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as bundle:
        info = zipfile.ZipInfo("pkg/link")
        info.external_attr = (kind | 0o777) << 16
        bundle.writestr(info, "/etc/passwd")
        bundle.writestr("pkg/a.txt", "alpha")
    with pytest.raises(SampleError, match="must hold only files and folders; 'pkg/link' is neither"):
        extract(write(tmp_path, buffer.getvalue()), {"pkg/a.txt": "a"}, folder_of(tmp_path), max_bytes=9000)


def test_one_name_twice_refuses_a_zip(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as bundle:
        bundle.writestr("a", "one")
        with pytest.warns(UserWarning, match="Duplicate name"):
            bundle.writestr("a", "two")
    with pytest.raises(SampleError, match="must hold each name once; got 'a' twice"):
        extract(write(tmp_path, buffer.getvalue()), {"a": "a"}, folder_of(tmp_path), max_bytes=9000)


def test_one_name_twice_refuses_a_tar(tmp_path: Path) -> None:
    data = tar_with(tarfile.TarInfo("pkg/a.txt"), b"other")
    with pytest.raises(SampleError, match="must hold each name once"):
        extract(write(tmp_path, data), {"pkg/a.txt": "a"}, folder_of(tmp_path), max_bytes=9000)


def test_an_encrypted_member_refuses_a_zip(tmp_path: Path, make_zip: Any) -> None:
    data = bytearray(make_zip({"a": b"alpha"}))
    data[6] |= 1  # the flag in the local header
    data[data.index(b"PK\x01\x02") + 8] |= 1  # and in the directory
    with pytest.raises(SampleError, match="must not be encrypted"):
        extract(write(tmp_path, bytes(data)), {"a": "a"}, folder_of(tmp_path), max_bytes=9000)


def test_more_bytes_than_allowed_refuse_the_archive(tmp_path: Path, make: Any) -> None:
    archive = write(tmp_path, make(GOOD))
    total = sum(map(len, GOOD.values()))
    with pytest.raises(SampleError, match=f"must unpack to at most {total - 1} bytes"):
        extract(archive, {"pkg/a.txt": "a"}, folder_of(tmp_path), max_bytes=total - 1)
    assert extract(archive, {"pkg/a.txt": "b"}, tmp_path / "deep", max_bytes=total)


def test_more_members_than_allowed_refuse_the_archive(
    tmp_path: Path, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpack, "MAX_MEMBERS", 2)
    with pytest.raises(SampleError, match="must hold at most 2 members"):
        extract(write(tmp_path, make(GOOD)), {"pkg/a.txt": "a"}, folder_of(tmp_path), max_bytes=9000)


def test_a_bomb_in_a_tars_headers_is_stopped_before_it_is_in_memory(tmp_path: Path) -> None:
    # A header that says "a long name of 8 GB follows": tarfile reads it whole, so the stream must give up first.
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 8_000_000_000
    data = gzip.compress(header.tobuf(tarfile.GNU_FORMAT) + bytes(40_000_000))
    with pytest.raises(SampleError, match="must unpack to at most"):
        extract(write(tmp_path, data), {"a": "a"}, folder_of(tmp_path), max_bytes=9000)


def test_a_missing_member_is_named(tmp_path: Path, make: Any) -> None:
    with pytest.raises(SampleError, match=r"archive: must hold pkg/none; it does not"):
        extract(write(tmp_path, make(GOOD)), {"pkg/none": "x"}, folder_of(tmp_path), max_bytes=9000)


@pytest.mark.parametrize("keep", [0.2, 0.6, 0.95])
def test_a_truncated_archive_is_unreadable(tmp_path: Path, make: Any, keep: float) -> None:
    data = make({"a": bytes(range(256)) * 200, **GOOD})
    archive = write(tmp_path, data[: int(len(data) * keep)])
    with pytest.raises(SampleError):
        extract(archive, {"pkg/other": "x"}, folder_of(tmp_path), max_bytes=90_000)


def test_zip_names_checks_as_well(tmp_path: Path, make_zip: Any) -> None:
    assert zip_names(write(tmp_path, make_zip(GOOD)), max_bytes=9000) == list(GOOD)
    with pytest.raises(SampleError):
        zip_names(write(tmp_path, make_zip({"../x": b""})), max_bytes=9000)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_damage_is_an_error_or_harmless(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Property: whatever bytes are changed, extraction writes only below its folder or raises SampleError."""
    tmp_path = tmp_path_factory.mktemp("damage")
    if data.draw(st.booleans()):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as bundle:
            for name, body in GOOD.items():
                bundle.writestr(name, body[:50])
        raw = bytearray(buffer.getvalue())
    else:
        raw = bytearray(gzip.decompress(tar_with(tarfile.TarInfo("pkg/first"), b"first")))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, min(len(raw), 2000) - 1))] = data.draw(st.integers(0, 255))
    body = bytes(raw) if zipfile.is_zipfile(io.BytesIO(raw)) else gzip.compress(bytes(raw))
    folder = folder_of(tmp_path)
    with contextlib.suppress(SampleError):
        extract(write(tmp_path, body), {"pkg/a.txt": "a.txt"}, folder, max_bytes=9000)
    assert files_below(tmp_path) <= {"archive", "deep/er/out/a.txt"}
