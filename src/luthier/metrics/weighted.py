"""The formula of each metric, once, over how often each row counts.

A bootstrap resample is a multiplicity per row, so one vectorised formula serves both the figure (every row once) and
its interval (a column of multiplicities per resample). Each function here takes the scores, does what needs doing
once (sorting, binning), and returns a `Statistic`: multiplicities (N, R) in, values (R,) out, NaN where undefined.
Sums run in a fixed order and not through BLAS, so that a figure does not depend on the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from luthier.metrics.scores import BoolArray, FloatArray, IntArray, Scores

Statistic = Callable[[FloatArray], FloatArray]

SMALLEST_PROBABILITY = 1e-15  # log loss clips here: one row costs at most 34.5 nats


@dataclass(frozen=True)
class Counts:
    """Per class and resample, (C, R) each: rows of the class found, rows of the class, rows predicted as it."""

    found: FloatArray
    support: FloatArray
    predicted: FloatArray

    @property
    def present(self) -> BoolArray:
        """(C, R) whether the class occurs in the truth or in the predictions."""
        occurs: BoolArray = self.support + self.predicted > 0
        return occurs

    @property
    def total(self) -> FloatArray:
        """(R,) rows."""
        rows: FloatArray = self.support.sum(axis=0)
        return rows


def ratio(above: FloatArray, below: FloatArray, otherwise: float = np.nan) -> FloatArray:
    """Divide, with a value of its own where the divisor is zero."""
    result: FloatArray = np.full(np.broadcast_shapes(above.shape, below.shape), otherwise)
    np.divide(above, below, out=result, where=below != 0)
    return result


def _sum_by(label: IntArray, groups: int) -> Callable[[FloatArray], FloatArray]:
    """Return a function that sums multiplicities (N, R) of rows with equal labels, giving (groups, R)."""
    order = np.argsort(label, kind="stable")
    present, starts = np.unique(label[order], return_index=True)

    def total(weights: FloatArray) -> FloatArray:
        sums = np.zeros((groups, weights.shape[1]))
        if len(present):
            sums[present] = np.add.reduceat(weights[order], starts, axis=0)
        return sums

    return total


def _counted(scores: Scores, formula: Callable[[Counts], FloatArray]) -> Statistic:
    """Return the statistic of a formula that needs only the counts; rows are summed once, by confusion cell."""
    cells, place = np.unique(scores.target * scores.classes + scores.predicted, return_inverse=True)
    true, predicted = np.divmod(cells, max(scores.classes, 1))
    right = np.flatnonzero(true == predicted)
    in_cell = _sum_by(place, len(cells))
    of_right = _sum_by(true[right], scores.classes)
    of_true = _sum_by(true, scores.classes)
    of_predicted = _sum_by(predicted, scores.classes)

    def value(weights: FloatArray) -> FloatArray:
        sums = in_cell(weights)
        return formula(Counts(of_right(sums[right]), of_true(sums), of_predicted(sums)))

    return value


def _mean(values: FloatArray, counted: BoolArray) -> FloatArray:
    """Average (C, R) over the classes that count in each resample."""
    return ratio(np.where(counted, values, 0.0).sum(axis=0), counted.sum(axis=0).astype(np.float64))


def accuracy(scores: Scores) -> Statistic:
    """Share of rows whose predicted class is the true one."""
    return _counted(scores, lambda c: ratio(c.found.sum(axis=0), c.total))


def balanced_accuracy(scores: Scores) -> Statistic:
    """Mean recall over the classes that occur in the truth."""
    return _counted(scores, lambda c: _mean(ratio(c.found, c.support, 0.0), c.support > 0))


def macro_precision(scores: Scores) -> Statistic:
    """Mean precision over the classes present; one never predicted has earned 0."""
    return _counted(scores, lambda c: _mean(ratio(c.found, c.predicted, 0.0), c.present))


def macro_recall(scores: Scores) -> Statistic:
    """Mean recall over the classes present; one predicted but never true counts 0."""
    return _counted(scores, lambda c: _mean(ratio(c.found, c.support, 0.0), c.present))


def _f1(counts: Counts) -> FloatArray:
    return ratio(2 * counts.found, counts.support + counts.predicted, 0.0)


def macro_f1(scores: Scores) -> Statistic:
    """Mean F1 over the classes present."""
    return _counted(scores, lambda c: _mean(_f1(c), c.present))


def weighted_f1(scores: Scores) -> Statistic:
    """Mean F1 over classes, each weighing as many rows as are truly of it."""
    return _counted(scores, lambda c: ratio((_f1(c) * c.support).sum(axis=0), c.total))


def _mcc(counts: Counts) -> FloatArray:
    total = counts.total
    shared = counts.found.sum(axis=0) * total - (counts.support * counts.predicted).sum(axis=0)
    spread_true = total**2 - (counts.support**2).sum(axis=0)
    spread_predicted = total**2 - (counts.predicted**2).sum(axis=0)
    value = ratio(shared, np.sqrt(spread_true) * np.sqrt(spread_predicted), 0.0)
    return np.where(spread_true > 0, value, np.nan)


def mcc(scores: Scores) -> Statistic:
    """Matthews correlation: 0 where every prediction is the same, undefined where the truth is."""
    return _counted(scores, _mcc)


def row_mean(values: FloatArray) -> Statistic:
    """Average of one value per row (N,)."""
    return lambda weights: ratio((values[:, None] * weights).sum(axis=0), weights.sum(axis=0))


def log_loss(scores: Scores) -> Statistic:
    """Mean negative log of the true class's probability, which is clipped to [1e-15, 1]."""
    true = scores.probability[np.arange(scores.rows), scores.target]
    return row_mean(-np.log(np.clip(true, SMALLEST_PROBABILITY, 1.0)))


