r"""Retrieval by shared words: what a model of meaning must beat.

Both ways make vectors whose product is the score. Words are runs of letters and digits; where a fifth of the characters
are Han, which are written without spaces, one and two characters in a row.

BM25 of a passage \(d\) for a query: \(\sum_w \ln(1 + \frac{N - n_w + 0.5}{n_w + 0.5})
\frac{f (k_1 + 1)}{f + k_1 (1 - b + b |d| / \bar{|d|})}\) over the query's words, with \(f\) the word's count in
\(d\) and \(n_w\) the number of the N passages that have it.

References: Robertson and Zaragoza 2009, The Probabilistic Relevance Framework: BM25 and Beyond. Deviation: the
logarithm's 1, as in Lucene, so that no word counts against a passage.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from luthier.evaluation.baselines import mostly_han

K1, B = 1.5, 0.75
WORD = re.compile(r"\w")

Vectors = tuple[Any, Any]
"""Sparse matrices of queries (Q, V) and passages (P, V)."""
Lexical = Callable[[Sequence[str], Sequence[str], Sequence[str]], Vectors]
"""Training texts, queries and passages to vectors."""


def tfidf(train: Sequence[str], queries: Sequence[str], passages: Sequence[str]) -> Vectors:
    """Return TF-IDF vectors of unit length; how rare a word is comes from the training texts."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(sublinear_tf=True, **_analysis(train)).fit(train)
    return vectorizer.transform(queries), vectorizer.transform(passages)


def bm25(train: Sequence[str], queries: Sequence[str], passages: Sequence[str]) -> Vectors:
    """Return vectors whose product is BM25 over these passages; the training texts are not read."""
    from scipy.sparse import csr_matrix, diags
    from sklearn.feature_extraction.text import CountVectorizer

    vectorizer = CountVectorizer(**_analysis(passages))
    counts = csr_matrix(vectorizer.fit_transform(passages), dtype=np.float64)
    length = np.asarray(counts.sum(axis=1)).ravel()
    norm = K1 * (1 - B + B * length / max(length.mean(), 1e-12))
    having = np.bincount(counts.indices, minlength=counts.shape[1])
    idf = np.log1p((len(passages) - having + 0.5) / (having + 0.5))
    weights = counts.copy()
    weights.data = counts.data * (K1 + 1) / (counts.data + np.repeat(norm, np.diff(counts.indptr)))
    asked = csr_matrix(vectorizer.transform(queries) > 0, dtype=np.float64)
    return asked @ diags(idf), weights


def _analysis(texts: Sequence[str]) -> dict[str, Any]:
    """Return how a vectorizer cuts texts into words."""
    if mostly_han(texts) or not any(WORD.search(text) for text in texts):
        return {"analyzer": "char", "ngram_range": (1, 2)}
    return {"token_pattern": r"(?u)\b\w+\b"}


LEXICAL: dict[str, Lexical] = {"bm25": bm25, "tfidf": tfidf}
