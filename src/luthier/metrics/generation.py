"""How good a language model is: by the probability of the true completions, and by the answers that it writes.

Perplexity is per completion token: exp of the mean negative log-probability over all labelled tokens of all rows, so a
long row weighs more. It depends on the tokenizer; compare it between models that share one. ROUGE is Lin's (2004): F1
of single words (ROUGE-1), of two in a row (ROUGE-2), and of the longest common subsequence of a whole answer (ROUGE-L);
words are runs of letters and digits in lower case, and each Han character is a word. Deviation: no stemming.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from luthier.metrics.classification import value_of
from luthier.metrics.overlap import bleu_counts, bleu_of, chrf_counts, chrf_of
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
        rouge: (N, 3) F1 of ROUGE-1, ROUGE-2 and ROUGE-L.
        ended: (N,) 1 where the model ended by itself.
        bleu: (N, 10) counts of `overlap.bleu_counts`.
        chrf: (N, 18) counts of `overlap.chrf_counts`.
    """

    exact: FloatArray
    rouge: FloatArray
    ended: FloatArray
    bleu: FloatArray
    chrf: FloatArray

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
        parts = (self.exact, self.rouge, self.ended, self.bleu, self.chrf)
        return AnswerScores(*(part[chosen] for part in parts))


def score_answers(answers: Sequence[str], truth: Sequence[str], ended: Sequence[bool]) -> AnswerScores:
    """Return the scores of generated answers, row by row."""
    pairs = list(zip(answers, truth, strict=True))
    return AnswerScores(
        exact=np.array([float(a.strip() == t.strip()) for a, t in pairs]),
        rouge=np.array([rouge_of(a, t) for a, t in pairs]).reshape(-1, 3),
        ended=np.array([float(one) for one in ended]),
        bleu=bleu_counts(answers, truth),
        chrf=chrf_counts(answers, truth),
    )


def rouge_of(answer: str, truth: str) -> tuple[float, float, float]:
    """Return ROUGE-1, ROUGE-2 and ROUGE-L F1 of two texts, in [0, 1]; of too short ones, whether they are equal."""
    a, b = WORD.findall(answer.lower()), WORD.findall(truth.lower())
    longest = 2 * _common_subsequence(a, b) / (len(a) + len(b)) if a or b else 1.0
    return _shared(a, b, 1), _shared(a, b, 2), longest


def _shared(a: Sequence[str], b: Sequence[str], size: int) -> float:
    """Return F1 of the runs of some words that two texts share, each as often as it stands in both."""
    ours, theirs = (Counter(zip(*(words[i:] for i in range(size)), strict=False)) for words in (a, b))
    total = ours.total() + theirs.total()
    return 2 * (ours & theirs).total() / total if total else float(list(a) == list(b))


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


def rouge_1_statistic(scores: AnswerScores) -> Statistic:
    """Mean ROUGE-1 F1."""
    return row_mean(scores.rouge[:, 0])


def rouge_2_statistic(scores: AnswerScores) -> Statistic:
    """Mean ROUGE-2 F1."""
    return row_mean(scores.rouge[:, 1])


def rouge_l_statistic(scores: AnswerScores) -> Statistic:
    """Mean ROUGE-L F1."""
    return row_mean(scores.rouge[:, 2])


def _summed(counts: FloatArray, formula: Callable[[FloatArray], FloatArray]) -> Statistic:
    """Return a formula over counts (N, K) that are summed over the rows of each resample."""
    return lambda weights: formula(np.stack([(column[:, None] * weights).sum(axis=0) for column in counts.T]))


def bleu_statistic(scores: AnswerScores) -> Statistic:
    """BLEU of all answers together."""
    return _summed(scores.bleu, bleu_of)


def chrf_statistic(scores: AnswerScores) -> Statistic:
    """Return chrF2 of all answers together."""
    return _summed(scores.chrf, chrf_of)


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


def rouge_1(scores: AnswerScores) -> float | None:
    """Return the mean ROUGE-1 F1, in [0, 1]."""
    return value_of(rouge_1_statistic(scores), scores.rows)


def rouge_2(scores: AnswerScores) -> float | None:
    """Return the mean ROUGE-2 F1, in [0, 1]."""
    return value_of(rouge_2_statistic(scores), scores.rows)


def bleu(scores: AnswerScores) -> float | None:
    """Return sacreBLEU of all answers together, from 0 to 100."""
    return value_of(bleu_statistic(scores), scores.rows)


def chrf(scores: AnswerScores) -> float | None:
    """Return chrF2 of all answers together, from 0 to 100."""
    return value_of(chrf_statistic(scores), scores.rows)


def rouge_l(scores: AnswerScores) -> float | None:
    """Return the mean ROUGE-L F1, in [0, 1]."""
    return value_of(rouge_l_statistic(scores), scores.rows)


def ended(scores: AnswerScores) -> float | None:
    """Return the share of answers that the model ended by itself, in [0, 1]."""
    return value_of(ended_statistic(scores), scores.rows)
