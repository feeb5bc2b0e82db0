"""Trackers, each read back with its own reader: every step once, also after a resume. Nothing leaves this machine."""

from __future__ import annotations

import importlib.util
import json
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from luthier.config.project import MlflowSpec, TensorBoardSpec, TrackSpec, WandbSpec
from luthier.errors import TrainingError
from luthier.training.callbacks import Begun, Callbacks, Guarded
from luthier.training.events import Event, Finished, Skipped, StepDone, Validated
from luthier.training.history import as_line
from luthier.training.trackers.table import TRACKERS, build, missing

Points = dict[str, list[tuple[int, float]]]
RESULT = {"test": {"rows": 40, "accuracy": 0.75, "accuracy_interval": [0.7, 0.8]}}


def step(number: int) -> StepDone:
    return StepDone(number, 9, number // 4, 1.0 / number, 1e-3, 2.0, 8, 64, 100.0, 1.0)


EVENTS: list[Event] = [
    step(1),
    step(2),
    Skipped(3, 9, 0, "the loss is nan", (1, 2), 1),
    step(4),
    Validated(4, 0, {"accuracy": 0.5}, True),
    step(5),
    step(6),
    Validated(6, 1, {"accuracy": 0.6}, True),
]
LOSS = [(number, pytest.approx(1.0 / number)) for number in (1, 2, 4, 5, 6)]


def read_tensorboard(run: Path) -> Points:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader = EventAccumulator(str(run / "train" / "tensorboard"), purge_orphaned_data=False)
    reader.Reload()
    return {tag: [(one.step, one.value) for one in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]}


def wandb_records(data: bytes) -> Iterator[bytes]:
    """Yield a `.wandb` file's records: a LevelDB log (blocks of 32 KiB, headers of 7 bytes) after a 7-byte head."""
    place, whole = 7, b""
    while place + 7 <= len(data):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        length, kind = int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]
        if place + 7 + length > len(data):
            return  # is being written
        whole += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in {1, 4}:  # whole, or the last part
            yield whole
            whole = b""


def read_wandb(run: Path) -> Points:
    from wandb.proto import wandb_internal_pb2

    def records() -> list[Any]:
        (path,) = (run / "train" / "wandb").glob("offline-run-*/*.wandb")
        return [wandb_internal_pb2.Record.FromString(data) for data in wandb_records(path.read_bytes())]

    until = time.monotonic() + 60
    while records()[-1:] == [] or records()[-1].WhichOneof("record_type") != "exit":  # its own process writes the end
        assert time.monotonic() < until, "wandb never wrote the end of the run"
        time.sleep(0.05)
    found: Points = {}
    for record in records():
        if record.WhichOneof("record_type") == "history":
            items = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            for name, value in items.items():
                if not name.startswith("_"):
                    found.setdefault(name, []).append((record.history.step.num, value))
        if record.WhichOneof("record_type") == "summary":
            for item in record.summary.update:
                name = item.key or "/".join(item.nested_key)
                if name.startswith("test/"):
                    found.setdefault(name, []).append((6, json.loads(item.value_json)))
    return found


def read_mlflow(run: Path) -> Points:
    from mlflow.tracking import MlflowClient

    client = MlflowClient((run.parent / "mlruns").as_uri())
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    (one,) = client.search_runs([experiment.experiment_id])
    assert one.data.params["train.epochs"] == "3"
    return {
        name: [(point.step, point.value) for point in client.get_metric_history(one.info.run_id, name)]
        for name in one.data.metrics
    }


@dataclass(frozen=True)
class Case:
    spec: Any
    read: Callable[[Path], Points]


CASES = {
    "tensorboard": Case(TensorBoardSpec(), read_tensorboard),
    "wandb": Case(WandbSpec(), read_wandb),
    "mlflow": Case(MlflowSpec(), read_mlflow),
}


