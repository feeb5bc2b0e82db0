"""What every task must do: from rows to a bundle that answers as the run did. Tiny random model."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from tests.tiny import build_decoder, build_model, chat_project, project, questions, sentences
from tests.tiny_seq import build_writer, pair_project, pairs

import luthier
from luthier.evaluation.kinds import EVALUATIONS
from luthier.metrics.registry import METRICS
from luthier.models.heads import HEADS
from luthier.objectives import OBJECTIVES
from luthier.tasks import TASKS

# Each task's tiny run: its model, its project and inputs of its own. A task without a line here fails the suite.
RUNS: dict[str, tuple[Callable[[Path], Path], Callable[[Path, Path], Path], list[str]]] = {
    "summarisation": (
        build_writer,
        partial(pair_project, task="summarisation"),
        [text for text, _ in pairs(20, seed=5)],
    ),
    "text-classification": (build_model, project, [text for text, _ in sentences(20, seed=5)]),
    "text-generation": (build_decoder, chat_project, [question for question, _ in questions(20, seed=5)]),
    "translation": (partial(build_writer, family="bart"), pair_project, [text for text, _ in pairs(20, seed=5)]),
}


def test_every_task_is_covered() -> None:
    assert RUNS.keys() == TASKS.keys()


@pytest.mark.parametrize("name", TASKS)
def test_what_it_names_is_registered(name: str) -> None:
    task = TASKS[name]()
    assert task.name == name
    assert task.objective in OBJECTIVES
    assert task.evaluation in EVALUATIONS
    assert task.headline in METRICS
    assert sum(role.target for role in task.roles) == 1
    targets = task.fit_targets({"a": 3, "b": 2}, None)
    assert task.head(targets).kind in HEADS
    numbers = [task.target_number(cell, targets) for cell in ("a", "b", "c")]
    assert numbers == ([0, 1, None] if task.output_labels(targets) else [0, 0, 0])


@pytest.mark.parametrize("name", TASKS)
def test_run_save_load_answers_the_same(name: str, tmp_path: Path, home: Path) -> None:
    model, write, texts = RUNS[name]
    path = write(tmp_path, model(tmp_path / "model"))
    result = luthier.run(path, run_dir=tmp_path / "run", overrides=["train.epochs=2"])
    one, two = (luthier.load(result.bundle) for _ in range(2))
    assert [a.as_dict() for a in one.predict(texts)] == [a.as_dict() for a in two.predict(texts)]
    features = one.features([one.cells(text, "here") for text in texts])
    assert np.array_equal(features.group, np.arange(len(texts)))
    assert one.predict([]).__len__() == 0
    assert {role.name for role in one.task.roles if not role.target} == set(one.inputs)
