"""How good a classifier's answers are: one number per function, None where the number is not defined.

References: Matthews, 1975 (MCC); Brier, 1950; Gorodkin, 2004 (MCC of many classes). The definitions are those of
scikit-learn, with these deviations: what scikit-learn warns about and calls 0 or NaN is None here, except that a class
never predicted has precision 0 inside an average; areas of many classes skip the classes that the truth lacks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from luthier.metrics import weighted
from luthier.metrics.scores import IntArray, Scores
from luthier.metrics.weighted import Statistic


def value_of(statistic: Statistic, rows: int) -> float | None:
    """Return a statistic with every row counted once, or None where it is undefined."""
    if not rows:
        return None
    value = float(statistic(np.ones((rows, 1)))[0]) + 0.0  # no negative zero
    return None if np.isnan(value) else value


def accuracy(scores: Scores) -> float | None:
    """Return the share of rows whose predicted class is the true one, in [0, 1]."""
    return value_of(weighted.accuracy(scores), scores.rows)


def balanced_accuracy(scores: Scores) -> float | None:
    """Return the mean recall over the classes that occur in the truth, in [0, 1]."""
    return value_of(weighted.balanced_accuracy(scores), scores.rows)


def macro_precision(scores: Scores) -> float | None:
    """Return the mean precision over the classes in truth or predictions, in [0, 1]; never predicted counts 0."""
    return value_of(weighted.macro_precision(scores), scores.rows)


def macro_recall(scores: Scores) -> float | None:
    """Return the mean recall over the classes in truth or predictions, in [0, 1]; never true counts 0."""
    return value_of(weighted.macro_recall(scores), scores.rows)


def macro_f1(scores: Scores) -> float | None:
    """Return the mean F1 over the classes in truth or predictions, in [0, 1]."""
    return value_of(weighted.macro_f1(scores), scores.rows)


def weighted_f1(scores: Scores) -> float | None:
    """Return the mean F1, each class weighing as much as it has rows, in [0, 1]."""
    return value_of(weighted.weighted_f1(scores), scores.rows)


def mcc(scores: Scores) -> float | None:
    """Return the Matthews correlation in [-1, 1]: 0 if all predictions are one class, None if the truth is."""
    return value_of(weighted.mcc(scores), scores.rows)


def log_loss(scores: Scores) -> float | None:
    """Return the mean negative log probability of the truth, in nats; probabilities are clipped at 1e-15."""
    return value_of(weighted.log_loss(scores), scores.rows)


def brier(scores: Scores) -> float | None:
    """Return the Brier score summed over classes, in [0, 2]: for two classes, twice the one-class form."""
    return value_of(weighted.brier(scores), scores.rows)


def roc_auc(scores: Scores) -> float | None:
    """Return the area under the ROC curve in [0, 1], a tie counting half.

    Two classes: the last one is the positive. More: one-vs-rest, averaged over the classes that occur in the truth.
    None where the truth has one class only.
    """
    return value_of(weighted.roc_auc(scores), scores.rows)


def pr_auc(scores: Scores) -> float | None:
    """Return the average precision in [0, 1], not interpolated; classes as in `roc_auc`."""
    return value_of(weighted.pr_auc(scores), scores.rows)


def ece(scores: Scores, bins: int = 15) -> float | None:
    """Return the expected calibration error of the predicted class, in [0, 1], over equal-width bins."""
    return value_of(weighted.ece(scores, bins), scores.rows)


@dataclass(frozen=True)
class ClassQuality:
    """Precision, recall and F1 of one class; None where there is nothing to divide by.

    Attributes:
        precision: share of the rows predicted as this class that are of it.
        recall: share of the rows of this class that are found.
        f1: the harmonic mean of the two.
        support: rows truly of this class.
        predicted: rows predicted as this class.
    """

    precision: float | None
    recall: float | None
    f1: float | None
    support: int
    predicted: int


def confusion(target: npt.ArrayLike, predicted: npt.ArrayLike, classes: int) -> IntArray:
    """Count rows by true class (rows of the matrix) and predicted class (columns): (C, C)."""
    true, guess = np.asarray(target, dtype=np.int64), np.asarray(predicted, dtype=np.int64)
    counts = np.bincount(true * classes + guess, minlength=classes * classes)
    return counts.reshape(classes, classes).astype(np.int64)


def per_class(scores: Scores) -> list[ClassQuality]:
    """Return one row per class, in the order of the class indices, classes without rows included."""
    found = np.bincount(scores.target[scores.correct], minlength=scores.classes)
    support = np.bincount(scores.target, minlength=scores.classes)
    predicted = np.bincount(scores.predicted, minlength=scores.classes)
    return [
        ClassQuality(
            precision=_share(int(hit), int(guessed)),
            recall=_share(int(hit), int(true)),
            f1=_share(2 * int(hit), int(true) + int(guessed)),
            support=int(true),
            predicted=int(guessed),
        )
        for hit, true, guessed in zip(found, support, predicted, strict=True)
    ]


def _share(above: int, below: int) -> float | None:
    return above / below if below else None
