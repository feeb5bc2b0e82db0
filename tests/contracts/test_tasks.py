"""What every task must do: from rows to a bundle that answers as the run did. Tiny random model."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.tiny import build_decoder, build_model, chat_project, project, questions, sentences
from tests.tiny_pairs import (
    embedding_project,
    lists,
    pair_project,
    pairs,
    questions_and_answers,
    reranking_project,
    similarity_project,
)
from tests.tiny_seq import build_writer
from tests.tiny_seq import pair_project as writer_project
from tests.tiny_seq import pairs as writer_pairs
from tests.tiny_spans import answer_project, entity_project, related, relation_project, spanned
from tests.tiny_spans import asked as asked_rows
from tests.tiny_values import multi_label_project, regression_project, texts

import luthier
from luthier.evaluation.kinds import EVALUATIONS
from luthier.metrics.registry import METRICS
from luthier.models.heads import HEADS
from luthier.objectives import OBJECTIVES
from luthier.tasks import TASKS, CellError, Task

# Each task's tiny run: its model, its project and inputs of its own. A task without a line here fails the suite.
RUNS: dict[str, tuple[Callable[[Path], Path], Callable[[Path, Path], Path], list[Any]]] = {
    "embedding": (build_model, embedding_project, [text for text, _ in questions_and_answers(20, seed=5)]),
    "multi-label": (build_model, multi_label_project, texts(20)),
    "regression": (build_model, regression_project, texts(20)),
    "reranking": (build_model, reranking_project, [{"query": a, "passages": b} for a, b, _ in lists(20, seed=5)]),
    "summarisation": (
        build_writer,
        partial(writer_project, task="summarisation"),
        [text for text, _ in writer_pairs(20, seed=5)],
    ),
    "text-classification": (build_model, project, [text for text, _ in sentences(20, seed=5)]),
    "text-generation": (build_decoder, chat_project, [question for question, _ in questions(20, seed=5)]),
    "text-pair": (build_model, pair_project, [{"first": a, "second": b} for a, b, _ in pairs(20, seed=5)]),
    "text-similarity": (build_model, similarity_project, [{"first": a, "second": b} for a, b, _ in pairs(20, seed=5)]),
    "translation": (
        partial(build_writer, family="bart"),
        writer_project,
        [text for text, _ in writer_pairs(20, seed=5)],
    ),
    "token-classification": (build_model, entity_project, [row["text"] for row in spanned(20, seed=5, longest=60)]),
    "relation-extraction": (build_model, relation_project, related(20, seed=5)),
    "question-answering": (build_model, answer_project, asked_rows(20, seed=5, longest=60)),
}
# Target cells of each task, as `target_cell` writes them; the first two are those of training.
CELLS: dict[str, tuple[str, str, str]] = {
    "token-classification": ('["B-a"]', "[]", '["B-b"]'),
    "question-answering": ("[]", '[{"start":-1,"text":"a"}]', '[{"start":0,"text":"b"}]'),
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
    cells = CELLS.get(name) or target_cells(task)
    targets = task.fit_targets({cells[0]: 3, cells[1]: 2}, None)
    assert task.head(targets).kind in HEADS
    *known, other = [task.target_number(cell, targets) for cell in cells]
    assert known == ([0, 1] if task.output_labels(targets) else [0, 0])
    assert other == (None if task.output_labels(targets) or name == "multi-label" else 0)


def target_cells(task: Task) -> list[str]:
    """Return three target cells that a task accepts."""
    try:
        return [task.target_cell(value) for value in "abc"]
    except CellError:
        return [task.target_cell(value) for value in "123"]


@pytest.mark.parametrize("name", TASKS)
def test_run_save_load_answers_the_same(name: str, tmp_path: Path, home: Path) -> None:
    model, write, asked = RUNS[name]
    path = write(tmp_path, model(tmp_path / "model"))
    result = luthier.run(path, run_dir=tmp_path / "run", overrides=["train.epochs=2"])
    one, two = (luthier.load(result.bundle) for _ in range(2))
    assert [a.as_dict() for a in one.predict(asked)] == [a.as_dict() for a in two.predict(asked)]
    features = one.features([one.cells(text, "here") for text in asked])
    assert np.array_equal(np.unique(features.group), np.arange(len(asked)))
    assert one.predict([]).__len__() == 0
    assert {role.name for role in one.task.roles if role.asked} == set(one.inputs)
