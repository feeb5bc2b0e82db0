"""Whatever the disk does, a run ends with one sentence, loses no good checkpoint and continues to the same bits."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.chaos.scenarios import Driver, outcome

from luthier.artifacts.manifest import read_manifest, verify_files
from luthier.errors import ArtifactError

KILLED = -signal.SIGKILL
NAME = "plain"


@pytest.fixture(scope="module")
def killed(driver: Driver, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was killed after its eleventh step, with two checkpoints."""
    run = tmp_path_factory.mktemp("killed") / "run"
    assert driver.run(NAME, run, moment="step", number=11) == KILLED
    assert len(good(run)) == 2
    return run


@pytest.fixture
def cut(killed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(killed, tmp_path / "run"))


def good(run: Path) -> list[int]:
    """Return the steps of the whole checkpoints."""
    found = []
    for path in (run / "train" / "checkpoints").glob("step-*"):
        try:
            verify_files(path, read_manifest(path))
        except ArtifactError:
            continue
        found.append(int(path.name.removeprefix("step-")))
    return sorted(found)


def check_ended(driver: Driver, code: int, how: str) -> None:
    """Check how a run with a failing disk ended: killed, or with one sentence on the last line."""
    if how == "kill":
        assert code == KILLED
        return
    assert code == 2, driver.said()
    assert "Traceback" not in driver.said()
    said = os.strerror(getattr(errno, how))
    assert f"the file system refuses: {said}." in driver.said().splitlines()[-1], driver.said()


def check_continues(driver: Driver, run: Path, before: list[int]) -> None:
    """Check that no good checkpoint was lost, and that the run then ends with the same bits."""
    if before:
        assert good(run), "every checkpoint is gone"
        assert good(run)[-1] >= before[-1], "the last good checkpoint is gone"
    trained = "train" in stages(run)
    assert driver.run(NAME, run) == 0, driver.said()
    if before and not trained:
        assert "continued from step" in driver.said(), "a silent fresh start"
    assert outcome(run) == driver.wanted(NAME)


def stages(run: Path) -> set[str]:
    path = run / "run.json"
    return set(json.loads(path.read_text(encoding="utf-8"))["stages"]) if path.exists() else set()


@pytest.fixture(scope="module")
def starts(driver: Driver, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, int]]:
    """From where a run goes on, and the number of its calls from there: up to a first checkpoint, or to the end.

    What lies between, one checkpoint after the other, makes the same calls again and again.
    """
    folder = tmp_path_factory.mktemp("starts")
    nothing, late, count = folder / "nothing", folder / "late", folder / "count.txt"
    first = {"moment": "step", "number": 4, "fault": {"folder": str(folder / "begun"), "count": str(count)}}
    assert driver.run(NAME, folder / "begun", **first) == KILLED
    assert good(folder / "begun"), "no checkpoint was made"
    found = {"nothing": (nothing, int(count.read_text(encoding="utf-8")))}
    assert driver.run(NAME, late, moment="step", number=34) == KILLED
    copy = Path(shutil.copytree(late, folder / "copy"))
    assert driver.run(NAME, copy, fault={"folder": str(copy), "count": str(count)}) == 0, driver.said()
    assert outcome(copy) == driver.wanted(NAME)
    return {**found, "late": (late, int(count.read_text(encoding="utf-8")))}


