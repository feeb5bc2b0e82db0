"""A run of several processes: rank 0 does every stage, the others help it in the train stage and write nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier.config import TrainStage
from luthier.pipeline.prepared import Prepared
from luthier.training.hardware import Choice
from luthier.training.sharding import refuse_sharding
from luthier.training.world import World, processes

if TYPE_CHECKING:
    from luthier.training.group import Group


@contextmanager
def joined() -> Iterator[Group | None]:
    """Yield the group of processes that this one belongs to; None where it is alone.

    Raises:
        LuthierError: on rank 0, what another process failed of.
    """
    if processes() == 1:
        yield None
        return
    from luthier.training.group import Group, is_lost

    group = Group()
    try:
        yield group
    except RuntimeError as error:
        if not is_lost(error):
            raise
        raise group.reason() from None
    finally:
        group.leave()


def refuse(prepared: Prepared) -> None:
    """Refuse `train.shard` where it cannot work.

    Raises:
        TrainingError: says why.
    """
    stage = prepared.plan.only(TrainStage)
    if stage.spec.shard == "fsdp":
        refuse_sharding(
            stage.method.name,
            prepared.model.model_type,
            processes(),
            lanes=stage.spec.lanes,
            budget=stage.spec.memory_mib,
        )


def lead(group: Group | None, prepared: Prepared, choices: Mapping[str, Choice], folder: Path) -> World | None:
    """On rank 0: ask the others to train as well; return the world of all, None where there is no other.

    Args:
        group: of this process.
        prepared: the inputs; they are made first, so that the others find them in the caches.
        choices: what `auto` picked.
        folder: of the train stage.
    """
    if group is None:
        return None
    prepared.part("validation")
    prepared.order(0)
    group.ask({"choices": {name: asdict(choice) for name, choice in choices.items()}, "folder": str(folder)})
    return _world(group, prepared, choices)


def follow(group: Group, prepare: Callable[[], Prepared], stop: Callable[[], bool]) -> None:
    """On another rank: train when rank 0 asks for it. An error is told by rank 0."""
    try:
        order = group.wait(stop)
        if order is not None:
            _train(group, prepare(), order, stop)
    except Exception as error:
        group.report(error)


def _train(group: Group, prepared: Prepared, order: Mapping[str, Any], stop: Callable[[], bool]) -> None:
    from luthier.pipeline.training import TrainJob, engine

    choices = {name: Choice(**choice) for name, choice in order["choices"].items()}
    job = TrainJob(prepared, choices)
    world = _world(group, prepared, choices)
    with engine(choices):
        for _ in job.fit(job.assemble(), folder=Path(order["folder"]), world=world, stop=stop):
            pass


def _world(group: Group, prepared: Prepared, choices: Mapping[str, Choice]) -> World:
    sharded = prepared.plan.only(TrainStage).spec.shard == "fsdp"
    return group.world(choices["device"].value, sharded=sharded)
