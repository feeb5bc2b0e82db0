"""Whether a stated probability can be believed, and one temperature that makes it more so.

References: Guo et al., 2017, On Calibration of Modern Neural Networks (temperature scaling); Naeini et al., 2015,
Obtaining Well Calibrated Probabilities Using Bayesian Binning (expected calibration error).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from luthier.metrics import classification, weighted
from luthier.metrics.scores import FloatArray, Scores

LOWEST_TEMPERATURE = 0.05
HIGHEST_TEMPERATURE = 20.0
FEWEST_ROWS = 10  # below this a temperature says more about the rows than about the model


def log_softmax(logits: npt.ArrayLike) -> FloatArray:
    """Return the logs of the probabilities that logits (N, C) stand for, in float64."""
    values = np.asarray(logits, dtype=np.float64)
    shifted: FloatArray = values - values.max(axis=-1, keepdims=True)
    normalised: FloatArray = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return normalised


def softmax(logits: npt.ArrayLike, temperature: float = 1.0) -> FloatArray:
    """Return the probabilities that logits (N, C) divided by a temperature stand for, in float64."""
    return np.exp(log_softmax(np.asarray(logits, dtype=np.float64) / temperature))


def fit_temperature(logits: npt.ArrayLike, target: npt.ArrayLike) -> float:
    """Find the temperature that makes the truth most probable once logits are divided by it.

    The search is over its logarithm, between 0.05 and 20, and always ends in the same number. Deviation from Guo et
    al.: 1.0 is returned where the rows cannot tell, that is for fewer than 10 rows or 2 classes, and where every row
    is right (the likelihood then grows for ever as the temperature falls).

    Args:
        logits: (N, C) of rows that were not trained on.
        target: (N,) index of the true class.

    Returns:
        The temperature; above 1 the model was too sure of itself.
    """
    from scipy.optimize import minimize_scalar

    values = np.asarray(logits, dtype=np.float64)
    true = np.asarray(target, dtype=np.int64)
    if len(true) < FEWEST_ROWS or len(np.unique(true)) < 2 or (values.argmax(axis=1) == true).all():
        return 1.0
    rows = np.arange(len(true))

    def loss(log_temperature: float) -> float:
        return -float(log_softmax(values / np.exp(log_temperature))[rows, true].mean())

    bounds = (float(np.log(LOWEST_TEMPERATURE)), float(np.log(HIGHEST_TEMPERATURE)))
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))


def expected_calibration_error(probability: npt.ArrayLike, target: npt.ArrayLike, bins: int = 15) -> float | None:
    """Return the mean gap between stated confidence and accuracy, over equal-width bins; None without rows."""
    return classification.ece(Scores(np.asarray(target), np.asarray(probability)), bins)


@dataclass(frozen=True)
class ReliabilityBin:
    """Rows whose confidence lies in (lower, upper]: how sure they were, and how often right.

    Attributes:
        lower: the confidence above which the bin starts.
        upper: the confidence with which it ends.
        confidence: their mean confidence; None without rows.
        accuracy: the share of them that are right; None without rows.
        count: how many rows.
    """

    lower: float
    upper: float
    confidence: float | None
    accuracy: float | None
    count: int


def reliability(probability: npt.ArrayLike, target: npt.ArrayLike, bins: int = 15) -> list[ReliabilityBin]:
    """Return what a reliability diagram shows: every bin from 0 to 1, empty ones included."""
    scores = Scores(np.asarray(target), np.asarray(probability))
    edges = np.linspace(0.0, 1.0, bins + 1)
    place = weighted.calibration_bin(scores.confidence, bins)
    count = np.bincount(place, minlength=bins)
    sure = np.bincount(place, weights=scores.confidence, minlength=bins)
    right = np.bincount(place, weights=scores.correct, minlength=bins)
    return [
        ReliabilityBin(
            lower=float(edges[index]),
            upper=float(edges[index + 1]),
            confidence=float(sure[index] / count[index]) if count[index] else None,
            accuracy=float(right[index] / count[index]) if count[index] else None,
            count=int(count[index]),
        )
        for index in range(bins)
    ]