def follow(name: str, run: Path, known: int, events: list[Event], result: dict[str, Any] | None, *, end: bool) -> None:
    """Follow some events as a new process would, with the log up to `known` there already."""
    lines = [as_line(event) for event in EVENTS if isinstance(event, StepDone | Skipped | Validated)]
    begun = Begun("tiny", run, {"train.epochs": 3}, [line for line in lines if line["step"] <= known])
    listeners = Callbacks([TRACKERS[name].build(CASES[name].spec)])
    listeners.begin(begun)
    for event in events:
        listeners.event(event)
    if end:
        listeners.end(result)


def test_every_tracker_has_a_case_and_a_key() -> None:
    assert CASES.keys() == TRACKERS.keys() == TrackSpec.model_fields.keys()


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("default")  # of the trackers' own libraries
def test_each_step_is_there_once_also_after_a_resume(name: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "train").mkdir(parents=True)
    # Killed after step 6. wandb's file needs an end; TensorBoard's writer, alive in this process, would write later.
    follow(name, run, 0, EVENTS[:7], None, end=name != "mlflow")
    time.sleep(1.1)  # wandb names a run's files by the second, and no process comes back within one
    follow(name, run, 4, [*EVENTS[5:], Finished(6, 6, 40, 300, 1.0, False)], RESULT, end=True)
    found = CASES[name].read(run)
    assert found["train/loss"] == LOSS
    assert found["train/skipped"] == [(3, 1.0)]
    assert found["validation/accuracy"] == [(4, pytest.approx(0.5)), (6, pytest.approx(0.6))]
    assert found["test/accuracy"] == [(6, pytest.approx(0.75))]
    assert "test/accuracy_interval" not in found


@pytest.mark.filterwarnings("default")
def test_runs_in_a_shared_tensorboard_folder_have_folders_of_their_own(tmp_path: Path) -> None:
    for name in ("a", "b"):
        tracker = TRACKERS["tensorboard"].build(TensorBoardSpec(folder=str(tmp_path / "shared")))
        tracker.begin(Begun("tiny", tmp_path / name, {}, [as_line(step(1))]))
        tracker.end(None)
    assert len(list((tmp_path / "shared").glob("tiny-*/events.*"))) == 2


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "wandb" else real(name))
    assert missing(TrackSpec(wandb=WandbSpec(), tensorboard=TensorBoardSpec())) == {"wandb": "wandb"}
    assert missing(TrackSpec(tensorboard=TensorBoardSpec())) == {}


def test_only_what_is_asked_for_is_built() -> None:
    (one,) = build(TrackSpec(mlflow=MlflowSpec()), lambda _: None)
    assert isinstance(one, Guarded)
    assert one.name == "mlflow"


class Failing:
    def __init__(self, at: str) -> None:
        self.at, self.seen = at, 0

    def begin(self, run: Begun) -> None:
        self._call("begin")

    def event(self, event: Event) -> None:
        self._call("event")

    def end(self, result: Any) -> None:
        self._call("end")

    def _call(self, name: str) -> None:
        self.seen += 1
        if name == self.at:
            raise ValueError("the server is gone")


def test_a_tracker_that_fails_is_told_once_and_training_goes_on(tmp_path: Path) -> None:
    said: list[str] = []
    inner = Failing("event")
    listeners = Callbacks([Guarded("mlflow", inner, said.append)])
    listeners.begin(Begun("tiny", tmp_path))
    for _ in range(3):
        listeners.event(step(1))
    listeners.end(None)
    assert said == ["mlflow stopped following: the server is gone; metrics.jsonl has every step"]
    assert inner.seen == 2


def test_a_tracker_that_cannot_begin_is_refused_before_training(tmp_path: Path) -> None:
    listeners = Callbacks([Guarded("mlflow", Failing("begin"), lambda _: None)])
    with pytest.raises(TrainingError, match=r"track: mlflow cannot begin: the server is gone\. Mend it, or leave"):
        listeners.begin(Begun("tiny", tmp_path))


def test_a_users_own_error_is_theirs(tmp_path: Path) -> None:
    listeners = Callbacks([Failing("event")])
    listeners.begin(Begun("tiny", tmp_path))
    with warnings.catch_warnings(), pytest.raises(ValueError, match="the server is gone"):
        listeners.event(step(1))