def brier(scores: Scores) -> Statistic:
    """Mean over rows of the squared error summed over classes, in [0, 2]."""
    truth = np.zeros_like(scores.probability)
    truth[np.arange(scores.rows), scores.target] = 1.0
    return row_mean(((scores.probability - truth) ** 2).sum(axis=1))


def calibration_bin(confidence: FloatArray, bins: int) -> IntArray:
    """Return the equal-width bin (lower, upper] that each confidence falls into; 0 falls into the first."""
    edges = np.linspace(0.0, 1.0, bins + 1)
    return np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1).astype(np.int64)


def ece(scores: Scores, bins: int = 15) -> Statistic:
    """Expected calibration error: mean over bins of |accuracy - confidence|, weighed by rows in the bin."""
    total = _sum_by(calibration_bin(scores.confidence, bins), bins)
    gap = (scores.correct - scores.confidence)[:, None]
    return lambda weights: ratio(np.abs(total(gap * weights)).sum(axis=0), weights.sum(axis=0))


@dataclass(frozen=True)
class _Ranking:
    """Rows in order of one class's score, most probable last, cut where a run of equal scores holds a positive.

    Between two cuts only sums matter, so the cost per resample is one pass over the rows and the rest per positive.
    """

    order: IntArray  # (N,) all rows
    positives: IntArray  # (P,) the rows of the class, in the same order
    cuts: IntArray  # (K,) starting places in `order` of the segments, the first one 0
    runs: IntArray  # (G,) first of each run's places in `positives`
    first: IntArray  # (G,) the segment in which each run starts
    last: IntArray  # (G,) the segment that follows each run

    @classmethod
    def of(cls, scores: Scores, label: int) -> _Ranking:
        value = scores.probability[:, label]
        order = np.argsort(value, kind="stable")
        places = np.flatnonzero((scores.target == label)[order])
        value, rows = value[order], order[places]
        runs = np.flatnonzero(np.diff(value[places], prepend=-np.inf)) if len(places) else places
        starts = np.searchsorted(value, value[places[runs]], side="left")
        ends = np.searchsorted(value, value[places[runs]], side="right")
        cuts = np.unique(np.concatenate([[0], starts, ends]))
        first, last = np.searchsorted(cuts, starts), np.searchsorted(cuts, ends)
        return cls(order, rows, cuts[cuts < len(order)], runs, first, last)

    def sums(self, weights: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return (G, R) positives in each run, (G, R) rows below it, (G, R) rows below it or in it."""
        inside = np.add.reduceat(weights[self.positives], self.runs, axis=0)
        below = np.zeros((len(self.cuts) + 1, weights.shape[1]))
        np.cumsum(np.add.reduceat(weights[self.order], self.cuts, axis=0), axis=0, out=below[1:])
        return inside, below[self.first], below[self.last]


def _area_under_roc(ranking: _Ranking, weights: FloatArray) -> FloatArray:
    """Share of (positive, negative) pairs in the right order, a tie counting half (Mann-Whitney)."""
    inside, below, up_to = ranking.sums(weights)
    positives = inside.sum(axis=0)
    negatives_below = below - (np.cumsum(inside, axis=0) - inside)
    negatives_inside = up_to - below - inside
    right = (inside * (negatives_below + 0.5 * negatives_inside)).sum(axis=0)
    return ratio(right, positives * (weights.sum(axis=0) - positives))


def _average_precision(ranking: _Ranking, weights: FloatArray) -> FloatArray:
    """Precision at the score of each positive, averaged over the positives; no interpolation."""
    inside, below, _ = ranking.sums(weights)
    positives, rows = inside.sum(axis=0), weights.sum(axis=0)
    found = positives - np.cumsum(inside, axis=0) + inside
    precision = ratio(found, rows - below, 0.0)
    value = ratio((inside * precision).sum(axis=0), positives)
    return np.where(rows > positives, value, np.nan)


def _ranked(scores: Scores, area: Callable[[_Ranking, FloatArray], FloatArray]) -> Statistic:
    """Two classes: the area of the last one. More: the mean over the classes for which it is defined."""
    present = np.unique(scores.target)
    labels = present[present == 1] if scores.classes == 2 else present
    rankings = [_Ranking.of(scores, int(label)) for label in labels]

    def value(weights: FloatArray) -> FloatArray:
        if not rankings:
            return np.full(weights.shape[1], np.nan)
        areas = np.stack([area(ranking, weights) for ranking in rankings])
        return _mean(areas, ~np.isnan(areas))

    return value


def roc_auc(scores: Scores) -> Statistic:
    """Area under the ROC curve: of the last of two classes, else one-vs-rest averaged over the classes present."""
    return _ranked(scores, _area_under_roc)


def pr_auc(scores: Scores) -> Statistic:
    """Average precision: of the last of two classes, else one-vs-rest averaged over the classes present."""
    return _ranked(scores, _average_precision)
