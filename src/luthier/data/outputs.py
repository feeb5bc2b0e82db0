"""Named outputs of many features, gathered from batches by a token budget, shortest first."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
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
    scores: Callable[[Iterator[Batch]], Iterable[Mapping[str, NDArray[Any]]]],
    *,
    budget: int,
    per_token: Collection[str] = (),
) -> Outputs:
    """Return outputs in the order of some features.

    Args:
        features: any number.
        index: (N,) which of them.
        scores: collated batches to named outputs, (B, ...) each, in the batches' order.
        budget: rows x longest row of a batch.
        per_token: outputs that are (B, T, ...); a feature keeps those of its own tokens.

    Returns:
        `{name: (N, ...)}`; an output per token is (N,) objects, each (T, ...).
    """
    found: Outputs = {}
    batches = list(sorted_batches(features.total_cost[index], budget))
    lengths: list[NDArray[np.int64]] = []  # of a batch's rows, kept when it is collated

    def collated() -> Iterator[Batch]:
        for batch in batches:
            inputs = features.collate(index[batch])
            lengths.append(inputs[MASK].sum(axis=1))
            yield inputs

    for number, (batch, outputs) in enumerate(zip(batches, scores(collated()), strict=True)):
        for name, values in outputs.items():
            if name in per_token:
                kept = found.setdefault(name, np.empty(len(index), dtype=object))
                for place, row, length in zip(batch, values, lengths[number], strict=True):
                    kept[place] = row[:length]
            else:
                found.setdefault(name, np.empty((len(index), *values.shape[1:])))[batch] = values
    return found
