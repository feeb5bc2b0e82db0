"""How good predicted numbers are.

Every figure is over how often each row counts, as in `metrics.weighted`. Ranks of equal values are their mean. The
quadratic weighted kappa (Cohen 1968) compares nearest levels; the distance of two levels is that of their places.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from luthier.metrics.classification import value_of
from luthier.metrics.scores import FloatArray, IntArray
from luthier.metrics.weighted import Statistic, ratio, row_mean


@dataclass(frozen=True, eq=False)
class ValueScores:
    """Predicted numbers of rows whose truth is known.

    Attributes:
        truth: (N,) true values.
        predicted: (N,) predicted ones.
        levels: of an ordinal scale, rising; empty without one.
    """

    truth: FloatArray
    predicted: FloatArray
    levels: tuple[float, ...] = ()

    @property
    def rows(self) -> int:
        """The number of rows, N."""
        return len(self.truth)

    @property
    def target(self) -> IntArray:
        """(N,) a number for each true value: equal values have equal numbers."""
        return np.ascontiguousarray(self.truth, dtype=np.float64).view(np.int64)

    def take(self, rows: npt.ArrayLike) -> ValueScores:
        """Return the scores of some rows, by index or by mask, in that order."""
        chosen = np.asarray(rows)
        return ValueScores(self.truth[chosen], self.predicted[chosen], self.levels)


def nearest_level(values: npt.ArrayLike, levels: Sequence[float]) -> IntArray:
    """Return (N,) the place of the level nearest to each value; of two equally near the lower one."""
    middle = (np.asarray(levels[1:], np.float64) + np.asarray(levels[:-1], np.float64)) / 2
    return np.searchsorted(middle, np.asarray(values, np.float64), side="left").astype(np.int64)


def mae_statistic(scores: ValueScores) -> Statistic:
    """Mean absolute error."""
    return row_mean(np.abs(scores.predicted - scores.truth))


def rmse_statistic(scores: ValueScores) -> Statistic:
    """Root of the mean squared error."""
    mean = row_mean((scores.predicted - scores.truth) ** 2)
    return lambda weights: np.sqrt(mean(weights))


def r2_statistic(scores: ValueScores) -> Statistic:
    """1 minus the squared error over that of the rows' own mean; undefined where all values are equal."""
    truth = _centred(scores.truth)
    square = ((scores.predicted - scores.truth) ** 2)[:, None]

    def value(weights: FloatArray) -> FloatArray:
        error, spread = (square * weights).sum(axis=0), _products(truth, truth, weights)
        return 1.0 - ratio(error, _positive(spread, truth))

    return value


def pearson_statistic(scores: ValueScores) -> Statistic:
    """Pearson correlation; undefined where one side does not vary."""
    truth, predicted = _centred(scores.truth), _centred(scores.predicted)
    return lambda weights: _correlation(truth[:, None], predicted[:, None], weights)


def spearman_statistic(scores: ValueScores) -> Statistic:
    """Pearson correlation of ranks, made anew for each resample."""
    ranks = [_ranks(values) for values in (scores.truth, scores.predicted)]
    return lambda weights: _correlation(ranks[0](weights), ranks[1](weights), weights)


def weighted_kappa_statistic(scores: ValueScores) -> Statistic:
    """Quadratic weighted kappa of the nearest levels; undefined without levels."""
    if not scores.levels:
        return lambda weights: np.full(weights.shape[1], np.nan)
    number = len(scores.levels)
    true, given = (nearest_level(values, scores.levels) for values in (scores.truth, scores.predicted))
    distance = ((true - given) ** 2).astype(np.float64)[:, None]
    one_hot = [np.eye(number)[places] for places in (true, given)]
    penalty = (np.arange(number)[:, None] - np.arange(number)[None]) ** 2

    def value(weights: FloatArray) -> FloatArray:
        rows = weights.sum(axis=0)
        shares = [np.einsum("nk,nr->kr", one, weights, optimize=False) for one in one_hot]
        expected = np.einsum("kr,kl,lr->r", shares[0], penalty.astype(np.float64), shares[1], optimize=False)
        return 1.0 - ratio((distance * weights).sum(axis=0) * rows, expected)

    return value


def _centred(values: FloatArray) -> FloatArray:
    found: FloatArray = values - values.mean() if len(values) else values
    return found


