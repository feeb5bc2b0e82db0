"""How good extracted answers are: exact match and F1 over words, as SQuAD counts them, in Chinese over characters.

An answer is made plain first: lower case, without punctuation and the articles a, an and the, white space made one. A
question without an answer is right only where none is given. References: Rajpurkar et al., 2016 and 2018; Cui et al.,
2019 (CMRC 2018: characters). Deviation: words and characters are told apart by script, not by data set.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from luthier.metrics.classification import value_of
from luthier.metrics.scores import BoolArray, FloatArray, IntArray
from luthier.metrics.weighted import Statistic, ratio, row_mean

_ARTICLE = re.compile(r"\b(a|an|the)\b")
_TOKEN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\s\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+")


@dataclass(frozen=True, eq=False)
class ExtractionScores:
    """What extracted answers are worth.

    Attributes:
        exact: (N,) 1 where the answer is one of the true ones.
        f1: (N,) F1 with the nearest true one.
        answerable: (N,) whether the context holds an answer.
    """

    exact: FloatArray
    f1: FloatArray
    answerable: BoolArray

    @property
    def rows(self) -> int:
        """The number of rows, N."""
        return len(self.exact)

    @property
    def target(self) -> IntArray:
        """(N,) what must be equal for two models to be compared row by row."""
        return self.answerable.astype(np.int64)

    def take(self, rows: npt.ArrayLike) -> ExtractionScores:
        """Return the scores of some rows, by index or by mask, in that order."""
        chosen = np.asarray(rows)
        return ExtractionScores(self.exact[chosen], self.f1[chosen], self.answerable[chosen])


def score_extracted(answers: Sequence[str | None], truth: Sequence[Sequence[str]]) -> ExtractionScores:
    """Return the scores of answers, row by row.

    Args:
        answers: None where none was given.
        truth: the true answers of each row; empty where there is none.
    """
    pairs = [(answer or "", texts) for answer, texts in zip(answers, truth, strict=True)]
    return ExtractionScores(
        exact=np.array([best_exact(answer, texts) for answer, texts in pairs]),
        f1=np.array([best_f1(answer, texts) for answer, texts in pairs]),
        answerable=np.array([bool(texts) for _, texts in pairs]),
    )


def tokens_of(answer: str) -> list[str]:
    """Return what is compared of an answer: words in plain form, and each Chinese or Japanese character.

    >>> tokens_of("The  City, of 北京!")
    ['city', 'of', '北', '京']
    """
    plain = "".join(char for char in answer.lower() if not unicodedata.category(char).startswith("P"))
    return _TOKEN.findall(_ARTICLE.sub(" ", plain))


def best_exact(answer: str, truth: Sequence[str]) -> float:
    """Return 1 where an answer is one of the true ones; an empty answer says that there is none."""
    if not answer or not truth:
        return float(not answer and not truth)
    return float(any(tokens_of(answer) == tokens_of(text) for text in truth))


def best_f1(answer: str, truth: Sequence[str]) -> float:
    """Return the F1 with the nearest true answer, in [0, 1]."""
    if not answer or not truth:
        return float(not answer and not truth)
    return max(_f1(tokens_of(answer), tokens_of(text)) for text in truth)


def _f1(answer: Sequence[str], truth: Sequence[str]) -> float:
    if not answer or not truth:
        return float(answer == truth)
    common = sum((Counter(answer) & Counter(truth)).values())
    return 2 * common / (len(answer) + len(truth))


def _where(values: FloatArray, counted: BoolArray) -> Statistic:
    """Average of the rows that count."""
    own = counted.astype(np.float64)[:, None]
    return lambda weights: ratio((values[:, None] * own * weights).sum(axis=0), (own * weights).sum(axis=0))


def answer_exact_statistic(scores: ExtractionScores) -> Statistic:
    """Share of rows with an exact answer."""
    return row_mean(scores.exact)


def answer_f1_statistic(scores: ExtractionScores) -> Statistic:
    """Mean F1."""
    return row_mean(scores.f1)


def answerable_f1_statistic(scores: ExtractionScores) -> Statistic:
    """Mean F1 of the rows that have an answer."""
    return _where(scores.f1, scores.answerable)


def unanswerable_exact_statistic(scores: ExtractionScores) -> Statistic:
    """Share of the rows without an answer for which none was given."""
    return _where(scores.exact, ~scores.answerable)


def answer_exact(scores: ExtractionScores) -> float | None:
    """Return the share of rows with an exact answer, in [0, 1]."""
    return value_of(answer_exact_statistic(scores), scores.rows)


def answer_f1(scores: ExtractionScores) -> float | None:
    """Return the mean F1, in [0, 1]."""
    return value_of(answer_f1_statistic(scores), scores.rows)


def answerable_f1(scores: ExtractionScores) -> float | None:
    """Return the mean F1 of the rows that have an answer, in [0, 1]; None without any."""
    return value_of(answerable_f1_statistic(scores), scores.rows)


def unanswerable_exact(scores: ExtractionScores) -> float | None:
    """Return the share of the rows without an answer for which none was given; None without any."""
    return value_of(unanswerable_exact_statistic(scores), scores.rows)
