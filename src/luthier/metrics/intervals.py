"""How far a figure on a finite test set may be from the truth, and whether two figures differ.

References: Efron and Tibshirani, 1993, An Introduction to the Bootstrap (percentile interval); Wilson, 1927; McNemar,
1947. Covered: the chance of which rows were drawn for the test. Not covered: the chance of training (another seed
gives another model), rows that depend on one another, and data that differ from the test set's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from luthier.metrics.registry import Metric
from luthier.metrics.resampling import multiplicities, statistic_of
from luthier.metrics.scores import FloatArray, RowScores, Scores
from luthier.metrics.weighted import row_mean

Interval = tuple[float, float]

LEAST_DEFINED = 0.9  # share of the resamples in which a metric must be defined for an interval to mean something


def percentile_interval(values: FloatArray, confidence: float) -> Interval | None:
    """Return the middle part of resampled values (NaN: undefined), or None if over a tenth are undefined."""
    defined = values[~np.isnan(values)]
    if not len(defined) or len(defined) < LEAST_DEFINED * len(values):
        return None
    low, high = np.quantile(defined, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def bootstrap(
    scores: RowScores,
    metrics: Sequence[Metric],
    *,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 13,
) -> dict[str, Interval | None]:
    """Return the percentile bootstrap interval of each metric, all from the same resamples of the rows.

    Where every row agrees (accuracy 0 or 1) the interval has no width, which is too sure; `wilson` is not. A
    calibration error is biased upwards in a resample, so its interval may lie above the figure.

    Args:
        scores: (N,) rows.
        metrics: what to compute; a metric's interval does not depend on the others asked for.
        resamples: how often N rows are drawn from the N, with replacement.
        confidence: share of the resampled values inside the interval, in (0, 1).
        seed: of the draws.

    Returns:
        By metric name, (low, high), or None where the metric is undefined in over a tenth of the resamples.
    """
    if not scores.rows:
        return {metric.name: None for metric in metrics}
    statistics = {metric.name: statistic_of(metric, scores) for metric in metrics}
    parts: dict[str, list[FloatArray]] = {name: [] for name in statistics}
    for weights in multiplicities(scores.rows, resamples, seed, "bootstrap"):
        for name, statistic in statistics.items():
            parts[name].append(statistic(weights))
    return {name: percentile_interval(np.concatenate(values), confidence) for name, values in parts.items()}


def wilson(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Return Wilson's interval for a share; (0, 1) without trials. It holds where the bootstrap has no width."""
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    low = 0.0 if successes == 0 else max(0.0, float(centre - half))
    high = 1.0 if successes == n else min(1.0, float(centre + half))
    return low, high


@dataclass(frozen=True)
class PairedResult:
    """How a figure changed between two models asked about the same rows.

    Attributes:
        difference: after minus before; None where either is undefined.
        interval: percentile bootstrap interval of the difference; None as in `bootstrap`.
        p_value: two-sided, for no difference: twice the smaller share of resamples on either side of zero.
    """

    difference: float | None
    interval: Interval | None
    p_value: float | None


def _paired(point: float | None, resampled: FloatArray, confidence: float) -> PairedResult:
    interval = percentile_interval(resampled, confidence)
    if point is None or interval is None:
        return PairedResult(point, None, None)
    defined = resampled[~np.isnan(resampled)]
    fewer = min(int((defined <= 0).sum()), int((defined >= 0).sum()))
    return PairedResult(point, interval, min(1.0, 2 * (fewer + 1) / (len(defined) + 1)))


def paired_bootstrap(
    before: RowScores,
    after: RowScores,
    metric: Metric,
    *,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 13,
) -> PairedResult:
    """Compare two models on one metric over the same rows, resampled together.

    Args:
        before: (N,) rows as the first model answered them.
        after: the same rows in the same order, as the second did.
        metric: what to compare.
        resamples: how often N rows are drawn; the smallest p value is 2 / (resamples + 1).
        confidence: share of the resampled differences inside the interval, in (0, 1).
        seed: of the draws.

    Raises:
        ValueError: the rows are not the same: their number or their true classes differ.
    """
    if not np.array_equal(before.target, after.target):
        raise ValueError("before and after must hold the same rows in the same order; their targets differ.")
    if not before.rows:
        return PairedResult(None, None, None)
    old, new = metric.function(before), metric.function(after)
    point = None if old is None or new is None else new - old
    of_old, of_new = statistic_of(metric, before), statistic_of(metric, after)
    blocks = multiplicities(before.rows, resamples, seed, "paired bootstrap")
    resampled = np.concatenate([of_new(weights) - of_old(weights) for weights in blocks])
    return _paired(point, resampled, confidence)


def paired_bootstrap_rows(
    before: npt.ArrayLike,
    after: npt.ArrayLike,
    *,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 13,
) -> PairedResult:
    """Compare two models by one value per row (N,), such as right or wrong: the mean of after minus before."""
    change = np.asarray(after, dtype=np.float64) - np.asarray(before, dtype=np.float64)
    if not len(change):
        return PairedResult(None, None, None)
    mean = row_mean(change)
    blocks = multiplicities(len(change), resamples, seed, "paired bootstrap")
    resampled = np.concatenate([mean(weights) for weights in blocks])
    return _paired(float(change.mean()), resampled, confidence)


def discordant(before: Scores, after: Scores) -> tuple[int, int]:
    """Return how many rows only the first model got right, and how many only the second."""
    return int((before.correct & ~after.correct).sum()), int((~before.correct & after.correct).sum())


def mcnemar(b: int, c: int) -> float:
    """Return the exact two-sided p value for rows that only one of two models got right (b and c of them)."""
    from scipy.special import bdtr

    if b + c == 0:
        return 1.0
    return min(1.0, 2 * float(bdtr(min(b, c), b + c, 0.5)))
