"""Each metric against scikit-learn, on ordinary and degenerate rows, and against what must not change it."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from luthier.metrics import classification as ours
from luthier.metrics.registry import METRICS, metrics_about
from luthier.metrics.scores import Scores

NAMES = [metric.name for metric in metrics_about("labels")]


def quiet(function, *arguments, **keywords):
    """Call scikit-learn without its warnings about what is undefined."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(function(*arguments, **keywords))


def macro(scores: Scores, name: str) -> float:
    function = getattr(sk, f"{name}_score")
    return quiet(function, scores.target, scores.predicted, average="macro", zero_division=0)


def one_vs_rest(scores: Scores, function) -> float | None:
    present = [1] if scores.classes == 2 else sorted(set(scores.target.tolist()))
    values = [
        quiet(function, (scores.target == label).astype(int), scores.probability[:, label])
        for label in present
        if 0 < (scores.target == label).sum() < scores.rows
    ]
    return float(np.mean(values)) if values else None


def sk_mcc(scores: Scores) -> float | None:
    if len(set(scores.target.tolist())) < 2:
        return None
    return quiet(sk.matthews_corrcoef, scores.target, scores.predicted)


def ece_by_hand(scores: Scores) -> float:
    total = 0.0
    for index in range(15):
        inside = [row for row in range(scores.rows) if index / 15 < scores.confidence[row] <= (index + 1) / 15]
        if inside:
            gap = np.mean(scores.correct[inside]) - np.mean(scores.confidence[inside])
            total += len(inside) / scores.rows * abs(gap)
    return total


REFERENCES = {
    "accuracy": lambda s: quiet(sk.accuracy_score, s.target, s.predicted),
    "balanced_accuracy": lambda s: quiet(sk.balanced_accuracy_score, s.target, s.predicted),
    "macro_precision": lambda s: macro(s, "precision"),
    "macro_recall": lambda s: macro(s, "recall"),
    "macro_f1": lambda s: macro(s, "f1"),
    "weighted_f1": lambda s: quiet(sk.f1_score, s.target, s.predicted, average="weighted", zero_division=0),
    "mcc": sk_mcc,
    "roc_auc": lambda s: one_vs_rest(s, sk.roc_auc_score),
    "pr_auc": lambda s: one_vs_rest(s, sk.average_precision_score),
    "log_loss": lambda s: quiet(sk.log_loss, s.target, s.probability, labels=range(s.classes)),
    "brier": lambda s: quiet(
        sk.brier_score_loss, s.target, s.probability, labels=range(s.classes), scale_by_half=False
    ),
    "ece": ece_by_hand,
}


def test_every_registered_metric_has_a_reference():
    assert set(REFERENCES) == set(NAMES)


@pytest.mark.parametrize("name", REFERENCES)
def test_agrees_with_the_reference(name, case, cases):
    scores = case
    if name == "log_loss" and scores is cases["all wrong"]:
        assert ours.log_loss(scores) == pytest.approx(-np.log(1e-15))  # our clip; scikit-learn's is the type's epsilon
        return
    expected, got = REFERENCES[name](scores), METRICS[name].function(scores)
    if expected is None:
        assert got is None
    else:
        assert got == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_no_rows_is_undefined(name):
    assert METRICS[name].function(Scores(np.zeros(0, dtype=int), np.zeros((0, 3)))) is None


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("classes", [2, 4])
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_order_of_rows_changes_nothing(name, classes, seed, make_scores):
    scores = make_scores(30, classes, seed, ties=True)
    shuffled = scores.take(np.random.default_rng(seed).permutation(scores.rows))
    before, after = METRICS[name].function(scores), METRICS[name].function(shuffled)
    assert before == after or before == pytest.approx(after, abs=1e-12)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_names_of_classes_change_nothing(name, seed, make_scores):
    scores = make_scores(30, 4, seed)
    renamed = np.random.default_rng(seed + 1).permutation(4)
    probability = np.empty_like(scores.probability)
    probability[:, renamed] = scores.probability
    before = METRICS[name].function(scores)
    after = METRICS[name].function(Scores(renamed[scores.target], probability))
    assert before == after or before == pytest.approx(after, abs=1e-12)


def test_two_classes_rank_by_the_last_one(cases):
    flipped = Scores(1 - cases["binary"].target, cases["binary"].probability)
    assert ours.roc_auc(flipped) == pytest.approx(1 - ours.roc_auc(cases["binary"]))


def test_brier_of_two_classes_is_twice_the_one_class_form(cases):
    scores = cases["binary"]
    one_class = np.mean((scores.probability[:, 1] - scores.target) ** 2)
    assert ours.brier(scores) == pytest.approx(2 * one_class)


def test_log_loss_of_an_impossible_truth_is_clipped():
    scores = Scores(np.array([1]), np.array([[1.0, 0.0]]))
    assert ours.log_loss(scores) == pytest.approx(34.538776, abs=1e-6)


def test_log_loss_of_certainty_is_a_positive_zero(cases):
    assert str(ours.log_loss(cases["perfect"])) == "0.0"


def test_mcc_of_constant_answers_is_zero_and_of_constant_truth_undefined(cases):
    assert ours.mcc(cases["always the same"]) == 0.0
    assert ours.mcc(cases["one class"]) is None


def test_per_class_agrees_with_sklearn_where_defined(cases):
    scores = cases["three"]
    precision, recall, f1, support = sk.precision_recall_fscore_support(scores.target, scores.predicted)
    table = ours.per_class(scores)
    assert [row.precision for row in table] == pytest.approx(precision)
    assert [row.recall for row in table] == pytest.approx(recall)
    assert [row.f1 for row in table] == pytest.approx(f1)
    assert [row.support for row in table] == support.tolist()
    assert sum(row.predicted for row in table) == scores.rows


def test_per_class_says_none_where_there_is_nothing_to_divide_by():
    table = ours.per_class(Scores(np.array([0, 0, 1]), np.eye(4)[[0, 2, 0]]))
    assert table[0] == ours.ClassQuality(0.5, 0.5, 0.5, 2, 2)
    assert table[1] == ours.ClassQuality(None, 0.0, 0.0, 1, 0)
    assert table[2] == ours.ClassQuality(0.0, None, 0.0, 0, 1)
    assert table[3] == ours.ClassQuality(None, None, None, 0, 0)


def test_confusion_has_truth_in_rows(cases):
    scores = cases["three"]
    matrix = ours.confusion(scores.target, scores.predicted, 3)
    assert (matrix == sk.confusion_matrix(scores.target, scores.predicted)).all()
    assert ours.confusion([0, 0], [1, 1], 3).tolist() == [[0, 2, 0], [0, 0, 0], [0, 0, 0]]


def test_ties_predict_the_first_class():
    assert Scores(np.array([1]), np.array([[0.4, 0.4, 0.2]])).predicted.tolist() == [0]


@pytest.mark.parametrize(
    ("target", "probability", "message"),
    [
        ([0, 1], [[0.5, 0.5]], "must be"),
        ([2], [[0.5, 0.5]], r"\[0, 2\)"),
        ([-1], [[0.5, 0.5]], r"\[0, 2\)"),
        ([0.0], [[0.5, 0.5]], "integers"),
        ([0], [[np.nan, 0.5]], "finite"),
    ],
)
def test_scores_that_cannot_be_are_refused(target, probability, message):
    with pytest.raises(ValueError, match=message):
        Scores(np.array(target), np.array(probability))


def test_scores_refuse_logits_of_another_shape():
    with pytest.raises(ValueError, match="logits"):
        Scores(np.array([0]), np.array([[0.5, 0.5]]), np.zeros((1, 3)))
