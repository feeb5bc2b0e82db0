"""`luthier runs` and what `luthier compare` says of plans: also of runs that are unfinished, held or damaged."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from luthier.artifacts.evaluation import Baseline, EvalReport, MetricValue
from luthier.artifacts.files import write_json_atomic
from luthier.artifacts.run import RunDir
from luthier.artifacts.runs import STAGES, compare_plans, list_runs
from luthier.cli import main
from luthier.config import Project, resolve
from luthier.errors import LuthierError


def make(folder: Path, *, value: float = 0.8, stages: tuple[str, ...] = STAGES, age: int = 0, **train: Any) -> Path:
    project = Project.model_validate(
        {"version": 1, "name": "tiny", "task": "t", "model": "m", "data": {"train": "x.csv"}, "train": train}
    )
    record = RunDir(folder)
    write_json_atomic(folder / "plan.json", {"plan": resolve(project).model_dump(mode="json")})
    result = {"rows": 1000, "seconds": 4.0, "steps": 9, "best_step": 9}
    if "evaluate" in stages:
        metrics = {"accuracy": MetricValue(value=value, interval=(value - 0.1, value + 0.1))}
        low = Baseline(name="majority", metrics={"accuracy": MetricValue(value=0.5)}, lead=MetricValue(value=0.1))
        high = Baseline(name="tfidf", metrics={"accuracy": MetricValue(value=0.7)}, lead=MetricValue(value=0.1))
        EvalReport(
            task="t",
            split="test",
            rows=40,
            weights_sha256="0",
            headline="accuracy",
            confidence=0.95,
            metrics=metrics,
            baselines=[low, high],
            slices=[],
            blocks=[],
        ).write(folder / "evaluation.json")
    for stage in stages:
        record.finish(stage, fingerprint=stage, outputs=[], seconds=2.0, cpu_seconds=1.0, result=result)
    for path in folder.iterdir():
        os.utime(path, (1e9 - age, 1e9 - age))
    return folder


def test_runs_are_listed_newest_first_with_their_numbers(tmp_path: Path) -> None:
    make(tmp_path / "old", age=100)
    make(tmp_path / "new", value=0.9)
    (tmp_path / "no run").mkdir()
    new, old = list_runs(tmp_path)
    assert (new.folder, old.folder) == (str(tmp_path / "new"), str(tmp_path / "old"))
    assert (new.state, new.headline, new.value, new.interval) == ("finished", "accuracy", 0.9, (0.8, 1.0))
    assert (new.baseline, new.rows_per_second, new.seconds) == (0.7, 250.0, 10.0)
    assert new.date == "2001-09-09T01:46:40+00:00"
    assert list_runs(tmp_path / "old") == [old]


def test_an_unfinished_run_says_where_it_stands(tmp_path: Path) -> None:
    run = make(tmp_path / "run", stages=("check",))
    (run / "train").mkdir()
    (run / "train" / "metrics.jsonl").write_text('{"kind": "step", "step": 7}\n{"kind": "st', encoding="utf-8")
    (one,) = list_runs(tmp_path)
    assert (one.state, one.detail, one.value) == ("unfinished", "train, step 7", None)
    with FileLock(run / ".lock"):
        assert list_runs(tmp_path)[0].state == "running"
    assert list_runs(tmp_path)[0].state == "unfinished"


@pytest.mark.parametrize("name", ["plan.json", "run.json", "evaluation.json"])
def test_a_damaged_run_is_listed_with_what_is_damaged(tmp_path: Path, name: str) -> None:
    make(tmp_path / "good")
    run = make(tmp_path / "bad")
    (run / name).write_text("{", encoding="utf-8")
    found = {Path(one.folder).name: one for one in list_runs(tmp_path)}
    assert found["good"].state == "finished"
    assert found["bad"].state == "damaged"
    assert name in found["bad"].detail


def test_empty_and_missing_folders_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(LuthierError, match="there is no run in this folder"):
        list_runs(tmp_path)
    with pytest.raises(LuthierError, match="there is no such folder"):
        list_runs(tmp_path / "runs")


def test_the_command_sorts_and_prints_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(tmp_path / "a", value=0.6, age=5)
    make(tmp_path / "b", value=0.9, age=10)
    make(tmp_path / "c", stages=("check",), age=20)
    assert main(["runs", str(tmp_path), "--sort", "metric", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [Path(one["folder"]).name for one in found] == ["b", "a", "c"]
    assert main(["runs", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:4] == ["run", "state", "metric", "value"]
    assert [Path(line.split()[0]).name for line in lines[1:]] == ["a", "b", "c"]
    assert main(["runs", str(tmp_path / "nothing")]) == 2


def test_two_plans_are_compared_key_by_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, after = make(tmp_path / "a", epochs=2), make(tmp_path / "b", epochs=3, value=0.9, learning_rate=0.01)
    found = compare_plans(before, after)
    assert found.plan == {"train.epochs": (2, 3), "train.learning_rate": (1e-4, 0.01)}
    assert found.results["accuracy"] == (0.8, 0.9)
    assert main(["compare", str(before), str(after)]) == 2  # there are no predictions to pair
    said = capsys.readouterr()
    assert [line.split() for line in said.out.splitlines()[1:3]] == [
        ["train.epochs", "2", "3"],
        ["train.learning_rate", "0.0001", "0.01"],
    ]
    assert "there are no predictions here" in said.err
    assert main(["compare", str(before), str(tmp_path / "x")]) == 2
    assert "there is no run here" in capsys.readouterr().err
