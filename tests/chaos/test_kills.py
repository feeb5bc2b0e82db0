"""A run killed with SIGKILL at any moment continues to the same bits. Tiny random model, real files and commands."""

from __future__ import annotations

import hashlib
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.tiny import project

DRIVER = Path(__file__).with_name("driver.py")
EXTRA = """  checkpoint_seconds: 0.05
  accumulate: 2
  validations_per_epoch: 2
"""
MOMENTS = [
    ("step", 3),
    ("checkpoint", 1),
    ("step", 9),
    ("rename", 1),
    ("best", 2),
    ("prune", 1),
    ("step", 14),
    ("model", 1),
    ("evaluate", 1),
    ("bundle", 1),
    ("report", 1),
]


def make_project(folder: Path, model: Path) -> Path:
    path = project(folder, model)
    text = path.read_text(encoding="utf-8").replace("evaluate:\n", f"{EXTRA}evaluate:\n")
    path.write_text(text, encoding="utf-8")
    return path


def outcome(run: Path) -> dict[str, str]:
    """Return the hashes of all that must be equal."""
    names = ("train/model/model.safetensors", "train/metrics.jsonl", "evaluation.json", "evaluate/predictions.arrow")
    return {name: hashlib.sha256((run / name).read_bytes()).hexdigest() for name in names}


def drive(path: Path, run: Path, moment: str, number: int, home: Path) -> int:
    environment = {**os.environ, "LUTHIER_HOME": str(home)}
    command = [sys.executable, str(DRIVER), str(path), str(run), moment, str(number)]
    return subprocess.run(command, env=environment, capture_output=True, timeout=240, check=False).returncode


@pytest.fixture(scope="module")
def undisturbed(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, str]]:
    folder = tmp_path_factory.mktemp("undisturbed")
    path = make_project(folder, tiny_model)
    assert drive(path, folder / "run", "none", 0, folder / "home") == 0
    return folder, path, outcome(folder / "run")


def test_killed_at_every_kind_of_moment_it_ends_with_the_same_bits(
    undisturbed: tuple[Path, Path, dict[str, str]], tmp_path: Path
) -> None:
    folder, path, expected = undisturbed
    run = tmp_path / "run"
    for moment, number in MOMENTS:
        assert drive(path, run, moment, number, folder / "home") == -signal.SIGKILL, (
            f"{moment} {number} was not reached"
        )
    assert drive(path, run, "none", 0, folder / "home") == 0
    assert outcome(run) == expected
    log = (run / "log.txt").read_text(encoding="utf-8")
    continued = [int(step) for step in re.findall(r"continued from step (\d+)", log)]
    assert len(continued) >= 6
    assert all(step > 0 for step in continued)
    assert continued == sorted(continued)


def test_killed_at_random_times_it_ends_with_the_same_bits(
    undisturbed: tuple[Path, Path, dict[str, str]], tmp_path: Path
) -> None:
    folder, path, expected = undisturbed
    draw, kills, attempts = random.Random(20), 0, 0
    environment = {**os.environ, "LUTHIER_HOME": str(folder / "home")}
    run = tmp_path / "run-0"
    while kills < 4:  # a run that was faster than its killer counts as an ending, and another one begins
        attempts += 1
        assert attempts <= 40, "no run lives long enough to be killed"
        command = [sys.executable, "-m", "luthier", "run", str(path), "--run-dir", str(run)]
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        began = time.monotonic()
        while process.poll() is None and not (run / "train").exists() and time.monotonic() - began < 120:
            time.sleep(0.005)
        time.sleep(draw.uniform(0.0, 1.0))
        process.kill()  # does nothing to one that has ended
        if process.wait() == -signal.SIGKILL:
            kills += 1
        else:
            assert process.returncode == 0
            assert outcome(run) == expected
            run = tmp_path / f"run-{attempts}"
    command = [sys.executable, "-m", "luthier", "run", str(path), "--run-dir", str(run)]
    assert subprocess.run(command, env=environment, capture_output=True, timeout=240, check=False).returncode == 0
    assert outcome(run) == expected


def test_sigterm_leaves_a_checkpoint_and_says_how_to_go_on(
    undisturbed: tuple[Path, Path, dict[str, str]], tmp_path: Path
) -> None:
    folder, path, expected = undisturbed
    run = tmp_path / "run"
    environment = {**os.environ, "LUTHIER_HOME": str(folder / "home")}
    command = [sys.executable, "-m", "luthier", "run", str(path), "--run-dir", str(run), "--set", "train.epochs=200"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    began = time.monotonic()
    while not (run / "train" / "metrics.jsonl").exists() and time.monotonic() - began < 120:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Give the same command again to go on" in errors
    assert list((run / "train" / "checkpoints").glob("step-*"))
    other = subprocess.run(command[:-2], env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert other.returncode == 2
    assert "train.epochs was 200, is 3" in other.stderr
    assert expected


def test_a_second_process_on_one_run_folder_is_refused(
    undisturbed: tuple[Path, Path, dict[str, str]], tmp_path: Path
) -> None:
    from filelock import FileLock

    folder, path, _ = undisturbed
    run = tmp_path / "run"
    run.mkdir()
    environment = {**os.environ, "LUTHIER_HOME": str(folder / "home")}
    command = [sys.executable, "-m", "luthier", "run", str(path), "--run-dir", str(run)]
    with FileLock(run / ".lock"):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert "another process is working in this run folder" in done.stderr
