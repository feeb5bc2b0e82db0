"""The probability above which a label is given."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

HALF = 0.5


def best_threshold(probability: npt.ArrayLike, truth: npt.ArrayLike) -> float:
    """Return the threshold with the best F1 of one label; of equals the one nearest to one half.

    Candidates lie midway between neighbouring probabilities, and below all of them. One half is returned where no row
    has the label.

    Args:
        probability: (N,) of rows that were not trained on.
        truth: (N,) whether a row has the label.
    """
    values, true = np.asarray(probability, np.float64), np.asarray(truth, bool)
    if not true.any():
        return HALF
    distinct, first = np.unique(np.sort(values), return_index=True)
    candidates = np.concatenate(([distinct[0] / 2], (distinct[1:] + distinct[:-1]) / 2, [HALF]))
    found = np.concatenate((np.cumsum(true[np.argsort(-values, kind="stable")])[::-1], [0]))  # true rows from each on
    above = np.append(first, np.searchsorted(np.sort(values), HALF, side="right"))  # rows at or below each candidate
    f1 = 2 * found[above] / (len(values) - above + true.sum())
    best = candidates[f1 >= f1.max() - 1e-12]
    return float(best[np.argmin(np.abs(best - HALF))])
