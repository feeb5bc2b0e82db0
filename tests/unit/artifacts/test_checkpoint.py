"""Checkpoints: damaged ones are set aside, the one before is used, another run's is refused."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from luthier.artifacts.checkpoint import CheckpointStore
from luthier.errors import ArtifactError


def store(folder: Path, fingerprint: str = "f", keep: int = 2) -> CheckpointStore:
    return CheckpointStore(folder, run_fingerprint=fingerprint, keep=keep)


def save(folder: Path, *steps: int, keep: int = 2) -> None:
    for step in steps:
        store(folder, keep=keep).save(
            step, {"step": step}, lambda path, step=step: (path / "model.safetensors").write_bytes(bytes([step]) * 64)
        )


def test_older_ones_are_pruned_and_the_newest_is_read(tmp_path: Path) -> None:
    save(tmp_path, 1, 2, 3)
    assert store(tmp_path).steps() == [2, 3]
    found, notes = store(tmp_path).latest()
    assert found is not None
    assert (found.step, found.state, notes) == (3, {"step": 3}, [])


@pytest.mark.parametrize("name", ["model.safetensors", "state.json", "manifest.json"])
def test_a_damaged_one_is_quarantined_named_and_the_one_before_is_used(tmp_path: Path, name: str) -> None:
    save(tmp_path, 1, 2)
    path = tmp_path / "step-00000002" / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    found, notes = store(tmp_path).latest()
    assert found is not None
    assert found.step == 1
    assert len(notes) == 1
    assert name in notes[0]
    assert "step-00000002" in notes[0]
    assert (tmp_path / "quarantine" / "step-00000002-1" / name).exists()


def test_another_runs_checkpoint_is_refused_and_kept(tmp_path: Path) -> None:
    save(tmp_path, 5)
    with pytest.raises(ArtifactError, match="checkpoint of another run"):
        store(tmp_path, "other").latest()
    assert store(tmp_path).steps() == [5]


def test_a_half_written_one_does_not_count(tmp_path: Path) -> None:
    save(tmp_path, 1)
    half = tmp_path / ".step-00000002.x.tmp"
    half.mkdir()
    (half / "model.safetensors").write_bytes(b"part")
    found, notes = store(tmp_path).latest()
    assert found is not None
    assert (found.step, notes) == (1, [])
    assert not half.exists()


def test_checkpoints_that_were_all_removed_are_no_new_start(tmp_path: Path) -> None:
    assert store(tmp_path).latest() == (None, [])
    save(tmp_path, 1)
    shutil.rmtree(tmp_path / "step-00000001")
    assert store(tmp_path).latest() == (None, ["They were all removed."])


def test_the_newest_removed_is_one_step_back(tmp_path: Path) -> None:
    save(tmp_path, 1, 2, 3)
    shutil.rmtree(tmp_path / "step-00000003")
    found, notes = store(tmp_path).latest()
    assert found is not None
    assert (found.step, notes) == (2, [])


def test_one_that_was_being_replaced_gets_its_name_back(tmp_path: Path) -> None:
    save(tmp_path, 1)
    (tmp_path / "step-00000001").rename(tmp_path / ".step-00000001.77.old")
    found, _ = store(tmp_path).latest()
    assert found is not None
    assert found.step == 1


def test_one_whose_best_weights_are_damaged_is_set_aside(tmp_path: Path) -> None:
    save(tmp_path, 1, 2)

    def check(state: Mapping[str, Any]) -> None:
        if state["step"] == 2:
            raise ArtifactError("best weights are damaged.")

    found, notes = store(tmp_path).latest(check)
    assert found is not None
    assert found.step == 1
    assert "best weights are damaged" in notes[0]


def test_an_older_one_that_cannot_be_read_does_not_stop_a_save(tmp_path: Path) -> None:
    save(tmp_path, 1, 2)
    (tmp_path / "step-00000001" / "state.json").write_bytes(b"{")
    assert store(tmp_path).states() == [{"step": 2}]


def test_a_failing_write_keeps_the_last_good_one(tmp_path: Path) -> None:
    save(tmp_path, 1, keep=1)

    def fail(path: Path) -> None:
        (path / "model.safetensors").write_bytes(b"part")
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        store(tmp_path, keep=1).save(2, {}, fail)
    found, _ = store(tmp_path, keep=1).latest()
    assert found is not None
    assert found.step == 1
