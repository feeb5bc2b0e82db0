"""`luthier run` in two processes, as torchrun starts them: one result, one voice, one stop."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.tiny import build_model, project

from luthier.cli import main

ROOT = Path(__file__).parents[2]
Process = subprocess.Popen[str]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("together")
    project(folder, build_model(folder / "model", dropout=0.0))
    return folder


def start(place: Path, *options: str) -> list[Process]:
    """Start the processes of a run with the variables that torchrun sets."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    common = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "LUTHIER_HOME": str(place / "home")}
    common |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    common |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    command = [sys.executable, "-m", "luthier", "run", "project.yaml", "--set", "train.epochs=4", *options]
    return [
        subprocess.Popen(
            command,
            cwd=place,
            env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]


def ends(processes: list[Process]) -> list[tuple[int, str, str]]:
    """Return exit code, output and errors of each."""
    said = [process.communicate(timeout=180) for process in processes]
    return [(process.returncode, *texts) for process, texts in zip(processes, said, strict=True)]


def log(run: Path) -> list[dict[str, Any]]:
    path = run / "train" / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def test_a_run_of_two_is_stopped_through_the_second_and_ends_as_a_run_of_one(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    together = start(place, "--run-dir", "two", "--json")
    while len(log(place / "two")) < 3:
        assert together[0].poll() is None, together[0].communicate()
        time.sleep(0.02)
    together[1].send_signal(signal.SIGTERM)
    (code, out, said), other = ends(together)
    assert (code, out) == (130, "")
    assert "a checkpoint was written" in said
    assert other == (0, "", "")
    stopped = len(log(place / "two"))

    (code, out, said), other = ends(start(place, "--run-dir", "two", "--json"))
    assert code == 0, said
    assert other == (0, "", "")
    assert "continued from step" in said
    result = json.loads(out)
    options = [f"--set=train.{one}" for one in ("epochs=4", "lanes=1", "threads=1")]
    assert main(["run", str(place / "project.yaml"), "--run-dir", str(place / "one"), "--json", *options]) == 0
    out = capsys.readouterr().out
    alone, found = log(place / "one"), log(place / "two")
    assert stopped < len(found) == len(alone)
    for a, b in zip(alone, found, strict=True):
        assert a == pytest.approx(b, abs=1e-4)
    assert result["test"]["accuracy"] == json.loads(out)["test"]["accuracy"]


def test_sharding_is_refused_where_one_process_trains(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = place / "alone"
    assert main(["run", str(place / "project.yaml"), "--run-dir", str(run), "--set", "train.shard=fsdp"]) == 2
    assert capsys.readouterr().err.startswith("train.shard must be none where one process trains; got fsdp. Start")
    assert not run.exists()
