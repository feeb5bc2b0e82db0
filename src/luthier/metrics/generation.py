"""How good a language model is: by the probability of the true completions, and by the answers that it writes.

Perplexity is per completion token: exp of the mean negative log-probability over all labelled tokens of all rows, so a
long row weighs more. It depends on the tokenizer; compare it between models that share one. ROUGE-L is Lin's (2004)
sentence-level F1 on the longest common subsequence; words are runs of letters and digits in lower case, and each Han
character is a word. Deviation: no stemming.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from luthier.metrics.classification import value_of
from luthier.metrics.scores import FloatArray, IntArray
from luthier.metrics.weighted import Statistic, ratio, row_mean

WORD = re.compile(r"[\u3400-\u9fff]|[^\W\u3400-\u9fff]+")


@dataclass(frozen=True, eq=False)
class CompletionScores:
    """What a model made of true completions.

    Attributes:
        nll: (N,) sum over a row's labelled tokens of the negative log-probability.
        tokens: (N,) how many labelled tokens a row has.
        correct: (N,) how many of them the model held for the likeliest.
    """

    nll: FloatArray
    tokens: FloatArray
    correct: FloatArray

    @property
    def rows(self) -> int:
        """The number of rows, N."""
        return len(self.nll)

    @property
    def target(self) -> IntArray:
        """(N,) what must be equal for two models to be compared row by row: the numbers of labelled tokens."""
        return self.tokens.astype(np.int64)

    def take(self, rows: npt.ArrayLike) -> CompletionScores:
        """Return the scores of some rows, by index or by mask, in that order."""
        chosen = np.asarray(rows)
        return CompletionScores(self.nll[chosen], self.tokens[chosen], self.correct[chosen])


@dataclass(frozen=True, eq=False)
class AnswerScores:
    """What generated answers are worth beside the true ones.

    Attributes:
        exact: (N,) 1 where answer and truth are the same but for white space at the ends.
        rouge: (N,) ROUGE-L F1.
        ended: (N,) 1 where the model ended by itself.
    """

    exact: FloatArray
    rouge: FloatArray
    ended: FloatArray

    @property
    def rows(self) -> int:
        """The number of rows, N."""
        return len(self.exact)

    @property
    def target(self) -> IntArray:
        """(N,) zeros: rows are the same by their order."""
        return np.zeros(self.rows, np.int64)

    def take(self, rows: npt.ArrayLike) -> AnswerScores:
        """Return the scores of some rows, by index or by mask, in that order."""
        chosen = np.asarray(rows)
        return AnswerScores(self.exact[chosen], self.rouge[chosen], self.ended[chosen])


def score_answers(answers: Sequence[str], truth: Sequence[str], ended: Sequence[bool]) -> AnswerScores:
    """Return the scores of generated answers, row by row."""
    pairs = list(zip(answers, truth, strict=True))
    return AnswerScores(
        exact=np.array([float(a.strip() == t.strip()) for a, t in pairs]),
        rouge=np.array([rouge_l_of(a, t) for a, t in pairs]),
        ended=np.array([float(one) for one in ended]),
    )


def rouge_l_of(answer: str, truth: str) -> float:
    """Return ROUGE-L F1 of two texts, in [0, 1]; 1 where neither has a word."""
    a, b = WORD.findall(answer.lower()), WORD.findall(truth.lower())
    if not a or not b:
        return float(a == b)
    common = _common_subsequence(a, b)
    return 2 * common / (len(a) + len(b))


def _common_subsequence(a: Sequence[str], b: Sequence[str]) -> int:
    row = [0] * (len(b) + 1)
    for word in a:
        before = 0
        for place, other in enumerate(b, start=1):
            above = row[place]
            row[place] = before + 1 if word == other else max(above, row[place - 1])
            before = above
    return row[-1]


def _per_token(values: FloatArray, scores: CompletionScores) -> Statistic:
    return lambda weights: ratio(
        (values[:, None] * weights).sum(axis=0), (scores.tokens[:, None] * weights).sum(axis=0)
    )


def token_loss_statistic(scores: CompletionScores) -> Statistic:
    """Mean negative log-probability per completion token."""
    return _per_token(scores.nll, scores)


def perplexity_statistic(scores: CompletionScores) -> Statistic:
    """Exp of the token loss."""
    loss = token_loss_statistic(scores)
    return lambda weights: np.exp(loss(weights))


def token_accuracy_statistic(scores: CompletionScores) -> Statistic:
    """Share of completion tokens that were the likeliest."""
    return _per_token(scores.correct, scores)


def exact_match_statistic(scores: AnswerScores) -> Statistic:
    """Share of answers that are the truth."""
    return row_mean(scores.exact)


def rouge_l_statistic(scores: AnswerScores) -> Statistic:
    """Mean ROUGE-L F1."""
    return row_mean(scores.rouge)


def ended_statistic(scores: AnswerScores) -> Statistic:
    """Share of answers that the model ended by itself."""
    return row_mean(scores.ended)


def token_loss(scores: CompletionScores) -> float | None:
    """Return the mean negative log-probability per completion token, in nats."""
    return value_of(token_loss_statistic(scores), scores.rows)


def perplexity(scores: CompletionScores) -> float | None:
    """Return exp of the token loss, at least 1."""
    return value_of(perplexity_statistic(scores), scores.rows)


def token_accuracy(scores: CompletionScores) -> float | None:
    """Return the share of completion tokens that were the likeliest given the true ones before them, in [0, 1]."""
    return value_of(token_accuracy_statistic(scores), scores.rows)


def exact_match(scores: AnswerScores) -> float | None:
    """Return the share of answers that are the truth but for white space at the ends, in [0, 1]."""
    return value_of(exact_match_statistic(scores), scores.rows)


def rouge_l(scores: AnswerScores) -> float | None:
    """Return the mean ROUGE-L F1, in [0, 1]."""
    return value_of(rouge_l_statistic(scores), scores.rows)


def ended(scores: AnswerScores) -> float | None:
    """Return the share of answers that the model ended by itself, in [0, 1]."""
    return value_of(ended_statistic(scores), scores.rows)
