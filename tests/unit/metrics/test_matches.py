"""Precision, recall and F1 of what is found, against scikit-learn and plain sets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score, precision_score, recall_score

from luthier.evaluation.entities import match
from luthier.evaluation.relations import matched
from luthier.metrics import matches
from luthier.metrics.intervals import bootstrap
from luthier.metrics.registry import METRICS
from luthier.tasks.entities import Span

FUNCTIONS: dict[str, Any] = {"micro": matches.micro_f1, "macro": matches.macro_f1}


def test_relations_without_the_none_class_are_those_of_scikit_learn() -> None:
    draw = np.random.default_rng(0)
    target, predicted = draw.integers(0, 5, 200), draw.integers(0, 5, 200)
    scores = matched(target, predicted, 5, 2)
    kept = [0, 1, 3, 4]
    for average, function in FUNCTIONS.items():
        assert function(scores) == pytest.approx(f1_score(target, predicted, labels=kept, average=average))
    expected = precision_score(target, predicted, labels=kept, average="micro")
    assert matches.micro_precision(scores) == pytest.approx(expected)
    assert matches.micro_recall(scores) == pytest.approx(recall_score(target, predicted, labels=kept, average="micro"))
    assert matches.micro_f1(matched(target, predicted, 5, None)) == pytest.approx(np.mean(target == predicted))


def test_entities_count_by_exact_span_and_label() -> None:
    gold = [[Span(0, 3, "a"), Span(5, 7, "b")], [Span(1, 2, "a")], []]
    found = [[Span(0, 3, "a"), Span(5, 8, "b")], [Span(1, 2, "b")], [Span(0, 1, "c")]]
    scores = match(gold, found, ["a", "b", "c"])
    assert matches.micro_precision(scores) == pytest.approx(1 / 4)
    assert matches.micro_recall(scores) == pytest.approx(1 / 3)
    assert matches.micro_f1(scores) == pytest.approx(2 / 7)
    assert matches.macro_f1(scores) == pytest.approx((2 / 3 + 0 + 0) / 3)
    assert scores.target.tolist() == [2, 1, 0]
    assert matches.micro_f1(scores.take([2])) == 0.0
    assert matches.micro_precision(match([[]], [[]], ["a"])) is None


def test_the_interval_resamples_rows() -> None:
    draw = np.random.default_rng(4)
    target, predicted = draw.integers(0, 3, 60), draw.integers(0, 3, 60)
    scores = matched(target, predicted, 3, 0)
    metric = METRICS["relation_f1"]
    fast = bootstrap(scores, [metric], resamples=200, seed=5)["relation_f1"]
    assert fast is not None
    assert metric.statistic is not None
    weights = np.zeros((60, 2))
    weights[:, 0] = 1
    weights[:30, 1] = 2
    values = metric.statistic(scores)(weights)
    assert values[0] == pytest.approx(matches.micro_f1(scores))
    assert values[1] == pytest.approx(matches.micro_f1(scores.take(np.repeat(np.arange(30), 2))))
    assert fast[0] < values[0] < fast[1]
