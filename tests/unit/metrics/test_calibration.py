"""Temperatures and reliability against planted truth and a grid search."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax as scipy_softmax
from sklearn.metrics import log_loss

from luthier.metrics.calibration import expected_calibration_error, fit_temperature, reliability, softmax


def planted(temperature: float, rows: int = 4000, classes: int = 3, seed: int = 0):
    """Logits whose calibrated temperature is known: the truth is drawn from softmax(logits / temperature)."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=3.0, size=(rows, classes))
    chances = scipy_softmax(logits / temperature, axis=1)
    return logits, (chances.cumsum(axis=1) < rng.random((rows, 1))).sum(axis=1)


def test_softmax_is_scipys_and_does_not_overflow():
    logits = np.random.default_rng(0).normal(scale=5, size=(20, 4))
    assert softmax(logits) == pytest.approx(scipy_softmax(logits, axis=1), abs=1e-15)
    assert softmax(logits, 2.5) == pytest.approx(scipy_softmax(logits / 2.5, axis=1), abs=1e-15)
    assert softmax([[1e4, -1e4]]).tolist() == [[1.0, 0.0]]


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_finds_the_planted_temperature(temperature):
    assert fit_temperature(*planted(temperature)) == pytest.approx(temperature, rel=0.1)


def test_no_temperature_on_a_grid_is_better():
    logits, target = planted(2.0, rows=300)
    found = fit_temperature(logits, target)
    best = log_loss(target, softmax(logits, found))
    assert all(best <= log_loss(target, softmax(logits, t)) + 1e-9 for t in np.geomspace(0.05, 20, 200))


def test_calibration_improves_and_answers_stay():
    logits, target = planted(3.0)
    found = fit_temperature(logits, target)
    before = expected_calibration_error(softmax(logits), target)
    after = expected_calibration_error(softmax(logits, found), target)
    assert before > 0.1
    assert after < 0.04
    assert (softmax(logits, found).argmax(axis=1) == logits.argmax(axis=1)).all()


def test_is_deterministic():
    logits, target = planted(1.7, rows=500)
    assert fit_temperature(logits, target) == fit_temperature(logits.copy(), target.copy())


def test_rows_that_cannot_tell_leave_the_temperature_alone():
    logits, target = planted(3.0, rows=200)
    assert fit_temperature(logits[:9], target[:9]) == 1.0
    assert fit_temperature(logits, np.zeros(200, dtype=int)) == 1.0
    assert fit_temperature(logits, logits.argmax(axis=1)) == 1.0


def test_answers_worse_than_chance_end_at_the_upper_bound():
    logits, _ = planted(1.0, rows=200)
    assert fit_temperature(logits, logits.argmin(axis=1)) == pytest.approx(20, rel=0.01)


def test_reliability_by_hand():
    probability = np.array([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6], [0.5, 0.5]])
    target = np.array([0, 1, 1, 1])
    low, high = reliability(probability, target, bins=2)
    assert (low.lower, low.upper, low.count) == (0.0, 0.5, 1)
    assert (low.confidence, low.accuracy) == (0.5, 0.0)
    assert (high.lower, high.upper, high.count) == (0.5, 1.0, 3)
    assert high.confidence == pytest.approx((0.9 + 0.8 + 0.6) / 3)
    assert high.accuracy == pytest.approx(2 / 3)


def test_reliability_sums_to_the_calibration_error():
    logits, target = planted(2.0, rows=500)
    probability = softmax(logits)
    table = reliability(probability, target, bins=10)
    total = sum(b.count * abs(b.accuracy - b.confidence) for b in table if b.count) / 500
    assert len(table) == 10
    assert sum(b.count for b in table) == 500
    assert expected_calibration_error(probability, target, bins=10) == pytest.approx(total)


def test_no_rows():
    empty = np.zeros((0, 2)), np.zeros(0, dtype=int)
    assert expected_calibration_error(*empty) is None
    assert [b.accuracy for b in reliability(*empty, bins=3)] == [None] * 3
