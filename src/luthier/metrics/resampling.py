"""Bootstrap resamples as row multiplicities: the same for every metric, and for ever the same for a seed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np

from luthier.metrics.registry import Metric
from luthier.metrics.scores import FloatArray, IntArray, RowScores
from luthier.metrics.weighted import Statistic

CELLS_AT_ONCE = 500_000  # multiplicities held at a time: 4 MB


def generator(seed: int, purpose: str) -> np.random.Philox:
    """Return a bit generator of its own for a purpose: no other purpose's draws move it."""
    digest = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()
    return np.random.Philox(key=int.from_bytes(digest[:16], "little"))


def _rows_drawn(bits: np.random.Philox, rows: int, draws: int) -> IntArray:
    """Draw row indices, (draws, rows).

    They come from the raw 32-bit stream (multiply and shift: a row's chance is off by less than rows / 2^32), because
    NumPy fixes that stream for ever but not what `Generator.integers` makes of it.
    """
    raw = bits.random_raw((draws * rows + 1) // 2).astype("<u8").view("<u4")[: draws * rows]
    return ((raw.astype(np.uint64) * np.uint64(rows)) >> np.uint64(32)).astype(np.int64).reshape(draws, rows)


def multiplicities(rows: int, resamples: int, seed: int, purpose: str) -> Iterator[FloatArray]:
    """Yield how often each row occurs in each resample, as blocks (rows, some resamples).

    Args:
        rows: rows of the data, all drawn from and as many drawn, with replacement.
        resamples: columns over all blocks.
        seed: of the draws.
        purpose: name of the use, so that two uses of one seed do not share draws.
    """
    bits = generator(seed, purpose)
    # Even, so that no half of a 64-bit draw is thrown away between blocks; at least 8, so that sums stay vectorised.
    block = max(8, CELLS_AT_ONCE // rows // 2 * 2)
    for start in range(0, resamples, block):
        drawn = _rows_drawn(bits, rows, min(block, resamples - start))
        counted = np.stack([np.bincount(row, minlength=rows) for row in drawn])
        yield np.ascontiguousarray(counted.T, dtype=np.float64)


def statistic_of(metric: Metric, scores: RowScores) -> Statistic:
    """Return a metric over multiplicities: its own fast form, or its function called for each resample."""
    if metric.statistic is not None:
        return metric.statistic(scores)

    def one_by_one(weights: FloatArray) -> FloatArray:
        every = np.arange(scores.rows)
        values = (metric.function(scores.take(np.repeat(every, w.astype(np.int64)))) for w in weights.T)
        return np.array([np.nan if value is None else value for value in values], dtype=np.float64)

    return one_by_one
