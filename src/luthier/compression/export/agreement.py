"""Two scorers compared over batch sizes and lengths."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier.compression.export.traceable import Batch
from luthier.data.outputs import MASK
from luthier.inference.runtimes import Scorer

BATCHES = (1, 3, 17)
LENGTHS = (1, 7)


def shapes(longest: int) -> list[tuple[int, int]]:
    """Return the (batch, length) pairs that are compared: lengths up to the limit, and the limit."""
    lengths = [*(length for length in LENGTHS if length < longest), longest]
    return [(batch, length) for batch in BATCHES for length in lengths]


def largest_difference(ours: Scorer, theirs: Scorer, batch: Batch, longest: int, per_token: Sequence[str]) -> float:
    """Return the largest difference in any output over `shapes`.

    Args:
        ours: one scorer.
        theirs: the other.
        batch: collated; made-up batches hold its values, at other places.
        longest: the length limit in tokens.
        per_token: outputs that are (B, T, ...), compared where a token is real.
    """
    worst = 0.0
    for made in _batches(batch, longest):
        one, other = ours.score(made), theirs.score(made)
        for name, values in one.items():
            gap = np.abs(values - other[name])
            if name in per_token:
                gap = gap[made[MASK] > 0]
            worst = max(worst, float(gap.max(initial=0.0))) if np.isfinite(gap).all() else float("inf")
    return worst


def _batches(batch: Batch, longest: int) -> Iterator[dict[str, NDArray[Any]]]:
    draw = np.random.default_rng(0)
    tokens = batch[MASK].shape
    for rows, length in shapes(longest):
        mask = np.ones((rows, length), dtype=batch[MASK].dtype)
        mask[1::2, (length + 1) // 2 :] = 0  # every second row is padded
        made: dict[str, NDArray[Any]] = {}
        for name, array in batch.items():
            if name == MASK:
                made[name] = mask
            elif array.shape == tokens:
                made[name] = draw.choice(array[batch[MASK] > 0], size=(rows, length))
            else:
                made[name] = np.minimum(array[np.arange(rows) % len(array)], length - 1).astype(array.dtype)
        yield made
