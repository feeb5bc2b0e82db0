"""Long curves made short enough to draw: 100,000 steps become a few hundred points that look the same."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def finite(x: Sequence[float], y: Sequence[float | None]) -> tuple[FloatArray, FloatArray]:
    """Return the points whose y is a finite number.

    Args:
        x: (N,) places.
        y: (N,) values; None, NaN and infinity are dropped.
    """
    pairs = [(a, b) for a, b in zip(x, y, strict=True) if isinstance(b, int | float) and math.isfinite(b)]
    array = np.asarray(pairs, dtype=np.float64).reshape(-1, 2)
    return array[:, 0], array[:, 1]


def smooth(y: FloatArray, share: float = 0.04) -> FloatArray:
    """Return the mean over a centred window, shorter at the ends so that neither end is invented.

    Args:
        y: (N,) values.
        share: of the curve that a window covers; at least 5 points, where there are so many.
    """
    half = min(max(2, round(share * len(y) / 2)), max(0, (len(y) - 1) // 2))
    sums = np.concatenate(([0.0], np.cumsum(y)))
    index = np.arange(len(y))
    reach = np.minimum(half, np.minimum(index, len(y) - 1 - index))  # symmetric, so a slope is kept
    return np.asarray((sums[index + reach + 1] - sums[index - reach]) / (2 * reach + 1), dtype=np.float64)


def envelope(x: FloatArray, y: FloatArray, buckets: int = 240) -> tuple[FloatArray, FloatArray]:
    """Return at most two points per bucket, its lowest and its highest in their order, and both ends of the curve.

    A spike of one step stays visible, which picking every n-th point would lose.

    Args:
        x: (N,) places, rising.
        y: (N,) values.
        buckets: equal parts of the curve.
    """
    if len(x) <= 2 * buckets:
        return x, y
    edges = np.linspace(0, len(x), buckets + 1).astype(np.int64)
    kept = {0, len(x) - 1}
    for low, high in pairwise(edges):
        kept |= {int(low + np.argmin(y[low:high])), int(low + np.argmax(y[low:high]))}
    chosen = np.asarray(sorted(kept))
    return x[chosen], y[chosen]


def evenly(x: FloatArray, y: FloatArray, points: int = 240) -> tuple[FloatArray, FloatArray]:
    """Return every n-th point and both ends: for curves without spikes."""
    if len(x) <= points:
        return x, y
    chosen = np.unique(np.linspace(0, len(x) - 1, points).round().astype(np.int64))
    return x[chosen], y[chosen]
