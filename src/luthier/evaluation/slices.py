"""The headline metric on parts of the test rows: by length, by label, by columns that the user names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from luthier.artifacts.evaluation import MetricValue, SliceRow
from luthier.evaluation.evidence import Evidence
from luthier.metrics.intervals import bootstrap
from luthier.metrics.registry import METRICS
from luthier.metrics.scores import RowScores

SLICE_VALUES = 20
LEAST_SLICE_ROWS = 5
IntArray = NDArray[np.int64]


def slices(scores: RowScores, own: Sequence[tuple[str, list[str]]], evidence: Evidence) -> Iterator[SliceRow]:
    """Yield the headline metric on each part that has a few rows.

    Args:
        scores: of the test rows.
        own: (column, value per row) that this kind of evaluation adds to length and the user's columns.
        evidence: what is evaluated.
    """
    metric = METRICS[evidence.headline]
    columns = [("length", _length_bands(evidence.test.tokens)), *own]
    columns += [(name, [str(cell) for cell in evidence.test.cells(name, None)]) for name in evidence.slices]
    for column, values in columns:
        counts = Counter(values)
        shown = list(dict.fromkeys(sorted(values, key=_band_order))) if column == "length" else _top(counts)
        for value in shown:
            positions = np.flatnonzero(np.asarray(values, dtype=object) == value)
            if len(positions) < LEAST_SLICE_ROWS:
                continue
            part = scores.take(positions)
            interval = bootstrap(
                part, [metric], resamples=evidence.resamples, confidence=evidence.confidence, seed=evidence.seed
            )[metric.name]
            measured = MetricValue(value=metric.function(part), interval=interval)
            yield SliceRow(column=column, value=value, rows=len(positions), metric=measured)


def _top(counts: Counter[str]) -> list[str]:
    return [value for value, _ in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:SLICE_VALUES]]


def _length_bands(tokens: IntArray) -> list[str]:
    """Return a band of tokens for each row: the four quarters of the rows by length."""
    edges = np.unique(np.quantile(tokens, [0.25, 0.5, 0.75]).astype(np.int64)) if len(tokens) else np.empty(0, int)
    lows = np.concatenate(([0], edges + 1))
    highs = np.concatenate((edges, [int(tokens.max(initial=0))]))
    band = np.searchsorted(edges, tokens, side="left")
    return [f"{lows[i]}-{highs[i]} tokens" for i in band]


def _band_order(band: str) -> int:
    return int(band.split("-", 1)[0])
