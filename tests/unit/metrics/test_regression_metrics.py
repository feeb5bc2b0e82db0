"""Metrics of numbers against SciPy and scikit-learn, and their intervals against resampled rows."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as reference

from luthier.metrics.registry import METRICS, metrics_about
from luthier.metrics.regression import ValueScores, mean_bins, nearest_level
from luthier.metrics.resampling import statistic_of

LEVELS = (1.0, 2.0, 3.0, 4.0, 5.0)


def scores(rows: int = 80, seed: int = 4, shift: float = 0.0) -> ValueScores:
    draw = np.random.default_rng(seed)
    truth = draw.integers(1, 6, rows).astype(float)
    predicted = np.round(0.6 * truth + 1.2 + draw.normal(0, 0.8, rows), 1)
    return ValueScores(truth + shift, predicted + shift, tuple(level + shift for level in LEVELS))


@pytest.mark.parametrize("shift", [0.0, 1e6])
def test_they_are_those_of_other_libraries(shift: float) -> None:
    found = scores(shift=shift)
    near = [nearest_level(values, found.levels) for values in (found.truth, found.predicted)]
    expected = {
        "mae": reference.mean_absolute_error(found.truth, found.predicted),
        "rmse": reference.root_mean_squared_error(found.truth, found.predicted),
        "r2": reference.r2_score(found.truth, found.predicted),
        "pearson": stats.pearsonr(found.truth, found.predicted).statistic,
        "spearman": stats.spearmanr(found.truth, found.predicted).statistic,
        "weighted_kappa": reference.cohen_kappa_score(*near, weights="quadratic"),
    }
    assert {metric.name for metric in metrics_about("values")} == expected.keys()
    for name, value in expected.items():
        assert METRICS[name].function(found) == pytest.approx(value, abs=1e-7)


@pytest.mark.parametrize("name", [metric.name for metric in metrics_about("values")])
def test_the_fast_form_is_the_figure_of_resampled_rows(name: str) -> None:
    found, draw = scores(rows=25), np.random.default_rng(1)
    weights = np.stack([np.bincount(draw.integers(0, 25, 25), minlength=25) for _ in range(20)], axis=1).astype(float)
    fast = statistic_of(METRICS[name], found)(weights)
    slow = [METRICS[name].function(found.take(np.repeat(np.arange(25), w.astype(int)))) for w in weights.T]
    assert fast == pytest.approx(slow, abs=1e-9)
    assert np.ptp(fast) > 0


def test_what_cannot_be_said_is_none() -> None:
    flat = ValueScores(np.array([1.0, 2.0, 3.0]), np.full(3, 0.1 + 0.2))
    assert METRICS["pearson"].function(flat) is None
    assert METRICS["spearman"].function(flat) is None
    assert METRICS["weighted_kappa"].function(flat) is None
    assert METRICS["r2"].function(ValueScores(np.full(4, 0.3), np.arange(4.0))) is None
    mean = ValueScores(np.array([1.0, 2.0, 3.0]), np.full(3, 2.0))
    assert METRICS["r2"].function(mean) == pytest.approx(0.0)


def test_the_nearest_level_is_the_nearest() -> None:
    levels = (-1.0, 0.5, 4.0)
    values = np.linspace(-3, 6, 91)
    expected = np.abs(values[:, None] - np.asarray(levels)[None]).argmin(axis=1)
    assert np.array_equal(nearest_level(values, levels), expected)


def test_bins_hold_every_row_once_and_their_means() -> None:
    found = scores(rows=200)
    bins = mean_bins(found, 10, 0.95)
    assert sum(one.count for one in bins) == 200
    assert 5 <= len(bins) <= 10
    assert [one.predicted for one in bins] == sorted(one.predicted for one in bins)
    assert sum(one.truth * one.count for one in bins) / 200 == pytest.approx(found.truth.mean())
    lowest = np.sort(found.predicted)[: bins[0].count]
    assert bins[0].predicted == pytest.approx(lowest.mean())
    inside = found.truth[np.argsort(found.predicted, kind="stable")[: bins[0].count]]
    low, high = bins[0].interval or (0.0, 0.0)
    assert high - low == pytest.approx(2 * 1.959964 * stats.sem(inside), rel=1e-5)
    assert mean_bins(ValueScores(np.ones(1), np.ones(1)), 10, 0.95)[0].interval is None
