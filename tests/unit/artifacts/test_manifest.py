"""Folders with manifests: any flipped byte is noticed and named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from luthier.artifacts.manifest import MANIFEST, new_folder, read_manifest, remove_leftovers, seal, verify_files
from luthier.errors import ArtifactError


def sealed(folder: Path) -> Path:
    (folder / "sub").mkdir(parents=True)
    (folder / "a.bin").write_bytes(bytes(range(200)))
    (folder / "sub" / "b.txt").write_text("hello", encoding="utf-8")
    seal(folder, {"kind": "test", "step": 7})
    return folder


def check(folder: Path) -> None:
    verify_files(folder, read_manifest(folder))


def test_a_sealed_folder_verifies(tmp_path: Path) -> None:
    folder = sealed(tmp_path / "x")
    check(folder)
    assert read_manifest(folder)["step"] == 7


def test_every_flipped_byte_is_noticed_and_named(tmp_path: Path) -> None:
    folder = sealed(tmp_path / "x")
    flipped = 0
    for path in [p for p in folder.rglob("*") if p.is_file()]:
        data = path.read_bytes()
        for position in range(0, len(data), 3 if path.name == MANIFEST else 1):
            path.write_bytes(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
            with pytest.raises(ArtifactError) as caught:
                check(folder)
            assert path.name in str(caught.value)
            flipped += 1
        path.write_bytes(data)
    check(folder)
    assert flipped > 250


def test_missing_and_added_files_are_named(tmp_path: Path) -> None:
    folder = sealed(tmp_path / "x")
    (folder / "a.bin").unlink()
    (folder / "extra").touch()
    with pytest.raises(ArtifactError, match=r"a\.bin is missing; extra is not in the manifest"):
        check(folder)


def test_a_manifest_cannot_point_outside(tmp_path: Path) -> None:
    folder = sealed(tmp_path / "x")
    (tmp_path / "secret").write_text("s", encoding="utf-8")
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    with pytest.raises(ArtifactError, match="outside the folder"):
        verify_files(folder, {"files": {**manifest["files"], "../secret": {"bytes": 1, "sha256": "0"}}})


def test_a_folder_that_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "out"

    def fail() -> None:
        with new_folder(target) as folder:
            (folder / "part").touch()
            raise RuntimeError("disk")

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_new_folder_replaces_the_old_one_whole(tmp_path: Path) -> None:
    target = tmp_path / "out"
    for content in ("one", "two"):
        with new_folder(target) as folder:
            (folder / "file").write_text(content, encoding="utf-8")
    assert (target / "file").read_text(encoding="utf-8") == "two"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_leftovers_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".out.abc.tmp").mkdir()
    (tmp_path / "kept").mkdir()
    remove_leftovers(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["kept"]
