"""The trackers by name: the names are the keys of the project's `track` block."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from luthier.config.project import TrackSpec
from luthier.training.callbacks import Callback, Guarded
from luthier.training.trackers.mlflow import Mlflow
from luthier.training.trackers.tensorboard import TensorBoard
from luthier.training.trackers.weights_and_biases import WeightsAndBiases


@dataclass(frozen=True)
class Tracker:
    """A tracker: the package that it needs, and how it is made from its block."""

    package: str
    build: Callable[[Any], Callback]


TRACKERS = {
    "tensorboard": Tracker("tensorboard", TensorBoard),
    "wandb": Tracker("wandb", WeightsAndBiases),
    "mlflow": Tracker("mlflow", Mlflow),
}


def missing(spec: TrackSpec) -> dict[str, str]:
    """Return `{tracker: package}` for those that are asked for and whose package is not installed."""
    wanted = [name for name in TRACKERS if getattr(spec, name) is not None]
    return {name: package for name in wanted if importlib.util.find_spec(package := TRACKERS[name].package) is None}


def build(spec: TrackSpec, say: Callable[[str], None]) -> list[Callback]:
    """Return the trackers that a project asks for.

    Args:
        spec: the project's `track` block.
        say: told when one fails after training began.
    """
    asked = {name: block for name in TRACKERS if (block := getattr(spec, name)) is not None}
    return [Guarded(name, TRACKERS[name].build(block), say) for name, block in asked.items()]
