"""How fast two predictors answer, measured in turns so that a busy moment of the machine hits both."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import numpy as np

from luthier.compression.search.contract import Rate
from luthier.inference.predictor import Predictor

ROUNDS = 3
SINGLES = 60
Cells = Sequence[Mapping[str, Any]]


def rates(ours: Predictor, theirs: Predictor, cells: Cells, *, singles: int = SINGLES) -> Rate:
    """Return the rate of a predictor, and its ratio to another's.

    Args:
        ours: what is measured.
        theirs: what it is compared with.
        cells: rows; all of them are asked at once, and some from all over them one at a time.
        singles: how many those are.
    """
    for predictor in (ours, theirs):
        predictor.predict_cells(cells)  # the first batches pay for memory and compiled shapes
    batch: dict[int, list[float]] = {0: [], 1: []}
    for _ in range(ROUNDS):
        for number, predictor in enumerate((theirs, ours)):
            batch[number].append(len(cells) / _seconds(predictor, cells))
    asked = _spread(cells, singles)
    for row in asked:  # a runtime that compiles for a length has done so by then, as in a server
        ours.predict_cells([row])
    single = [1000 * _seconds(ours, [row]) for row in asked]
    theirs_rate, ours_rate = median(batch[0]), median(batch[1])
    return Rate(
        rows_per_second=ours_rate,
        ratio=ours_rate / theirs_rate,
        p50_ms=float(np.percentile(single, 50)),
        p95_ms=float(np.percentile(single, 95)),
    )


def _spread(cells: Cells, number: int) -> list[Mapping[str, Any]]:
    """Return single requests from all over the rows; some twice where there are few."""
    places = np.linspace(0, len(cells) - 1, number).round().astype(int)
    return [cells[place] for place in places]


def _seconds(predictor: Predictor, cells: Cells) -> float:
    started = time.perf_counter()
    predictor.predict_cells(cells)
    return time.perf_counter() - started
