"""The step check: what a few real steps cost, before many are made."""

from __future__ import annotations

import gc
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from luthier.models.tuning.quantised_layers import packed_away
from luthier.training.events import StepDone
from luthier.training.loop import Fit


@dataclass(frozen=True)
class StepCost:
    """What was measured.

    Attributes:
        steps: how many steps were measured.
        rows_per_second: over the measured steps.
        seconds_per_epoch: estimate for all batches of an epoch, by their padded cost.
        peak_memory_mib: of the whole process so far, the heaviest batch included.
        trainable: parameters that move.
        parameters: in all.
    """

    steps: int
    rows_per_second: float
    seconds_per_epoch: float
    peak_memory_mib: float
    trainable: int
    parameters: int


def sample_batches(
    batches: Sequence[NDArray[np.int64]], cost: NDArray[np.int64], steps: int
) -> list[NDArray[np.int64]]:
    """Return the heaviest batch, to warm up and to see the peak memory, then `steps` spread over an epoch."""
    heaviest = max(batches, key=lambda rows: padded(rows, cost))
    places = np.linspace(0, len(batches) - 1, min(steps, len(batches))).round().astype(int)
    return [heaviest, *(batches[place] for place in places)]


def padded(rows: NDArray[np.int64], cost: NDArray[np.int64]) -> int:
    """Return a batch's cost with padding: rows x longest."""
    return len(rows) * int(cost[rows].max())


def measure(
    make: Callable[[list[NDArray[np.int64]]], Fit],
    batches: Sequence[NDArray[np.int64]],
    cost: NDArray[np.int64],
    steps: int,
) -> StepCost:
    """Measure real steps of a model that is thrown away.

    Args:
        make: returns a `Fit` over the batches it is given, without checkpoints.
        batches: of the first epoch.
        cost: (N,) of each feature.
        steps: how many to measure after a first one that warms up.
    """
    chosen = sample_batches(batches, cost, steps)
    fit = make(chosen)
    model = fit.model
    moments = [time.perf_counter() for event in fit if isinstance(event, StepDone)]
    seconds = moments[-1] - moments[0]
    rows = sum(len(batch) for batch in chosen[1:])
    work = sum(padded(batch, cost) for batch in chosen[1:])
    whole = sum(padded(batch, cost) for batch in batches)
    result = StepCost(
        steps=len(chosen) - 1,
        rows_per_second=rows / seconds,
        seconds_per_epoch=seconds * whole / work,
        peak_memory_mib=peak_memory_mib(),
        trainable=sum(p.numel() for name, p in model.named_parameters() if name in fit.kept),
        parameters=sum(p.numel() for p in model.parameters()) + packed_away(model),
    )
    del fit, model
    gc.collect()
    return result


def peak_memory_mib() -> float:
    """Return the largest resident memory of this process so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
