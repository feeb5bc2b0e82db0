"""Labels that are probably wrong, found from what a model says about rows it was not trained on.

Reference: Northcutt, Jiang and Chuang, 2021, Confident Learning: Estimating Uncertainty in Dataset Labels.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from luthier.metrics.scores import FloatArray, IntArray


def class_thresholds(probability: FloatArray, target: IntArray) -> FloatArray:
    """Return the mean probability of each class over the rows labelled with it (C,); infinite for a class without."""
    own = probability[np.arange(len(target)), target]
    count = np.bincount(target, minlength=probability.shape[1])
    total = np.bincount(target, weights=own, minlength=probability.shape[1])
    return np.where(count > 0, total / np.maximum(count, 1), np.inf)


def find_label_issues(probability: npt.ArrayLike, target: npt.ArrayLike) -> IntArray:
    """Return rows whose label is probably wrong, the least believable label first.

    A row is an issue when it is off the diagonal of the confident joint: among the classes whose probability reaches
    their own threshold (the mean probability of the class over its rows), the most probable is not the given label.
    Deviations from the paper: rows of the joint are taken as they are, without calibrating their number by the noise
    rate; and a row whose most probable class is its label is never an issue.

    Args:
        probability: (N, C) of a model that was not trained on these rows; of one that was, it finds nothing.
        target: (N,) index of the given label.

    Returns:
        (K,) row indices by rising probability of the given label; ties keep row order.
    """
    values = np.asarray(probability, dtype=np.float64)
    given = np.asarray(target, dtype=np.int64)
    if not len(given):
        return np.zeros(0, dtype=np.int64)
    believable = values >= class_thresholds(values, given)
    likely = np.where(believable, values, -1.0).argmax(axis=1)
    issue = believable.any(axis=1) & (likely != given) & (values.argmax(axis=1) != given)
    rows = np.flatnonzero(issue)
    return rows[np.argsort(values[rows, given[rows]], kind="stable")].astype(np.int64)
