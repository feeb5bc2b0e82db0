"""Intervals and paired tests against simulation, scipy, and what they must not depend on."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from luthier.metrics import resampling
from luthier.metrics.intervals import (
    bootstrap,
    discordant,
    mcnemar,
    paired_bootstrap,
    paired_bootstrap_rows,
    percentile_interval,
    wilson,
)
from luthier.metrics.registry import METRICS, metrics_about
from luthier.metrics.scores import Scores

ACCURACY = METRICS["accuracy"]


def right_or_wrong(correct: np.ndarray) -> Scores:
    """Two-class scores whose accuracy is the mean of `correct`."""
    return Scores(np.ones(len(correct), dtype=int), np.where(correct[:, None], [0.2, 0.8], [0.8, 0.2]))


def test_covers_a_simulated_share_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    truth, inside = 0.8, 0
    for trial in range(300):
        low, high = bootstrap(right_or_wrong(rng.random(200) < truth), [ACCURACY], resamples=400, seed=trial)[
            "accuracy"
        ]
        inside += low <= truth <= high
    assert 0.90 <= inside / 300 <= 0.98


def test_width_is_that_of_the_normal_approximation():
    correct = np.arange(1000) < 800
    low, high = bootstrap(right_or_wrong(correct), [ACCURACY], resamples=4000)["accuracy"]
    assert (high - low) / 2 == pytest.approx(1.96 * np.sqrt(0.8 * 0.2 / 1000), rel=0.06)
    assert (low + high) / 2 == pytest.approx(0.8, abs=0.003)


def test_agrees_with_scipys_bootstrap_of_a_mean(cases):
    scores = cases["three"]
    losses = -np.log(scores.probability[np.arange(scores.rows), scores.target])
    theirs = stats.bootstrap((losses,), np.mean, n_resamples=4000, method="percentile", rng=1).confidence_interval
    low, high = bootstrap(scores, [METRICS["log_loss"]], resamples=4000)["log_loss"]
    assert low == pytest.approx(theirs.low, rel=0.02)
    assert high == pytest.approx(theirs.high, rel=0.02)


def test_a_seed_decides_everything_and_other_metrics_nothing(cases):
    scores = cases["binary"]
    alone = bootstrap(scores, [ACCURACY], resamples=300)
    together = bootstrap(scores, metrics_about("labels"), resamples=300)
    assert alone["accuracy"] == together["accuracy"]
    assert bootstrap(scores, metrics_about("labels"), resamples=300) == together
    assert bootstrap(scores, metrics_about("labels"), resamples=300, seed=14) != together


def test_draws_do_not_depend_on_how_many_are_held_at_a_time(monkeypatch):
    before = np.concatenate(list(resampling.multiplicities(7, 100, 13, "x")), axis=1)
    monkeypatch.setattr(resampling, "CELLS_AT_ONCE", 7 * 10)
    blocks = list(resampling.multiplicities(7, 100, 13, "x"))
    assert len(blocks) == 10
    assert (np.concatenate(blocks, axis=1) == before).all()
    assert (before.sum(axis=0) == 7).all()


def test_draws_are_these_for_ever():
    """Pinned: the raw stream of Philox, mapped by multiply and shift, worked out in plain integers."""
    raw = resampling.generator(13, "x").random_raw(3).tolist()
    halves = [half for word in raw for half in (word & 0xFFFFFFFF, word >> 32)]
    expected = np.bincount([half * 5 >> 32 for half in halves[:5]], minlength=5)
    first = next(resampling.multiplicities(5, 8, 13, "x"))[:, 0]
    assert first.tolist() == expected.tolist()
    assert [hex(word) for word in raw] == ["0xb05ca3aee41d3ec9", "0x1f62c8647f7383d1", "0x9ba10535178cfca7"]


def test_rows_are_drawn_evenly():
    total = sum(block.sum(axis=1) for block in resampling.multiplicities(10, 20_000, 13, "x"))
    assert stats.chisquare(total).pvalue > 0.001


def test_uses_of_one_seed_share_no_draws():
    one, two = (next(resampling.multiplicities(50, 10, 13, purpose)) for purpose in ("a", "b"))
    assert not np.array_equal(one, two)


def test_an_undefined_metric_has_no_interval(cases):
    intervals = bootstrap(cases["one class"], metrics_about("labels"), resamples=100)
    assert intervals["roc_auc"] is None
    assert intervals["mcc"] is None
    assert intervals["accuracy"] is not None


def test_a_metric_undefined_in_many_resamples_has_no_interval():
    values = np.arange(100.0)
    values[:10] = np.nan
    assert percentile_interval(values, 0.95) is not None
    values[:11] = np.nan
    assert percentile_interval(values, 0.95) is None


def test_no_rows():
    empty = Scores(np.zeros(0, dtype=int), np.zeros((0, 2)))
    assert bootstrap(empty, [ACCURACY]) == {"accuracy": None}
    assert paired_bootstrap(empty, empty, ACCURACY).difference is None
    assert paired_bootstrap_rows([], []).p_value is None


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (10, 10), (3, 10), (850, 1000), (1, 1)])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_wilson_is_scipys(successes, n, confidence):
    theirs = stats.binomtest(successes, n).proportion_ci(confidence, method="wilson")
    assert wilson(successes, n, confidence) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_wilson_without_trials_knows_nothing():
    assert wilson(0, 0) == (0.0, 1.0)


def test_equal_models_do_not_differ(cases):
    result = paired_bootstrap(cases["binary"], cases["binary"], ACCURACY, resamples=200)
    assert (result.difference, result.interval, result.p_value) == (0.0, (0.0, 0.0), 1.0)


def test_a_clear_gain_is_seen_and_its_sign_is_after_minus_before():
    rng = np.random.default_rng(0)
    worse, better = right_or_wrong(rng.random(500) < 0.7), right_or_wrong(rng.random(500) < 0.9)
    result = paired_bootstrap(worse, better, ACCURACY)
    low, high = result.interval
    assert result.difference == pytest.approx(better.correct.mean() - worse.correct.mean())
    assert 0 < low < result.difference < high
    assert result.p_value == pytest.approx(2 / 2001)
    assert paired_bootstrap(better, worse, ACCURACY).difference == -result.difference


def test_p_values_without_a_difference_are_about_even():
    rng = np.random.default_rng(1)
    values = [
        paired_bootstrap_rows(rng.normal(size=100), rng.normal(size=100), resamples=200, seed=trial).p_value
        for trial in range(200)
    ]
    assert 0.01 < np.mean(np.array(values) < 0.05) < 0.11
    assert 0.4 < np.mean(values) < 0.6


def test_pairing_rows_by_value_is_pairing_scores_by_accuracy():
    rng = np.random.default_rng(2)
    before, after = rng.random(200) < 0.7, rng.random(200) < 0.75
    by_scores = paired_bootstrap(right_or_wrong(before), right_or_wrong(after), ACCURACY)
    by_rows = paired_bootstrap_rows(before, after)
    assert by_rows.difference == pytest.approx(by_scores.difference)
    assert by_rows.interval == pytest.approx(by_scores.interval)


def test_pairs_of_other_rows_are_refused(make_scores):
    with pytest.raises(ValueError, match="same rows"):
        paired_bootstrap(make_scores(10, 2, 0), make_scores(10, 2, 1), ACCURACY)


def test_discordant_counts_each_way():
    before, after = right_or_wrong(np.array([1, 1, 0, 1, 0], bool)), right_or_wrong(np.array([1, 0, 1, 0, 0], bool))
    assert discordant(before, after) == (2, 1)


@pytest.mark.parametrize(("b", "c"), [(0, 0), (0, 1), (5, 5), (3, 15), (200, 260), (60_000, 61_000)])
def test_mcnemar_is_the_exact_binomial_test(b, c):
    expected = stats.binomtest(b, b + c).pvalue if b + c else 1.0
    assert mcnemar(b, c) == pytest.approx(expected, rel=1e-6)
    assert mcnemar(c, b) == mcnemar(b, c)
