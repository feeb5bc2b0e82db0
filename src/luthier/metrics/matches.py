"""Precision, recall and F1 of what is found among what is there, such as entities in texts or relations between them.

Everything counts once, over all rows (micro), or each label's F1 is averaged (macro). A label that neither truth nor
answers have is in no average. References: Tjong Kim Sang and De Meulder, 2003 (exact spans); Zhang et al., 2017
(relations without the none class).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from luthier.metrics.classification import value_of
from luthier.metrics.scores import FloatArray, IntArray
from luthier.metrics.weighted import Statistic, ratio


@dataclass(frozen=True, eq=False)
class MatchScores:
    """Counts of each row, (N, L) each for L labels.

    Attributes:
        right: answers that are true.
        answered: answers.
        there: what is true.
        target: (N,) what must be equal for two models to be compared row by row.
    """

    right: FloatArray
    answered: FloatArray
    there: FloatArray
    target: IntArray

    @property
    def rows(self) -> int:
        """The number of rows, N."""
        return len(self.right)

    def take(self, rows: npt.ArrayLike) -> MatchScores:
        """Return the scores of some rows, by index or by mask, in that order."""
        chosen = np.asarray(rows)
        return MatchScores(self.right[chosen], self.answered[chosen], self.there[chosen], self.target[chosen])


Sums = tuple[FloatArray, FloatArray, FloatArray]


def _of_sums(scores: MatchScores, formula: Callable[[Sums], FloatArray]) -> Statistic:
    """Return the statistic of a formula over (L, R) sums of right, answered and there."""
    counts = tuple(np.asarray(one, np.float64).T for one in (scores.right, scores.answered, scores.there))

    def value(weights: FloatArray) -> FloatArray:
        sums = tuple(np.stack([_dot(row, weights) for row in one]) if len(one) else one @ weights for one in counts)
        return formula((sums[0], sums[1], sums[2]))

    return value


def _dot(row: FloatArray, weights: FloatArray) -> FloatArray:
    """Return the weighted sum of (N,) by (N, R), over the rows that count."""
    used = np.flatnonzero(row)
    found: FloatArray = (row[used, None] * weights[used]).sum(axis=0)
    return found


def micro_precision_statistic(scores: MatchScores) -> Statistic:
    """Share of the answers that are true."""
    return _of_sums(scores, lambda sums: ratio(sums[0].sum(axis=0), sums[1].sum(axis=0)))


def micro_recall_statistic(scores: MatchScores) -> Statistic:
    """Share of what is there that was found."""
    return _of_sums(scores, lambda sums: ratio(sums[0].sum(axis=0), sums[2].sum(axis=0)))


def micro_f1_statistic(scores: MatchScores) -> Statistic:
    """Harmonic mean of the two."""
    return _of_sums(scores, lambda sums: ratio(2 * sums[0].sum(axis=0), (sums[1] + sums[2]).sum(axis=0)))


def macro_f1_statistic(scores: MatchScores) -> Statistic:
    """Mean F1 over the labels in truth or answers."""

    def formula(sums: Sums) -> FloatArray:
        right, answered, there = sums
        present = answered + there > 0
        f1 = ratio(2 * right, answered + there, 0.0)
        return ratio(np.where(present, f1, 0.0).sum(axis=0), present.sum(axis=0).astype(np.float64))

    return _of_sums(scores, formula)


def micro_precision(scores: MatchScores) -> float | None:
    """Return the share of the answers that are true, in [0, 1]; None without answers."""
    return value_of(micro_precision_statistic(scores), scores.rows)


def micro_recall(scores: MatchScores) -> float | None:
    """Return the share of what is there that was found, in [0, 1]; None where there is nothing."""
    return value_of(micro_recall_statistic(scores), scores.rows)


def micro_f1(scores: MatchScores) -> float | None:
    """Return the harmonic mean of precision and recall, in [0, 1]; None where both are undefined."""
    return value_of(micro_f1_statistic(scores), scores.rows)


def macro_f1(scores: MatchScores) -> float | None:
    """Return the mean F1 over the labels in truth or answers, in [0, 1]."""
    return value_of(macro_f1_statistic(scores), scores.rows)
