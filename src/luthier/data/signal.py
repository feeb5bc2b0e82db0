"""Out-of-sample predictions of a simple, fast text model, for finding wrong labels and labels that cannot be learnt."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from luthier.data.draws import generator
from luthier.metrics.calibration import fit_temperature, softmax

FOLDS = 5
SAMPLE = 50_000
LEAST_ROWS = 100
IntArray = NDArray[np.int64]


def cross_fit(
    texts: Callable[[IntArray], Iterator[str]], target: IntArray, classes: int, *, seed: int
) -> tuple[IntArray, NDArray[np.float64]] | None:
    """Return calibrated predictions for training rows by models fitted without them.

    Multinomial naive Bayes on words and word pairs (runs of letters; single characters for Han, which is written
    without spaces), five-fold, on at most 50,000 rows, with one temperature for all, since naive Bayes is far too sure
    of itself.

    Args:
        texts: yields the texts of some positions.
        target: (N,) class numbers.
        classes: C.
        seed: of sample and folds.

    Returns:
        Positions (M,) and probabilities (M, C); None where fewer than 100 rows or fewer than two classes are there.
    """
    from sklearn.feature_extraction.text import HashingVectorizer
    from sklearn.naive_bayes import MultinomialNB

    draw = generator(seed, "cross-fit")
    positions = np.arange(len(target))
    if len(target) > SAMPLE:
        positions = np.sort(draw.choice(len(target), SAMPLE, replace=False))
    own = target[positions]
    if len(own) < LEAST_ROWS or len(np.unique(own)) < 2:
        return None
    vectorizer = HashingVectorizer(
        token_pattern=r"(?u)[\u3400-\u9fff]|[^\W\u3400-\u9fff]+",
        ngram_range=(1, 2),
        n_features=2**18,
        alternate_sign=False,
        norm=None,
    )
    counts = vectorizer.transform(texts(positions))
    counts.data[:] = 1.0  # whether a word occurs says more about short texts than how often
    fold = draw.permutation(len(own)) % FOLDS
    scores = np.full((len(own), classes), -1e3)
    for number in range(FOLDS):
        learn, ask = fold != number, fold == number
        if len(np.unique(own[learn])) < 2:
            return None
        model = MultinomialNB(alpha=0.3).fit(counts[learn], own[learn])
        scores[np.ix_(ask, model.classes_)] = model.predict_joint_log_proba(counts[ask])
    return positions, softmax(scores, fit_temperature(scores, own))