@pytest.mark.parametrize("start", ["nothing", "late"])
@pytest.mark.parametrize("how", ["ENOSPC", "EIO", "EROFS", "kill"])
def test_a_fault_at_a_call_costs_nothing(
    driver: Driver,
    starts: dict[str, tuple[Path, int]],
    tmp_path: Path,
    how: str,
    start: str,
    request: pytest.FixtureRequest,
) -> None:
    origin, calls = starts[start]
    assert calls > {"nothing": 20, "late": 60}[start], "the layer saw too little"
    before = good(origin)
    shift = {"ENOSPC": 0, "EIO": 3, "EROFS": 6, "kill": 9}[how]
    few = [2 + shift, calls // 2 + shift] if start == "nothing" else [calls // 3 + shift, 2 * calls // 3 + shift]
    for call in range(1, calls + 1) if request.config.getoption("--long") else few:
        run = tmp_path / f"run-{call}"
        if origin.exists():
            shutil.copytree(origin, run)
        code = driver.run(NAME, run, fault={"folder": str(run), "call": call, "how": how})
        if code != 0:  # a fault while something superfluous is removed may be survived
            check_ended(driver, code, how)
        check_continues(driver, run, before)
        shutil.rmtree(run)


@pytest.mark.parametrize("size", [1_000, 20_000, 100_000])
def test_no_file_may_grow(driver: Driver, cut: Path, size: int) -> None:
    check_ended(driver, driver.run(NAME, cut, fault={"bytes": size}), "EFBIG")
    check_continues(driver, cut, good(cut))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1.5 MB, where this user may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1500k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("this user may not mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_full(driver: Driver, cut: Path, small_disk: Path, tmp_path: Path) -> None:
    run = small_disk / "run"
    shutil.copytree(cut, run)
    free = shutil.disk_usage(small_disk).free
    (small_disk / "ballast").write_bytes(b"x" * (free - 150_000))
    check_ended(driver, driver.run(NAME, run), "ENOSPC")
    assert good(run)[-1] >= good(cut)[-1]
    shutil.copytree(run, tmp_path / "elsewhere")
    check_continues(driver, tmp_path / "elsewhere", good(cut))


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"])
@pytest.mark.parametrize("damage", ["truncated", "flipped", "removed"])
def test_a_damaged_checkpoint_is_one_step_back(driver: Driver, cut: Path, name: str, damage: str) -> None:
    steps = good(cut)
    path = cut / "train" / "checkpoints" / f"step-{steps[-1]:08d}" / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.unlink() if damage == "removed" else path.write_bytes(data if damage == "flipped" else data[: len(data) // 2])
    assert driver.run(NAME, cut) == 0, driver.said()
    assert f"continued from step {steps[0]} " in driver.said()
    assert name in driver.said()
    assert "quarantine" in driver.said()
    assert outcome(cut) == driver.wanted(NAME)


def test_the_newest_checkpoint_removed_is_exactly_one_step_back(driver: Driver, cut: Path) -> None:
    steps = good(cut)
    shutil.rmtree(cut / "train" / "checkpoints" / f"step-{steps[-1]:08d}")
    assert driver.run(NAME, cut) == 0, driver.said()
    assert f"continued from step {steps[0]} " in driver.said()
    assert outcome(cut) == driver.wanted(NAME)


def test_no_checkpoint_left_is_no_silent_fresh_start(driver: Driver, cut: Path) -> None:
    for path in (cut / "train" / "checkpoints").glob("step-*"):
        shutil.rmtree(path)
    assert driver.run(NAME, cut) == 2
    assert "a run never starts over by itself" in driver.said()
    assert "--fresh" in driver.said()
    assert driver.run(NAME, cut, "--fresh") == 0
    assert outcome(cut) == driver.wanted(NAME)


def test_damaged_best_weights_are_made_again(driver: Driver, cut: Path) -> None:
    newest = max((cut / "train" / "best").glob("step-*"))
    (newest / "model.safetensors").write_bytes(b"")
    code = driver.run(NAME, cut)
    if code == 0:  # an earlier checkpoint does not need them
        assert outcome(cut) == driver.wanted(NAME)
    else:
        assert code == 2
        assert "a run never starts over by itself" in driver.said()


def test_a_damaged_log_is_named_and_training_goes_on(driver: Driver, cut: Path) -> None:
    path = cut / "train" / "metrics.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join([lines[0], *lines[2:]]), encoding="utf-8")
    assert driver.run(NAME, cut) == 0, driver.said()
    assert "metrics.jsonl was damaged: 1 of" in driver.said()
    wanted = driver.wanted(NAME)
    assert {name: value for name, value in outcome(cut).items() if "metrics" not in name} == {
        name: value for name, value in wanted.items() if "metrics" not in name
    }


@pytest.mark.parametrize("name", ["run.json", "choices.json", "train/origin.json"])
def test_a_damaged_record_is_one_sentence(driver: Driver, cut: Path, name: str) -> None:
    path = cut / name
    before = path.read_bytes()
    path.write_bytes(before[: len(before) // 2])
    assert driver.run(NAME, cut) == 2
    assert f"{name}: is damaged" in driver.said()
    path.write_bytes(before)
    check_continues(driver, cut, good(cut))
