"""Simple models on the same rows: what a trained model must beat to be worth its keep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

HAN_SHARE = 0.2
MAX_TERMS = 200_000

Baseline = Callable[[Sequence[str], NDArray[np.int64], Sequence[str], int], NDArray[np.float64]]


def majority(
    train_texts: Sequence[str], train_target: NDArray[np.int64], test_texts: Sequence[str], classes: int
) -> NDArray[np.float64]:
    """Return each class's share of the training rows for every test row, (N, C)."""
    share = np.bincount(train_target, minlength=classes) / len(train_target)
    return np.tile(share, (len(test_texts), 1))


def tfidf(
    train_texts: Sequence[str], train_target: NDArray[np.int64], test_texts: Sequence[str], classes: int
) -> NDArray[np.float64]:
    """Return the probabilities of a logistic regression on TF-IDF weights, (N, C); 0 for a class without rows."""
    from sklearn.linear_model import LogisticRegression

    weights = text_weights([train_texts, test_texts]) if len(np.unique(train_target)) > 1 else None
    if weights is None:
        return majority(train_texts, train_target, test_texts, classes)
    model = LogisticRegression(C=10.0, max_iter=1000).fit(weights[0], train_target)
    found = np.zeros((len(test_texts), classes))
    found[:, model.classes_] = model.predict_proba(weights[1])
    return found


def text_weights(texts: Sequence[Sequence[str]]) -> list[Any] | None:
    """Return a sparse matrix of TF-IDF weights for each list of texts; None where no text of the first holds a word.

    Words and word pairs; characters up to three in a row where a fifth of the first list's characters are Han, which
    are written without spaces.

    Args:
        texts: lists; the first one is fitted on.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    if _mostly_han(texts[0]):
        vectorizer = TfidfVectorizer(analyzer="char", ngram_range=(1, 3), sublinear_tf=True, max_features=MAX_TERMS)
    else:
        vectorizer = TfidfVectorizer(
            token_pattern=r"(?u)\b\w+\b", ngram_range=(1, 2), sublinear_tf=True, max_features=MAX_TERMS
        )
    try:
        vectorizer.fit(texts[0])
    except ValueError:
        return None
    return [vectorizer.transform(one) for one in texts]


def _mostly_han(texts: Sequence[str]) -> bool:
    sample = "".join(texts[:: max(1, len(texts) // 1000)])
    han = sum("\u3400" <= char <= "\u9fff" for char in sample)
    return han > HAN_SHARE * max(1, len(sample))


BASELINES: dict[str, Baseline] = {
    "majority": majority,
    "tfidf": tfidf,
}
