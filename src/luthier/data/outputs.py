"""Named outputs of many features, gathered from batches by a token budget, shortest first."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from luthier.data.batches import Batch, sorted_batches

Outputs = dict[str, NDArray[Any]]
MASK = "attention_mask"


class Collated(Protocol):
    """Features as a model sees them."""

    @property
    def group(self) -> NDArray[np.int64]:
        """(N,) row number of each."""

    @property
    def total_cost(self) -> NDArray[np.int64]:
        """(N,) what a batch's budget is spent on."""

    def collate(self, indices: NDArray[np.int64]) -> Batch:
        """Return the padded arrays of a batch."""


def collect(
    features: Collated,
    index: NDArray[np.int64],
    score: Callable[[Batch], Mapping[str, NDArray[Any]]],
    *,
    budget: int,
    per_token: Collection[str] = (),
) -> Outputs:
    """Return outputs in the order of some features.

    Args:
        features: any number.
        index: (N,) which of them.
        score: a collated batch to named outputs, (B, ...) each.
        budget: rows x longest row of a batch.
        per_token: outputs that are (B, T, ...); a feature keeps those of its own tokens.

    Returns:
        `{name: (N, ...)}`; an output per token is (N,) objects, each (T, ...).
    """
    found: Outputs = {}
    for batch in sorted_batches(features.total_cost[index], budget):
        inputs = features.collate(index[batch])
        for name, values in score(inputs).items():
            if name in per_token:
                kept = found.setdefault(name, np.empty(len(index), dtype=object))
                for place, row, length in zip(batch, values, inputs[MASK].sum(axis=1), strict=True):
                    kept[place] = row[:length]
            else:
                found.setdefault(name, np.empty((len(index), *values.shape[1:])))[batch] = values
    return found
