"""Multiplicities mean what they say: a statistic of weights is the metric of the repeated rows."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sk

from luthier.metrics import weighted
from luthier.metrics.registry import METRICS, metrics_about


def drawn(rows: int, resamples: int) -> np.ndarray:
    rng = np.random.default_rng(rows)
    return rng.multinomial(rows, np.full(rows, 1 / rows), size=resamples).T.astype(float)


@pytest.mark.parametrize("name", [metric.name for metric in metrics_about("labels")])
def test_a_column_of_weights_is_the_metric_of_the_repeated_rows(name, case):
    scores, metric = case, METRICS[name]
    weights = drawn(scores.rows, 12)
    got = metric.statistic(scores)(weights)
    assert got.shape == (12,)
    for value, column in zip(got, weights.T, strict=True):
        expected = metric.function(scores.take(np.repeat(np.arange(scores.rows), column.astype(int))))
        if expected is None:
            assert np.isnan(value)
        else:
            assert value == pytest.approx(expected, abs=1e-12)


def test_areas_agree_with_sklearn_sample_weights(cases):
    scores = cases["ties"]
    weights = drawn(scores.rows, 5)
    roc, precision = weighted.roc_auc(scores)(weights), weighted.pr_auc(scores)(weights)
    for index, column in enumerate(weights.T):
        truth, value = scores.target, scores.probability[:, 1]
        assert roc[index] == pytest.approx(sk.roc_auc_score(truth, value, sample_weight=column))
        assert precision[index] == pytest.approx(sk.average_precision_score(truth, value, sample_weight=column))


def test_bins_are_open_below_and_closed_above():
    assert weighted.calibration_bin(np.array([0.0, 0.5, 0.500001, 1.0]), 2).tolist() == [0, 0, 1, 1]
