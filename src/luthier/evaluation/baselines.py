"""Simple models on the same rows: what a trained model must beat to be worth its keep.

A row's text is a tuple of texts where a task reads several.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

HAN_SHARE = 0.2
MAX_TERMS = 200_000

Text = str | tuple[str, ...]
Baseline = Callable[[Sequence[Text], NDArray[np.int64], Sequence[Text], int], NDArray[np.float64]]


def majority(
    train_texts: Sequence[Text], train_target: NDArray[np.int64], test_texts: Sequence[Text], classes: int
) -> NDArray[np.float64]:
    """Return each class's share of the training rows for every test row, (N, C)."""
    share = np.bincount(train_target, minlength=classes) / len(train_target)
    return np.tile(share, (len(test_texts), 1))


def tfidf(
    train_texts: Sequence[Text], train_target: NDArray[np.int64], test_texts: Sequence[Text], classes: int
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


def text_weights(texts: Sequence[Sequence[Text]]) -> list[Any] | None:
    """Return a sparse matrix of TF-IDF weights for each list of rows; None where no text of the first holds a word.

    Words and word pairs; characters up to three in a row where a fifth of the first list's characters are Han, which
    are written without spaces. Of several texts a row has the weights of each, their products, which say what two texts
    share, and their cosine.

    Args:
        texts: lists of rows; the first one is fitted on.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    every = [part for text in texts[0] for part in _parts(text)]
    if mostly_han(every):
        vectorizer = TfidfVectorizer(analyzer="char", ngram_range=(1, 3), sublinear_tf=True, max_features=MAX_TERMS)
    else:
        vectorizer = TfidfVectorizer(
            token_pattern=r"(?u)\b\w+\b", ngram_range=(1, 2), sublinear_tf=True, max_features=MAX_TERMS
        )
    try:
        vectorizer.fit(every)
    except ValueError:  # no text holds a word
        return None
    return [_weights(vectorizer, one) for one in texts]


def _parts(text: Text) -> tuple[str, ...]:
    return (text,) if isinstance(text, str) else text


def _weights(vectorizer: Any, texts: Sequence[Text]) -> Any:
    """Return a row of weights for each text or tuple of texts."""
    from scipy.sparse import csr_matrix, hstack

    parts = [vectorizer.transform(part) for part in zip(*map(_parts, texts), strict=True)]
    if len(parts) == 1:
        return parts[0]
    products = [one.multiply(other) for one, other in pairwise(parts)]
    cosines = [csr_matrix(product.sum(axis=1)) for product in products]
    return hstack([*parts, *products, *cosines]).tocsr()


def mostly_han(texts: Sequence[str]) -> bool:
    """Return whether a fifth of the characters of texts are Han, which are written without spaces."""
    sample = "".join(texts[:: max(1, len(texts) // 1000)])
    han = sum("\u3400" <= char <= "\u9fff" for char in sample)
    return han > HAN_SHARE * max(1, len(sample))


BASELINES: dict[str, Baseline] = {
    "majority": majority,
    "tfidf": tfidf,
}