def _products(a: FloatArray, b: FloatArray, weights: FloatArray) -> FloatArray:
    """Return (R,) sums of products around each resample's means, from values (N,)."""
    rows = weights.sum(axis=0)
    sums = [(values[:, None] * weights).sum(axis=0) for values in (a, b)]
    found: FloatArray = ((a * b)[:, None] * weights).sum(axis=0) - sums[0] * sums[1] / rows
    return found


def _positive(spread: FloatArray, values: FloatArray) -> FloatArray:
    """Return spreads, 0 where rounding alone is left of them."""
    least = 1e-12 * max(1e-300, float(np.square(values).sum()))
    found: FloatArray = np.where(spread > least, spread, 0.0)
    return found


def _correlation(a: FloatArray, b: FloatArray, weights: FloatArray) -> FloatArray:
    """Return (R,) Pearson correlations of values (N, R) or (N, 1)."""
    rows = weights.sum(axis=0)
    apart = [values - (values * weights).sum(axis=0) / rows for values in (a, b)]
    spread = [(one * one * weights).sum(axis=0) for one in apart]
    scale = [1e-12 * np.maximum(1e-300, np.square(values).sum(axis=0)) for values in (a, b)]
    clean = [np.where(one > least, one, 0.0) for one, least in zip(spread, scale, strict=True)]
    return ratio((apart[0] * apart[1] * weights).sum(axis=0), np.sqrt(clean[0] * clean[1]))


def _ranks(values: FloatArray) -> Statistic:
    """Return a function from multiplicities (N, R) to the rows' mean ranks in each resample, (N, R)."""
    distinct, place = np.unique(values, return_inverse=True)
    order = np.argsort(place, kind="stable")
    starts = np.searchsorted(place[order], np.arange(len(distinct)))

    def ranks(weights: FloatArray) -> FloatArray:
        group = np.add.reduceat(weights[order], starts, axis=0)  # (G, R)
        below = np.cumsum(group, axis=0) - group
        found: FloatArray = (below + (group + 1) / 2)[place]
        return found

    return ranks


def mae(scores: ValueScores) -> float | None:
    """Return the mean absolute error, in the unit of the values."""
    return value_of(mae_statistic(scores), scores.rows)


def rmse(scores: ValueScores) -> float | None:
    """Return the root of the mean squared error, in the unit of the values."""
    return value_of(rmse_statistic(scores), scores.rows)


def r2(scores: ValueScores) -> float | None:
    """Return the share of the variance that is explained: 1 at best, 0 for the mean, below it for worse."""
    return value_of(r2_statistic(scores), scores.rows)


def pearson(scores: ValueScores) -> float | None:
    """Return the Pearson correlation, in [-1, 1]."""
    return value_of(pearson_statistic(scores), scores.rows)


def spearman(scores: ValueScores) -> float | None:
    """Return the Spearman correlation, in [-1, 1]."""
    return value_of(spearman_statistic(scores), scores.rows)


def weighted_kappa(scores: ValueScores) -> float | None:
    """Return the quadratic weighted kappa, at most 1; None without levels."""
    return value_of(weighted_kappa_statistic(scores), scores.rows)


@dataclass(frozen=True)
class MeanBin:
    """Rows with like predictions.

    Attributes:
        predicted: their mean prediction.
        truth: their mean true value.
        interval: of that mean, by its standard error; None for a single row.
        count: how many.
    """

    predicted: float
    truth: float
    interval: tuple[float, float] | None
    count: int


def mean_bins(scores: ValueScores, bins: int, confidence: float) -> list[MeanBin]:
    """Return bins of about equal many rows by their prediction: does the truth have the mean that was predicted?

    Args:
        scores: any number of rows.
        bins: at most; rows with equal predictions stay together.
        confidence: of the intervals, in (0, 1).
    """
    edges = np.unique(np.quantile(scores.predicted, np.linspace(0, 1, bins + 1)[1:-1])) if scores.rows else np.empty(0)
    place = np.searchsorted(edges, scores.predicted, side="left")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    found = []
    for number in np.unique(place):
        inside = place == number
        truth, count = scores.truth[inside], int(inside.sum())
        mean = float(truth.mean())
        half = z * float(truth.std(ddof=1)) / np.sqrt(count) if count > 1 else None
        interval = None if half is None else (mean - half, mean + half)
        found.append(MeanBin(float(scores.predicted[inside].mean()), mean, interval, count))
    return found
