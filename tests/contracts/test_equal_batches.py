"""Alone, padded among others, or in batches sorted by length: every task answers the same. Tiny random models, fp32."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.contracts.test_tasks import RUNS
from tests.tiny_runs import flat, learn

from luthier.tasks import TASKS

TOLERANCE = 1e-5  # of an output, beside its own size; of an answer's number, times the task's scale
ALL = 10**9  # tokens: one batch


@pytest.mark.parametrize("task", TASKS)
def test_batches_change_no_answer(task: str, tmp_path: Path, home: Path) -> None:
    model, write, asked = RUNS[task]
    found = learn(write(tmp_path, model(tmp_path / "model")), ["train.learning_rate=0.01"], tmp_path / "trained")
    predictor, prepared = found.predictor, found.prepared
    features, index = prepared.part("test")
    index = np.asarray(random.Random(1).sample(index.tolist(), len(index)))
    lengths = features.total_cost[index]
    assert len(set(lengths.tolist())) > 2, "rows must be of several lengths"
    one_by_one, padded, by_length = (predictor.outputs(features, index, batch_tokens=size) for size in (1, ALL, 256))
    assert any(len(np.unique(flat(values).round(3))) > 3 for values in one_by_one.values()), (
        "rows are all answered alike"
    )
    for name, values in one_by_one.items():
        alone = flat(values)
        for others in (padded, by_length):
            gap = np.abs(flat(others[name]) - alone).max(initial=0.0)
            assert gap <= TOLERANCE * max(1.0, np.abs(alone).max(initial=0.0)), name
    together = [answer.as_dict() for answer in predictor.predict(asked)]
    single = [predictor.predict([one])[0].as_dict() for one in asked]
    scale = max(1.0, prepared.task.answer_scale(prepared.dataset.targets))
    for a, b in zip(together, single, strict=True):
        assert like(a, b, TOLERANCE * scale), (a, b)


def like(a: Any, b: Any, tolerance: float) -> bool:
    """Return whether two answers have the same words, and numbers that differ by no more than rounding."""
    if isinstance(a, float) and isinstance(b, float):
        return abs(a - b) <= tolerance
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(like(a[key], b[key], tolerance) for key in a)
    if isinstance(a, Sequence) and isinstance(b, Sequence) and not isinstance(a, str):
        return len(a) == len(b) and all(like(x, y, tolerance) for x, y in zip(a, b, strict=True))
    return bool(a == b)
