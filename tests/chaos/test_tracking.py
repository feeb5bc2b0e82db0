"""A tracked run that is killed and continued has each step once, in every tracker and in the log."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.chaos.scenarios import Driver, outcome
from tests.tiny import project

import luthier
from luthier.training.callbacks import Begun
from luthier.training.events import Event, Resumed, Saved, StepDone


@pytest.mark.filterwarnings("default")  # of the trackers' own libraries
def test_a_killed_run_has_each_step_once_in_its_trackers(
    driver: Driver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow.tracking import MlflowClient
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = tmp_path / "run"
    options = ["--set", "track=[tensorboard, mlflow]"]
    for moment, number in (("logged", 9), ("sealed", 2)):
        assert driver.run("plain", run, *options, moment=moment, number=number) == -signal.SIGKILL
    assert driver.run("plain", run, *options) == 0, driver.said()
    assert outcome(run) == driver.wanted("plain")  # following changes nothing
    log = [json.loads(line) for line in (run / "train" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    losses = [(line["step"], line["loss"]) for line in log if line["kind"] == "step"]
    looks = [(line["step"], line["accuracy"]) for line in log if line["kind"] == "validation"]
    reader = EventAccumulator(str(run / "train" / "tensorboard"), purge_orphaned_data=False)
    reader.Reload()
    client = MlflowClient((tmp_path / "mlruns").as_uri())
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    (one,) = client.search_runs([experiment.experiment_id])
    assert one.info.status == "FINISHED"
    for name, wanted in (("train/loss", losses), ("validation/accuracy", looks)):
        assert [(point.step, pytest.approx(point.value)) for point in reader.Scalars(name)] == wanted
        history = client.get_metric_history(one.info.run_id, name)
        assert [(point.step, point.value) for point in history] == wanted
    assert [point.step for point in reader.Scalars("test/accuracy")] == [losses[-1][0]]


class Listener:
    """A user's own callback."""

    def __init__(self) -> None:
        self.begun: list[Begun] = []
        self.events: list[Event] = []
        self.ended: list[Mapping[str, Any] | None] = []

    def begin(self, run: Begun) -> None:
        self.begun.append(run)

    def event(self, event: Event) -> None:
        self.events.append(event)

    def end(self, result: Mapping[str, Any] | None) -> None:
        self.ended.append(result)


class StopError(Exception):
    pass


def test_a_callback_hears_everything_once(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path / "home"))
    path = project(tmp_path, tiny_model)

    class Breaking(Listener):
        def event(self, event: Event) -> None:
            super().event(event)
            if isinstance(event, Saved):
                raise StopError

    first, second, third = Breaking(), Listener(), Listener()
    options = {"run_dir": tmp_path / "run", "overrides": ["train.epochs=2"]}
    with pytest.raises(StopError):
        luthier.run(path, callbacks=[first], **options)
    assert first.ended == [None]
    assert first.begun[0].history == []
    result = luthier.run(path, callbacks=[second], **options)
    (begun,) = second.begun
    assert (begun.name, begun.run_dir, begun.settings["train.epochs"]) == ("tiny", result.run_dir, 2)
    assert isinstance(second.events[0], Resumed)
    done = [line["step"] for line in begun.history if line["kind"] == "step"]
    new = [event.step for event in second.events if isinstance(event, StepDone)]
    assert done == [event.step for event in first.events if isinstance(event, StepDone)]
    assert done + new == list(range(1, len(done + new) + 1))
    assert second.ended == [result.values]
    luthier.run(path, callbacks=[third], **options)  # everything is done already
    assert [line["step"] for line in third.begun[0].history if line["kind"] == "step"] == done + new
    assert (third.events, third.ended) == ([], [result.values])


def test_two_runs_in_one_process_do_not_disturb_each_other(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run of another precision and method begins and ends inside another one's step."""
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path / "home"))
    path = project(tmp_path, tiny_model)
    alone = luthier.run(path, run_dir=tmp_path / "alone", overrides=["train.epochs=1"])
    inner: list[Any] = []

    class Inside(Listener):
        def event(self, event: Event) -> None:
            if isinstance(event, StepDone) and event.step == 3:
                settings = ["train.epochs=1", "train.precision=bf16", "method=lora", "train.threads=2", "seed=5"]
                inner.append(luthier.run(path, run_dir=tmp_path / "inner", overrides=settings))

    outer = luthier.run(path, run_dir=tmp_path / "outer", overrides=["train.epochs=1"], callbacks=[Inside()])
    after = luthier.run(path, run_dir=tmp_path / "after", overrides=["train.epochs=1"])
    wanted = outcome(alone.run_dir)
    assert outcome(outer.run_dir) == wanted
    assert outcome(after.run_dir) == wanted
    assert json.loads((inner[0].run_dir / "choices.json").read_text(encoding="utf-8"))["choices"]["precision"][
        "value"
    ] == ("bf16")
