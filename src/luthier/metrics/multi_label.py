"""How good label sets are: each label by itself, all labels together, and whole sets.

Micro F1 counts (row, label) pairs; macro F1 is the mean over labels, of which one that occurs neither in truth nor in
answers is left out. Label ranking average precision is the mean over a row's true labels of the share of true labels
among those ranked as high (Tsoumakas et al. 2010); a row whose labels are all or none counts 1, as in scikit-learn.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from luthier.metrics.classification import value_of
from luthier.metrics.scores import BoolArray, FloatArray, IntArray
from luthier.metrics.weighted import SMALLEST_PROBABILITY, Statistic, ratio, row_mean


@dataclass(frozen=True, eq=False)
class SetScores:
    """Label sets of rows whose truth is known.

    Attributes:
        truth: (N, C) which labels a row has.
        probability: (N, C) of each label, by itself.
        predicted: (N, C) which labels are given.
    """

    truth: BoolArray
    probability: FloatArray
    predicted: BoolArray

    @property
    def rows(self) -> int:
        """The number of rows, N."""
        return len(self.truth)

    @property
    def target(self) -> IntArray:
        """(N,) a number for each row's true set: equal sets have equal numbers."""
        digests = (hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in self.truth)
        return np.frombuffer(b"".join(digests), dtype="<i8").astype(np.int64)

    def take(self, rows: npt.ArrayLike) -> SetScores:
        """Return the scores of some rows, by index or by mask, in that order."""
        chosen = np.asarray(rows)
        return SetScores(self.truth[chosen], self.probability[chosen], self.predicted[chosen])


def sigmoid(logits: npt.ArrayLike) -> FloatArray:
    """Return the probabilities that logits stand for, each by itself, in float64."""
    values = np.asarray(logits, dtype=np.float64)
    small = np.exp(-np.abs(values))  # never overflows
    found: FloatArray = np.where(values >= 0, 1.0, small) / (1.0 + small)
    return found


def _counts(scores: SetScores) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return (N, C) labels found, true and given."""
    found = scores.truth & scores.predicted
    return found.astype(np.float64), scores.truth.astype(np.float64), scores.predicted.astype(np.float64)


def micro_f1_statistic(scores: SetScores) -> Statistic:
    """F1 over all pairs of row and label."""
    found, true, given = (counts.sum(axis=1)[:, None] for counts in _counts(scores))
    return lambda weights: ratio(2 * (found * weights).sum(axis=0), ((true + given) * weights).sum(axis=0))


def label_macro_f1_statistic(scores: SetScores) -> Statistic:
    """Mean over labels of their F1."""
    found, true, given = _counts(scores)

    def value(weights: FloatArray) -> FloatArray:
        sums = [np.einsum("nc,nr->cr", counts, weights, optimize=False) for counts in (found, true + given)]
        f1 = ratio(2 * sums[0], sums[1], 0.0)
        return ratio(f1.sum(axis=0), (sums[1] > 0).sum(axis=0).astype(np.float64))

    return value


def subset_accuracy_statistic(scores: SetScores) -> Statistic:
    """Share of rows whose labels are all right."""
    return row_mean((scores.truth == scores.predicted).all(axis=1).astype(np.float64))


def label_ranking_precision_statistic(scores: SetScores) -> Statistic:
    """Label ranking average precision."""
    return row_mean(_ranking_precision(scores))


def _ranking_precision(scores: SetScores) -> FloatArray:
    as_high = scores.probability[:, None, :] >= scores.probability[:, :, None]  # (N, C, C): of the last, against each
    rank = as_high.sum(axis=2)
    true_above = (as_high & scores.truth[:, None, :]).sum(axis=2)
    share = np.where(scores.truth, true_above / rank, 0.0).sum(axis=1)
    number = scores.truth.sum(axis=1)
    plain = (number == 0) | (number == scores.truth.shape[1])
    found: FloatArray = np.where(plain, 1.0, share / np.maximum(1, number))
    return found


def label_log_loss_statistic(scores: SetScores) -> Statistic:
    """Mean over rows and labels of the negative log of the probability of what is true."""
    right = np.where(scores.truth, scores.probability, 1.0 - scores.probability)
    return row_mean(-np.log(np.clip(right, SMALLEST_PROBABILITY, 1.0)).mean(axis=1))


def micro_f1(scores: SetScores) -> float | None:
    """Return F1 over all pairs of row and label, in [0, 1]."""
    return value_of(micro_f1_statistic(scores), scores.rows)


def label_macro_f1(scores: SetScores) -> float | None:
    """Return the mean over labels of their F1, in [0, 1]."""
    return value_of(label_macro_f1_statistic(scores), scores.rows)


def subset_accuracy(scores: SetScores) -> float | None:
    """Return the share of rows whose labels are all right, in [0, 1]."""
    return value_of(subset_accuracy_statistic(scores), scores.rows)


def label_ranking_precision(scores: SetScores) -> float | None:
    """Return the label ranking average precision, in (0, 1]."""
    return value_of(label_ranking_precision_statistic(scores), scores.rows)


def label_log_loss(scores: SetScores) -> float | None:
    """Return the mean binary cross-entropy over rows and labels, in nats."""
    return value_of(label_log_loss_statistic(scores), scores.rows)


@dataclass(frozen=True)
class LabelQuality:
    """One label by itself; None where undefined.

    Attributes:
        precision: of the rows that were given it, the share that has it.
        recall: of the rows that have it, the share that was given it.
        f1: of both.
        support: rows that have it.
    """

    precision: float | None
    recall: float | None
    f1: float | None
    support: int


def per_label(scores: SetScores) -> list[LabelQuality]:
    """Return the quality of each label, in their order."""
    found, true, given = (counts.sum(axis=0) for counts in _counts(scores))
    return [
        LabelQuality(
            precision=float(right / said) if said else None,
            recall=float(right / real) if real else None,
            f1=float(2 * right / (said + real)) if said + real else None,
            support=int(real),
        )
        for right, real, said in zip(found, true, given, strict=True)
    ]
