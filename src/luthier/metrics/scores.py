"""What a classifier said about rows whose truth is known: the one argument of every metric."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


class RowScores(Protocol):
    """Any scores that can be resampled by rows."""

    @property
    def rows(self) -> int:
        """The number of rows, N."""

    @property
    def target(self) -> IntArray:
        """(N,) what must be equal for two models to be compared row by row."""

    def take(self, rows: npt.ArrayLike) -> Self:
        """Return the scores of some rows, by index or by mask, in that order."""


@dataclass(frozen=True, eq=False)
class Scores:
    """Truth and predicted probabilities of the same rows.

    Attributes:
        target: (N,) index of the true class of each row, in [0, C).
        probability: (N, C) predicted probability of each class, rows summing to one.
        logits: (N, C) what the probabilities came from, where it is known.

    Raises:
        ValueError: shapes disagree, a class index is out of range, or a probability is not finite.
    """

    target: IntArray
    probability: FloatArray
    logits: FloatArray | None = None

    def __post_init__(self) -> None:
        target = np.asarray(self.target)
        probability = np.asarray(self.probability, dtype=np.float64)
        if probability.ndim != 2 or target.shape != probability.shape[:1]:
            raise ValueError(f"target must be (N,) and probability (N, C); got {target.shape} and {probability.shape}.")
        if target.size and not np.issubdtype(target.dtype, np.integer):
            raise ValueError(f"target must be class indices (integers); got {target.dtype}.")
        if target.size and not 0 <= target.min() <= target.max() < probability.shape[1]:
            raise ValueError(f"target must be in [0, {probability.shape[1]}); got [{target.min()}, {target.max()}].")
        if not np.isfinite(probability).all():
            raise ValueError("probability must be finite; got NaN or infinity.")
        object.__setattr__(self, "target", target.astype(np.int64))
        object.__setattr__(self, "probability", probability)
        if self.logits is not None:
            logits = np.asarray(self.logits, dtype=np.float64)
            if logits.shape != probability.shape:
                raise ValueError(f"logits must be {probability.shape}; got {logits.shape}.")
            object.__setattr__(self, "logits", logits)

    @property
    def rows(self) -> int:
        """The number of rows, N."""
        return int(self.probability.shape[0])

    @property
    def classes(self) -> int:
        """The number of classes, C, present in the rows or not."""
        return int(self.probability.shape[1])

    @cached_property
    def predicted(self) -> IntArray:
        """(N,) the most probable class of each row; the first of equals."""
        if not self.rows:
            return np.zeros(0, dtype=np.int64)
        best: IntArray = self.probability.argmax(axis=1).astype(np.int64)
        return best

    @cached_property
    def confidence(self) -> FloatArray:
        """(N,) the probability of the predicted class."""
        chosen: FloatArray = self.probability[np.arange(self.rows), self.predicted]
        return chosen

    @cached_property
    def correct(self) -> BoolArray:
        """(N,) whether the predicted class is the true one."""
        equal: BoolArray = self.predicted == self.target
        return equal

    def take(self, rows: npt.ArrayLike) -> Scores:
        """Return the scores of some rows, by index or by mask, in that order."""
        chosen = np.asarray(rows)
        logits = None if self.logits is None else self.logits[chosen]
        return Scores(self.target[chosen], self.probability[chosen], logits)
