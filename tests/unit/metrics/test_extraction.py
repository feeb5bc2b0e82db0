"""Exact match and F1 of extracted answers."""

from __future__ import annotations

import collections
import re
import string

import numpy as np
import pytest

from luthier.metrics import extraction
from luthier.metrics.extraction import best_exact, best_f1, score_extracted, tokens_of


def squad_tokens(text: str) -> list[str]:
    """The official normalisation, for English."""
    plain = "".join(char for char in text.lower() if char not in set(string.punctuation))
    return re.sub(r"\b(a|an|the)\b", " ", plain).split()


def squad_f1(answer: str, truth: str) -> float:
    a, b = squad_tokens(answer), squad_tokens(truth)
    common = sum((collections.Counter(a) & collections.Counter(b)).values())
    return 2 * common / (len(a) + len(b)) if common else 0.0


@pytest.mark.parametrize(
    ("answer", "truth"),
    [
        ("The Dolphin", "dolphin"),
        ("a crew of 34, at least", "34"),
        ("Kelso   Point.", "the Kelso Point"),
        ("copper wire", "roof tiles"),
        ("an apple an hour", "apple"),
    ],
)
def test_english_is_counted_as_squad_does(answer: str, truth: str) -> None:
    assert tokens_of(answer) == squad_tokens(answer)
    assert best_f1(answer, ["nothing else", truth]) == pytest.approx(squad_f1(answer, truth))
    assert best_exact(answer, [truth]) == float(squad_tokens(answer) == squad_tokens(truth))


def test_chinese_is_counted_by_characters() -> None:
    assert tokens_of("北京，2008年") == ["北", "京", "2008", "年"]
    assert best_f1("在北京", ["北京"]) == pytest.approx(2 * 2 / 5)
    assert best_exact("《北京》", ["北京"]) == 1.0


def test_no_answer_is_right_only_where_there_is_none() -> None:
    scores = score_extracted([None, "a port", None, "grey"], [[], [], ["Arden"], ["grey", "white"]])
    assert scores.exact.tolist() == [1, 0, 0, 1]
    assert scores.f1.tolist() == [1, 0, 0, 1]
    assert extraction.answer_exact(scores) == 0.5
    assert extraction.answerable_f1(scores) == 0.5
    assert extraction.unanswerable_exact(scores) == 0.5
    assert extraction.unanswerable_exact(scores.take([2, 3])) is None
    assert np.array_equal(scores.target, [0, 0, 1, 1])
