"""What changed since a run's start is named and refused, or allowed by name and recorded."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from tests.chaos.scenarios import Driver, outcome
from tests.tiny import sentences, write_csv

KILLED = -signal.SIGKILL


@pytest.fixture(scope="module")
def killed(driver: Driver, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("killed") / "run"
    assert driver.run("plain", run, moment="step", number=9) == KILLED
    return run


@pytest.fixture
def cut(killed: Path, tmp_path: Path) -> Path:
    """A run that was killed after its ninth step."""
    return Path(shutil.copytree(killed, tmp_path / "run"))


def plan(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "plan.json").read_text(encoding="utf-8"))
    return found


def steps(run: Path) -> list[int]:
    lines = [json.loads(line) for line in (run / "train" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [line["step"] for line in lines if line["kind"] == "step"]


def test_a_changed_key_is_refused_until_it_is_allowed_and_then_recorded(driver: Driver, cut: Path) -> None:
    more = ["--set", "train.epochs=4", "--set", "train.clip_norm=2.0"]
    assert driver.run("plain", cut, *more) == 2
    assert "train.epochs was 3, is 4; train.clip_norm was 1.0, is 2.0" in driver.said()
    assert "--allow-changed train.epochs --allow-changed train.clip_norm" in driver.said()
    assert driver.run("plain", cut, *more, "--allow-changed", "train.epochs") == 2
    assert "train.epochs was" not in driver.said()
    assert driver.run("plain", cut, *more, "--allow-changed", "train") == 0, driver.said()
    assert "goes on although train.epochs was 3, is 4" in driver.said()
    assert "continued from step" in driver.said()
    changes = plan(cut)["changes"]
    assert [change["key"] for change in changes] == ["train.epochs", "train.clip_norm"]
    assert 0 < changes[0]["after_step"] < 9
    assert steps(cut) == list(range(1, len(steps(cut)) + 1))
    assert steps(cut)[-1] > json.loads(driver.wanted("plain")["chosen"])["steps"]
    weights = outcome(cut)
    assert driver.run("plain", cut, *more) == 0  # accepted once, from then on part of the run
    assert "Train: done before" in driver.said()
    assert outcome(cut) == weights
    assert driver.run("plain", cut) == 2
    assert "train.epochs was 4, is 3" in driver.said()


def test_a_finished_run_trains_longer_when_told(driver: Driver, tmp_path: Path) -> None:
    wanted = driver.wanted("plain")
    run = tmp_path / "run"
    shutil.copytree(driver.project("plain").parent / "undisturbed", run)
    before = steps(run)[-1]
    assert driver.run("plain", run, "--set", "train.epochs=4", "--allow-changed", "train.epochs") == 0, driver.said()
    assert f"continued from step {before}" in driver.said()
    assert steps(run)[-1] > before
    assert outcome(run) != wanted


@pytest.mark.parametrize(
    ("key", "meant"), [("train.epoch", "train.epochs"), ("thread", "threads"), ("dta", "data"), ("code.x", "code")]
)
def test_an_unknown_key_is_refused_with_the_nearest(driver: Driver, tmp_path: Path, key: str, meant: str) -> None:
    assert driver.run("plain", tmp_path / "run", "--allow-changed", key) == 2
    assert f'got "{key}". Did you mean "{meant}"?' in driver.said()
    assert not (tmp_path / "run" / "plan.json").exists()


def test_changed_rows_are_refused_until_they_are_allowed(driver: Driver, cut: Path, tmp_path: Path) -> None:
    data = write_csv(tmp_path / "data.csv", sentences(260))
    more = ["--set", f"data.train={data}"]
    assert driver.run("plain", cut, *more) == 2
    assert "the rows of train changed" in driver.said()
    assert driver.run("plain", cut, *more, "--allow-changed", "data") == 0, driver.said()
    assert "the order of rows may change as well" in driver.said()
    assert steps(cut) == list(range(1, len(steps(cut)) + 1))


@pytest.mark.parametrize(
    ("fact", "said"),
    [
        ("code", "torch was 1.0, is"),
        ("processor", "the processor was a Z80, is"),
        ("threads", "4096 threads computed, this machine has"),
        ("processes", "2 processes trained together, now 1"),
    ],
)
def test_another_machine_is_named_and_goes_on_in_the_same_order_when_told(
    driver: Driver, cut: Path, fact: str, said: str
) -> None:
    wanted = driver.wanted("plain")
    kept = plan(cut)
    if fact == "code":
        kept["facts"]["code"]["libraries"]["torch"] = "1.0"
    elif fact == "processor":
        kept["facts"]["processor"]["processor"] = "a Z80"
    elif fact == "processes":
        kept["facts"]["processes"] = 2
    else:
        choices = json.loads((cut / "choices.json").read_text(encoding="utf-8"))
        choices["choices"]["threads"]["value"] = "4096"
        (cut / "choices.json").write_text(json.dumps(choices), encoding="utf-8")
    (cut / "plan.json").write_text(json.dumps(kept), encoding="utf-8")
    assert driver.run("plain", cut) == 2
    assert said in driver.said()
    assert f"--allow-changed {fact}" in driver.said()
    assert driver.run("plain", cut, "--allow-changed", fact) == 0, driver.said()
    assert f"goes on although {said}" in driver.said()
    assert "the order of rows stays the same" in driver.said()
    assert outcome(cut) == wanted  # the machine is the same after all


def test_finished_weights_do_not_depend_on_the_machine_that_reads_them(driver: Driver, tmp_path: Path) -> None:
    driver.wanted("plain")
    run = tmp_path / "run"
    shutil.copytree(driver.project("plain").parent / "undisturbed", run)
    kept = plan(run)
    kept["facts"]["code"]["libraries"]["torch"] = "1.0"
    kept["facts"]["processor"]["processor"] = "a Z80"
    (run / "plan.json").write_text(json.dumps(kept), encoding="utf-8")
    assert driver.run("plain", run, "--set", "evaluate.mistakes=5") == 0, driver.said()
    assert plan(run)["facts"]["processor"]["processor"] == "a Z80"  # it made them


def test_how_often_checkpoints_are_made_may_change_at_any_time(driver: Driver, cut: Path) -> None:
    assert driver.run("plain", cut, "--set", "train.checkpoint_seconds=5", "--set", "train.keep_checkpoints=1") == 0
    assert outcome(cut) == driver.wanted("plain")


def test_a_damaged_or_missing_plan_is_named(driver: Driver, cut: Path) -> None:
    path = cut / "plan.json"
    text = path.read_text(encoding="utf-8")
    path.write_text(text[: len(text) // 2], encoding="utf-8")
    assert driver.run("plain", cut) == 2
    assert "plan.json: is damaged" in driver.said()
    path.unlink()
    assert driver.run("plain", cut) == 2
    assert "nobody knows from what this folder's training began" in driver.said()
    path.write_text(text, encoding="utf-8")
    assert driver.run("plain", cut) == 0, driver.said()
    assert outcome(cut) == driver.wanted("plain")
