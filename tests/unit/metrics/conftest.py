"""Scores of every kind, ordinary and degenerate, for the tests of metrics."""

from __future__ import annotations

import numpy as np
import pytest

from luthier.metrics.scores import Scores


def scores_of(rows: int, classes: int, seed: int, *, ties: bool = False, only: list[int] | None = None) -> Scores:
    """Random rows that a model with some skill could have answered; `only` limits the classes of the truth."""
    rng = np.random.default_rng(seed)
    target = rng.choice(only if only is not None else np.arange(classes), size=rows)
    logits = rng.normal(size=(rows, classes))
    logits[np.arange(rows), target] += 1.0
    if ties:
        logits = np.round(logits * 2) / 2
    probability = np.exp(logits)
    return Scores(target, probability / probability.sum(axis=1, keepdims=True), logits)


CASES = {
    "binary": scores_of(200, 2, 0),
    "three": scores_of(300, 3, 1),
    "twenty": scores_of(100, 20, 2),
    "ties": scores_of(150, 2, 3, ties=True),
    "ties of many": scores_of(150, 4, 4, ties=True),
    "an absent class": scores_of(80, 5, 5, only=[0, 2, 3]),
    "one class": scores_of(40, 3, 6, only=[1]),
    "one row": scores_of(1, 2, 7),
    "perfect": Scores(np.array([0, 1, 1, 2]), np.eye(3)[[0, 1, 1, 2]]),
    "all wrong": Scores(np.array([0, 1, 1, 0]), np.eye(2)[[1, 0, 0, 1]]),
    "always the same": Scores(np.array([0, 1, 1, 0]), np.tile([0.7, 0.3], (4, 1))),
}


@pytest.fixture(params=CASES)
def case(request) -> Scores:
    """Each kind of scores in turn."""
    return CASES[request.param]


@pytest.fixture
def cases() -> dict[str, Scores]:
    """All kinds of scores, by name."""
    return CASES


@pytest.fixture(scope="session")
def make_scores():
    """`scores_of` itself, for tests that need rows of their own."""
    return scores_of
