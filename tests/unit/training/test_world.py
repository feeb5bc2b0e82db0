"""Two gloo processes take the steps of one: DDP and FSDP2. Tiny random model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from luthier.errors import StoppedError, TrainingError
from luthier.models.tuning.table import METHODS as ALL
from luthier.training import group
from luthier.training.sharding import METHODS, refuse_sharding, without_values

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def found(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    place = tmp_path_factory.mktemp("together")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "PYTHONFAULTHANDLER": "1"}
    command = [sys.executable, str(Path(__file__).with_name("together.py")), str(tiny_model), str(place)]
    started = [subprocess.Popen([*command, str(rank)], env=environment, cwd=ROOT) for rank in range(2)]
    assert [process.wait(timeout=240) for process in started] == [0, 0]
    value: dict[str, Any] = json.loads((place / "found.json").read_text(encoding="utf-8"))
    return value


@pytest.mark.parametrize("case", ["ddp", "rows fewer than ranks", *METHODS])
def test_two_processes_end_where_one_ends(found: dict[str, Any], case: str) -> None:
    gaps = found[case]
    assert gaps["loss"] < 1e-4
    assert gaps["weights"] < 1e-4
    assert gaps["moved"] > 1e-3
    assert gaps["steps"] > 5


def test_sharded_training_resumes_to_the_same_bits_after_one_rank_was_asked_to_stop(found: dict[str, Any]) -> None:
    assert found["resume"] == {"equal": True, "stopped": 4, "resumed": [4]}


@pytest.mark.parametrize(
    ("method", "model_type", "processes", "says"),
    [
        ("full", "bert", 1, "train.shard must be none where one process trains; got fsdp. Start several: torchrun"),
        (
            "adalora",
            "bert",
            2,
            "train.shard must be none with method adalora; got fsdp. Sharded training goes with full",
        ),
        ("full", "xlnet", 2, "train.shard must be none for xlnet models"),
    ],
)
def test_what_cannot_be_sharded_is_refused(method: str, model_type: str, processes: int, says: str) -> None:
    with pytest.raises(TrainingError) as caught:
        refuse_sharding(method, model_type, processes)
    assert str(caught.value).startswith(says)


@pytest.mark.parametrize("beside", [{"lanes": 2}, {"budget": 512.0}])
def test_what_needs_the_whole_model_in_one_part_is_refused(beside: dict[str, Any]) -> None:
    refuse_sharding("full", "bert", 2, lanes=1)
    with pytest.raises(TrainingError, match="shard must be none where"):
        refuse_sharding("full", "bert", 2, **beside)


def test_methods_that_shard_exist() -> None:
    assert set(METHODS) < set(ALL)


def test_a_copy_without_values_takes_values_later() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    model[0].bias.requires_grad_(False)
    copy = without_values(model)
    assert {parameter.device.type for parameter in copy.parameters()} == {"meta"}
    copy.load_state_dict(model.state_dict(), assign=True)
    assert [p.requires_grad for p in copy.parameters()] == [p.requires_grad for p in model.parameters()]
    rows = torch.randn(5, 3)
    assert torch.equal(copy(rows), model(rows))


class Shelf(dict[str, bytes]):
    """A key-value store in one process."""

    def check(self, names: list[str]) -> bool:
        return all(name in self for name in names)

    def set(self, name: str, value: str) -> None:
        self[name] = value.encode()

    def get(self, name: str) -> Any:  # type: ignore[override]
        return self[name]


def member(rank: int, shelf: Shelf) -> group.Group:
    found = object.__new__(group.Group)
    found.rank, found.size, found._store = rank, 2, shelf  # type: ignore[assignment]
    return found


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group, "LOOK_SECONDS", 0.001)
    monkeypatch.setattr(group, "REASON_SECONDS", 0.01)


def test_the_others_wait_for_an_order_the_end_or_a_stop(quick: None) -> None:
    shelf = Shelf()
    assert member(1, shelf).wait(lambda: True) is None
    assert member(0, shelf).stop_asked()
    assert isinstance(member(0, shelf).reason(), StoppedError)
    shelf.clear()
    member(0, shelf).ask({"folder": "x"})
    assert member(1, shelf).wait(lambda: False) == {"folder": "x"}
    assert member(1, Shelf(end=b"1")).wait(lambda: False) is None


def test_rank_0_tells_what_another_process_failed_of(quick: None) -> None:
    shelf = Shelf()
    member(1, shelf).report(RuntimeError("Connection closed by peer [127.0.0.1]:1"))
    assert not shelf
    assert "ended" in str(member(0, shelf).reason())
    member(1, shelf).report(TrainingError("the disk is full.", fix="Make room."))
    told = member(0, shelf).reason()
    assert (type(told), str(told)) == (TrainingError, "process 1: the disk is full. Make room.")
    member(1, shelf).report(ValueError("odd"))
    bug = member(0, shelf).reason()
    assert (type(bug), str(bug)) == (RuntimeError, "process 1: ValueError: odd")
    assert not group.is_lost(bug)
