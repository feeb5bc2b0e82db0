"""How answers are compared."""

from __future__ import annotations

import numpy as np
import pytest

from luthier.metrics.scores import Scores
from luthier.pipeline.judging import changes, drift


def test_an_answer_changed_where_a_word_or_a_place_did() -> None:
    before = [
        {"label": "a", "probability": 0.9},
        {"label": "b", "probability": 0.6},
        {"entities": [{"start": 1, "end": 3, "label": "X", "score": 0.5}]},
        {"entities": []},
    ]
    after = [
        {"label": "a", "probability": 0.7},
        {"label": "a", "probability": 0.6},
        {"entities": [{"start": 1, "end": 4, "label": "X", "score": 0.5}]},
        {"entities": []},
    ]
    flips, divergence = changes(before, after)
    assert flips == 2 / 4
    assert divergence == pytest.approx(0.2)


def test_numbers_alone_do_not_flip() -> None:
    flips, divergence = changes([{"value": 1.0}, {"value": 2.0}], [{"value": 1.5}, {"value": 2.0}])
    assert flips is None
    assert divergence == pytest.approx(0.25)


def test_the_drift_of_calibration_is_in_points() -> None:
    target = np.zeros(10, np.int64)
    sure, unsure = (Scores(target, np.tile([p, 1 - p], (10, 1))) for p in (1.0, 0.8))
    assert drift(sure, unsure) == pytest.approx(20.0)  # right ten times of ten, at 80 %
