"""Metrics of label sets against scikit-learn, their intervals against resampled rows, and thresholds by brute force."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as reference

from luthier.metrics import multi_label
from luthier.metrics.multi_label import SetScores, per_label, sigmoid
from luthier.metrics.registry import METRICS, metrics_about
from luthier.metrics.resampling import statistic_of
from luthier.metrics.thresholds import best_threshold


def scores(rows: int = 60, classes: int = 5, seed: int = 3) -> SetScores:
    draw = np.random.default_rng(seed)
    truth = draw.random((rows, classes)) < [0.5, 0.3, 0.1, 0.6, 0.02]
    probability = np.round(np.clip(0.4 * truth + draw.random((rows, classes)) * 0.6, 0.01, 0.99), 2)
    return SetScores(truth, probability, probability > 0.5)


def test_they_are_scikit_learns() -> None:
    found = scores()
    expected = {
        "micro_f1": reference.f1_score(found.truth, found.predicted, average="micro"),
        "subset_accuracy": reference.accuracy_score(found.truth, found.predicted),
        "label_ranking_precision": reference.label_ranking_average_precision_score(found.truth, found.probability),
        "label_log_loss": np.mean(
            [reference.log_loss(found.truth[:, c], found.probability[:, c], labels=[0, 1]) for c in range(5)]
        ),
        "label_macro_f1": np.mean([reference.f1_score(found.truth[:, c], found.predicted[:, c]) for c in range(5)]),
    }
    assert found.truth.any(axis=0).all()
    assert (found.truth.sum(axis=1) == 0).any()
    assert {metric.name for metric in metrics_about("label sets")} == expected.keys()
    for name, value in expected.items():
        assert METRICS[name].function(found) == pytest.approx(value, abs=1e-12)


def test_a_label_that_nobody_has_or_gets_counts_nothing() -> None:
    truth = np.array([[True, False], [False, False], [True, False]])
    found = SetScores(truth, truth * 0.8 + 0.1, truth)
    assert multi_label.label_macro_f1(found) == 1.0
    empty = SetScores(np.zeros((3, 2), bool), np.full((3, 2), 0.1), np.zeros((3, 2), bool))
    assert multi_label.label_macro_f1(empty) is None
    assert multi_label.micro_f1(empty) is None
    assert multi_label.subset_accuracy(empty) == 1.0


@pytest.mark.parametrize("name", [metric.name for metric in metrics_about("label sets")])
def test_the_fast_form_is_the_figure_of_resampled_rows(name: str) -> None:
    found, draw = scores(rows=25), np.random.default_rng(1)
    weights = np.stack([np.bincount(draw.integers(0, 25, 25), minlength=25) for _ in range(20)], axis=1).astype(float)
    fast = statistic_of(METRICS[name], found)(weights)
    slow = [METRICS[name].function(found.take(np.repeat(np.arange(25), w.astype(int)))) for w in weights.T]
    assert fast == pytest.approx(slow, abs=1e-12)
    assert np.ptp(fast) > 0


def test_each_label_by_itself() -> None:
    found = scores()
    precision, recall, f1, support = reference.precision_recall_fscore_support(
        found.truth, found.predicted, average=None, zero_division=np.nan
    )
    for number, one in enumerate(per_label(found)):
        assert one.support == support[number]
        assert (one.recall, one.f1) == pytest.approx((recall[number], f1[number]))
        assert (
            one.precision == pytest.approx(precision[number]) if not np.isnan(precision[number]) else not one.precision
        )


def test_rows_are_the_same_where_their_sets_are() -> None:
    found = scores()
    same = (found.truth[:, None] == found.truth[None]).all(axis=2)
    assert np.array_equal(found.target[:, None] == found.target[None], same)


def test_the_threshold_is_the_best_of_all() -> None:
    draw = np.random.default_rng(5)
    for _ in range(30):
        truth = draw.random(40) < 0.3
        probability = np.round(np.clip(0.3 * truth + draw.random(40) * 0.7, 0, 1), 2)
        chosen = best_threshold(probability, truth)
        best = max(
            reference.f1_score(truth, probability > limit, zero_division=0.0) for limit in np.arange(-0.005, 1, 0.01)
        )
        assert reference.f1_score(truth, probability > chosen, zero_division=0.0) == pytest.approx(best)
        assert not (probability == chosen).any() or chosen == 0.5


def test_the_threshold_is_one_half_where_nothing_speaks_for_another() -> None:
    assert best_threshold([0.2, 0.9], [False, False]) == 0.5
    assert best_threshold([0.2, 0.9], [False, True]) == 0.5
    assert best_threshold([0.2, 0.3], [False, True]) == 0.25


def test_sigmoid_does_not_overflow() -> None:
    assert sigmoid([-1e4, 0.0, 1e4]) == pytest.approx([0.0, 0.5, 1.0])
    assert sigmoid([1.3]) == pytest.approx(1 / (1 + np.exp(-1.3)), abs=1e-15)
