"""Batches by cost budget.

The order of an epoch is a pure function of (data fingerprint, seed, epoch). Rows are shuffled, cut into windows,
sorted by cost inside each window, cut into batches that fit the budget, and the batches are shuffled. A batch is one
optimiser step over all ranks and micro-batches; `pieces` cuts it for them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier.data.draws import generator

IntArray = NDArray[np.int64]


def plan_epoch(
    cost: NDArray[np.integer[Any]], *, budget: int, window: int, fingerprint: str, seed: int, epoch: int
) -> list[IntArray]:
    """Return an epoch's batches as arrays of row numbers.

    Args:
        cost: (N,) cost of each row, such as its tokens.
        budget: largest rows x longest row of a batch; a longer row makes a batch alone.
        window: batches in a shuffled window inside which rows are sorted by cost; 1 keeps full randomness.
        fingerprint: of the data.
        seed: of the run.
        epoch: counted from 0.
    """
    if len(cost) == 0:
        return []
    draw = generator(seed, "order", fingerprint, epoch)
    order = draw.permutation(len(cost))
    size = max(1, round(window * budget / float(np.mean(cost))))
    batches: list[IntArray] = []
    for start in range(0, len(order), size):
        part = order[start : start + size]
        batches += cut(part[np.argsort(cost[part], kind="stable")], cost, budget)
    return [batches[i] for i in draw.permutation(len(batches))]


def cut(rows: IntArray, cost: NDArray[np.integer[Any]], budget: int) -> list[IntArray]:
    """Cut rows, sorted by rising cost, into batches with `rows x longest <= budget` (at least one row each)."""
    batches = []
    sorted_cost = cost[rows]
    start = 0
    while start < len(rows):
        filled = (np.arange(1, min(len(rows) - start, budget) + 1)) * sorted_cost[start : start + budget]
        size = max(1, int(np.searchsorted(filled, budget, side="right")))
        batches.append(rows[start : start + size])
        start += size
    return batches


def pieces(rows: IntArray, cost: NDArray[np.integer[Any]], number: int) -> list[IntArray]:
    """Cut one batch into `number` runs of about equal cost; some are empty when rows are few.

    Every row is in exactly one piece, and the order of rows is kept.
    """
    total = np.concatenate(([0], np.cumsum(cost[rows], dtype=np.int64)))
    marks = total[-1] * np.arange(1, number) / number
    ends = np.searchsorted(total, marks, side="left")
    if len(rows) >= number:  # give every piece at least one row
        step = np.arange(1, number)
        ends = np.maximum.accumulate(np.maximum(ends, step) - step) + step
        ends = np.minimum(ends, len(rows) - number + step)
    return np.split(rows, ends)


def sorted_batches(cost: NDArray[np.integer[Any]], budget: int) -> list[IntArray]:
    """Return batches over all rows from the cheapest to the dearest, for inference."""
    return cut(np.argsort(cost, kind="stable"), cost, budget)


def padding_share(batches: Sequence[IntArray], cost: NDArray[np.integer[Any]]) -> float:
    """Return padding tokens as a share of all tokens in the batches."""
    padded = sum(len(rows) * int(cost[rows].max()) for rows in batches)
    real = sum(int(cost[rows].sum()) for rows in batches)
    return 1.0 - real / padded if padded else 0.0


def pad(rows: Sequence[NDArray[Any]], value: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pad ragged rows on the right.

    Returns:
        (B, T) values and (B, T) mask of ones where a value is real.
    """
    lengths = np.fromiter((len(row) for row in rows), np.int64, len(rows))
    mask = (np.arange(lengths.max(initial=0)) < lengths[:, None]).astype(np.int64)
    values = np.full(mask.shape, value, dtype=np.int64)
    if len(rows):
        values[mask.astype(bool)] = np.concatenate(rows)
    return values, mask


Batch = Mapping[str, NDArray[Any]]
