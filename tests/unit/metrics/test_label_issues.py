"""Planted label noise is found, clean labels are left alone, and the joint is that of the paper."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import make_blobs
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict

from luthier.metrics.label_issues import class_thresholds, find_label_issues


@pytest.fixture(scope="module")
def noisy():
    """1,500 rows of three classes, 8 % of labels moved, and out-of-sample probabilities of the moved labels."""
    rows, truth = make_blobs(1500, centers=3, n_features=4, cluster_std=2.0, random_state=0)
    rng = np.random.default_rng(0)
    moved = rng.random(len(truth)) < 0.08
    label = np.where(moved, (truth + rng.integers(1, 3, len(truth))) % 3, truth)
    probability = cross_val_predict(LogisticRegression(), rows, label, cv=5, method="predict_proba")
    return probability, label, moved


def test_planted_noise_is_found(noisy):
    probability, label, moved = noisy
    found = find_label_issues(probability, label)
    assert moved[found].mean() > 0.9
    assert moved[found].sum() / moved.sum() > 0.7


def test_the_least_believable_come_first(noisy):
    probability, label, moved = noisy
    found = find_label_issues(probability, label)
    own = probability[found, label[found]]
    assert (np.diff(own) >= 0).all()
    assert moved[found[:30]].all()


def test_a_row_the_model_agrees_with_is_never_an_issue(noisy):
    probability, label, _ = noisy
    found = find_label_issues(probability, label)
    assert (probability[found].argmax(axis=1) != label[found]).all()


def test_the_joint_by_hand():
    probability = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.3, 0.7], [0.45, 0.55], [0.05, 0.95]])
    label = np.array([0, 0, 0, 1, 0, 1])
    assert class_thresholds(probability, label).tolist() == pytest.approx([2.25 / 4, 1.65 / 2])
    # Row 2 reaches class 1's 0.825 with 0.9; row 4 prefers class 1 but 0.55 reaches no threshold.
    assert find_label_issues(probability, label).tolist() == [2]


def test_a_class_without_rows_is_never_suggested():
    probability = np.array([[0.2, 0.1, 0.7], [0.6, 0.3, 0.1], [0.1, 0.8, 0.1]])
    assert find_label_issues(probability, np.array([0, 0, 1])).tolist() == []


def test_nothing_in_nothing():
    assert find_label_issues(np.zeros((0, 2)), np.zeros(0, dtype=int)).tolist() == []
