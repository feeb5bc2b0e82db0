"""A run killed with SIGKILL at any moment continues to the same bits. Tiny random model, real processes and commands.

The long form is `python tests/chaos/long.py --kills 200`.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.chaos.scenarios import ROOT, SCENARIOS, Driver, outcome

KILLED = -signal.SIGKILL
# Each chain kills one run at these moments, one after the other.
CHAINS = {
    "plain": [
        ("step check", 1),
        ("step", 3),
        ("tensors", 2),
        ("load", 1),
        ("step", 9),
        ("renamed", 1),
        ("best", 2),
        ("prune", 1),
        ("model", 1),
        ("evaluate", 1),
        ("bundle", 1),
        ("report", 1),
    ],
    "accumulation": [("gradients", 5), ("validation", 2)],
    "early stopping": [("logged", 12), ("rewind", 1)],
    "skipped steps": [("sealed", 3)],
    "lora": [("step", 11)],
    "adalora": [("step", 7), ("gradients", 9)],
    "gradual unfreezing": [("step", 11)],
}


def test_every_scenario_has_a_chain() -> None:
    assert SCENARIOS.keys() - CHAINS.keys() == {"bf16", "clock"}
    assert sum(map(len, CHAINS.values())) >= 20


@pytest.mark.parametrize("name", CHAINS)
def test_killed_at_every_kind_of_moment_it_ends_with_the_same_bits(name: str, driver: Driver, tmp_path: Path) -> None:
    if not SCENARIOS[name].known:
        pytest.skip("this method is not here yet")
    expected = driver.wanted(name)
    run = tmp_path / "run"
    for moment, number in CHAINS[name]:
        assert driver.run(name, run, moment=moment, number=number) == KILLED, f"{moment} {number} was not reached"
    assert driver.run(name, run) == 0, driver.said()
    assert outcome(run) == expected
    log = (run / "log.txt").read_text(encoding="utf-8")
    continued = [int(step) for step in re.findall(r"continued from step (\d+)", log)]
    assert continued
    assert all(step > 0 for step in continued)
    assert continued == sorted(continued)


def test_killed_at_random_times_it_ends_with_the_same_bits(driver: Driver, tmp_path: Path) -> None:
    expected = driver.wanted("accumulation")
    draw, kills, attempts = random.Random(20), 0, 0
    run = tmp_path / "run-0"
    while kills < 3:  # a run that was faster than its killer counts as an ending, and another one begins
        attempts += 1
        assert attempts <= 40, "no run lives long enough to be killed"
        code = driver.run("accumulation", run, after_s=draw.uniform(0.0, 0.5))
        kills += code == KILLED
        if code != KILLED:
            assert code == 0, driver.said()
            assert outcome(run) == expected
            run = tmp_path / f"run-{attempts}"
    assert driver.run("accumulation", run) == 0, driver.said()
    assert outcome(run) == expected


def test_steps_that_are_skipped_are_counted_and_logged_once(driver: Driver) -> None:
    driver.wanted("skipped steps")
    log = driver.project("skipped steps").parent / "undisturbed" / "train" / "metrics.jsonl"
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    skipped = [line for line in lines if line["kind"] == "skipped"]
    assert [line["skipped"] for line in skipped] == list(range(1, len(skipped) + 1))
    assert len(skipped) >= 2
    assert all("nan" in line["what"] and line["rows"] for line in skipped)
    steps = [line["step"] for line in lines if line["kind"] in {"step", "skipped"}]
    assert steps == list(range(1, len(steps) + 1))


def test_a_clock_that_jumps_back_changes_nothing(driver: Driver, tmp_path: Path) -> None:
    expected = driver.wanted("plain")
    run = tmp_path / "run"
    assert driver.run("plain", run, moment="step", number=9, plant="clock") == KILLED
    assert driver.run("plain", run, plant="clock") == 0, driver.said()
    assert outcome(run) == expected


def test_sigterm_leaves_a_checkpoint_and_says_how_to_go_on(driver: Driver, tmp_path: Path) -> None:
    run = tmp_path / "run"
    environment = {**os.environ, "LUTHIER_HOME": str(driver.home), "PYTHONPATH": str(ROOT / "src")}
    path = str(driver.project("plain"))
    command = [sys.executable, "-m", "luthier", "run", path, "--run-dir", str(run), "--set", "train.epochs=200"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    began = time.monotonic()
    while not (run / "train" / "metrics.jsonl").exists() and time.monotonic() - began < 120:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Give the same command again to go on" in errors
    assert list((run / "train" / "checkpoints").glob("step-*"))
    assert driver.run("plain", run) == 2
    assert "train.epochs was 200, is 3" in driver.said()


def test_a_second_process_on_one_run_folder_is_refused(driver: Driver, tmp_path: Path) -> None:
    from filelock import FileLock

    run = tmp_path / "run"
    run.mkdir()
    with FileLock(run / ".lock"):
        assert driver.run("plain", run) == 2
    assert "another process is working in this run folder" in driver.said()
    assert [path.name for path in run.iterdir()] == [".lock"]
