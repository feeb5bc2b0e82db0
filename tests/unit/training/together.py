"""One of two gloo processes of `test_world.py`: trains small models in a world of two and alone, and compares.

    python together.py MODEL FOLDER RANK

Rank 0 leaves `FOLDER/found.json`: `{case: {loss, weights, moved, equal}}`, the largest differences to one process.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[3]))

import torch
import torch.distributed as dist
from tests.unit.training.test_loop import features, model, plan_epoch

from luthier.artifacts.checkpoint import CheckpointStore
from luthier.models.tuning.table import build_method
from luthier.objectives.classification import Classification
from luthier.training.events import Resumed, StepDone
from luthier.training.loop import Fit, Optimisation
from luthier.training.sharding import METHODS, ShardedWorld
from luthier.training.world import DistributedWorld, LocalWorld, World

Weights = dict[str, torch.Tensor]


def fit(
    folder: Path,
    world: World,
    method: str,
    *,
    budget: int = 256,
    store: Path | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Fit:
    rows = features()
    numbers = Optimisation(epochs=1, learning_rate=3e-3, weight_decay=0.1, accumulate=2, checkpoint_seconds=1e-3)
    return Fit(
        model=model(folder, 0.0).model,
        method=build_method(method, {}),
        objective=Classification(),
        features=rows,
        order=lambda epoch: plan_epoch(rows.total_cost, budget=budget, window=4, fingerprint="f", seed=7, epoch=epoch),
        numbers=numbers,
        world=world,
        store=None if store is None else CheckpointStore(store / "c", run_fingerprint="r", keep=2),
        best_folder=None if store is None else store / "b",
        validate=None if store is None else lambda trained: {"accuracy": float(sum(1 for _ in trained.parameters()))},
        stop=stop,
    )


def trained(run: Fit) -> tuple[list[float], Weights]:
    losses = [event.loss for event in run if isinstance(event, StepDone)]
    return losses, {name: tensor.clone() for name, tensor in run.model.state_dict().items()}


def compare(folder: Path, world: World, method: str, budget: int) -> dict[str, float] | None:
    """Return the largest differences to a run of one process, and how far the weights moved."""
    together, weights = trained(fit(folder, world, method, budget=budget))
    if world.rank != 0:
        return None
    single = fit(folder, LocalWorld(), method, budget=budget)
    before = {name: tensor.clone() for name, tensor in single.model.state_dict().items()}
    alone, wanted = trained(single)
    assert weights.keys() == wanted.keys()
    assert len(together) == len(alone)
    gaps = [float((weights[name] - wanted[name]).abs().max()) for name in wanted]
    moved = [float((before[name] - wanted[name]).abs().max()) for name in wanted]
    loss = max(abs(a - b) for a, b in zip(together, alone, strict=True))
    return {"loss": loss, "weights": max(gaps), "moved": max(moved), "steps": len(alone)}


def resume(folder: Path, place: Path) -> dict[str, Any] | None:
    """Return whether a run that rank 1 was asked to stop ends, continued, as one that nothing disturbed."""
    world = ShardedWorld()
    _, whole = trained(fit(folder, ShardedWorld(), "full", store=place / "whole"))
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return world.rank == 1 and len(asked) == 4

    cut = fit(folder, world, "full", store=place / "cut", stop=stop)
    steps = [event.step for event in cut if isinstance(event, StepDone)]
    again = fit(folder, ShardedWorld(), "full", store=place / "cut")
    found: list[int] = []
    for event in again:
        found += [event.step] if isinstance(event, Resumed) else []
    if world.rank != 0:
        return None
    equal = all(torch.equal(whole[name], tensor) for name, tensor in again.model.state_dict().items())
    return {"equal": equal, "stopped": steps[-1], "resumed": found}


if __name__ == "__main__":
    folder, place, rank = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    dist.init_process_group("gloo", init_method=f"file://{place}/rendezvous", rank=rank, world_size=2)
    found = {
        "ddp": compare(folder, DistributedWorld(), "full", 256),
        "rows fewer than ranks": compare(folder, ShardedWorld(), "full", 24),
        "resume": resume(folder, place),
        **{name: compare(folder, ShardedWorld(), name, 256) for name in METHODS},
    }
    if rank == 0:
        (place / "found.json").write_text(json.dumps(found), encoding="utf-8")
    dist.destroy_process_group()
