"""Retrieval by shared words against plain loops."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from luthier.evaluation.baselines import BASELINES
from luthier.evaluation.lexical import K1, LEXICAL, B

PASSAGES = ["the cat sat on the mat", "a dog sat", "cats and dogs and cats", "", "one mat for the dog on the mat"]
QUERIES = ["the dog on a mat", "cat cat", "zebra"]


def test_bm25_by_its_formula() -> None:
    asked, weights = LEXICAL["bm25"]([], QUERIES, PASSAGES)
    found = (asked @ weights.T).toarray()
    counts = [Counter(text.split()) for text in PASSAGES]
    mean = sum(sum(count.values()) for count in counts) / len(PASSAGES)
    for q, query in enumerate(QUERIES):
        for p, count in enumerate(counts):
            expected = 0.0
            for word in set(query.split()):
                having = sum(word in one for one in counts)
                idf = math.log(1 + (len(PASSAGES) - having + 0.5) / (having + 0.5))
                f, length = count[word], sum(count.values())
                expected += idf * f * (K1 + 1) / (f + K1 * (1 - B + B * length / mean)) if having else 0.0
            assert found[q, p] == pytest.approx(expected)


def test_tfidf_learns_rare_words_from_the_training_rows_alone() -> None:
    train = ["the cat", "the dog", "the mat"]
    asked, weights = LEXICAL["tfidf"](train, ["the dog"], ["the cat", "a dog", "zebra"])
    found = (asked @ weights.T).toarray()[0]
    assert found[1] > found[0] > found[2] == 0
    assert LEXICAL["tfidf"](train, ["zebra"], ["zebra"])[0].nnz == 0


@pytest.mark.parametrize("name", LEXICAL)
def test_chinese_is_cut_into_characters(name: str) -> None:
    passages = ["今天天气很好", "我丢了护照", "!!"]
    asked, weights = LEXICAL[name](passages, ["护照丢了"], passages)
    assert int(np.argmax((asked @ weights.T).toarray()[0])) == 1


@pytest.mark.parametrize("name", LEXICAL)
def test_texts_without_a_word_are_no_error(name: str) -> None:
    asked, weights = LEXICAL[name](["?!"], ["!?"], ["...", "?!"])
    assert (asked @ weights.T).shape == (1, 2)


def test_the_classifier_of_pairs_sees_what_two_texts_share() -> None:
    """Whether two texts hold the same word cannot be told from either text, nor from the bag of both."""
    rng = np.random.default_rng(0)
    words = [f"word{number}" for number in range(12)]
    rows = [(str(rng.choice(words)), str(rng.choice(words))) for _ in range(400)]
    rows = [(a, a) if number % 2 else (a, b) for number, (a, b) in enumerate(rows)]
    target = np.array([int(a == b) for a, b in rows])
    share = BASELINES["tfidf"](rows[:300], target[:300], rows[300:], 2)
    assert (share.argmax(axis=1) == target[300:]).mean() > 0.9
    assert BASELINES["majority"](rows[:300], target[:300], rows[300:], 2).shape == (100, 2)
