"""From questions to features and back: windows, answers, and no answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.tiny import build_model
from tests.tiny_spans import asked

from luthier.data.features import Features, in_memory
from luthier.data.text import TextEncoder
from luthier.tasks.base import CellError, Scored, Truth
from luthier.tasks.question_answering import AnswerSettings, QuestionAnswering, best_spans, best_threshold, place


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_model(tmp_path_factory.mktemp("model"))


def features_of(
    task: QuestionAnswering, rows: list[dict[str, Any]], encoder: TextEncoder
) -> tuple[Features, list[str]]:
    cells = [task.target_cell(row["answers"]) for row in rows]
    columns = {"question": [r["question"] for r in rows], "context": [r["context"] for r in rows], "answers": cells}
    block = task.encode(columns, np.arange(len(rows)), encoder, np.zeros(len(rows), np.int64), {})
    return in_memory([block], task.fields(encoder)), cells


def perfect(found: Features) -> Any:
    logits = np.empty(len(found), dtype=object)
    for number in range(len(found)):
        logits[number] = np.zeros((len(found.row("input_ids", number)), 2))
        logits[number][found.scalar["start"][number], 0] = 5.0
        logits[number][found.scalar["end"][number], 1] = 5.0
    return logits


@pytest.mark.parametrize("length", [20, 32, 64])
def test_a_perfect_model_answers_through_any_windows(folder: Path, length: int) -> None:
    task = QuestionAnswering(AnswerSettings(stride=6, best=3))
    rows = asked(40, 2, longest=50)
    found, cells = features_of(task, rows, TextEncoder(folder, max_length=length))
    scored = Scored({"logits": perfect(found)}, found, np.arange(len(found)), rows)
    assert length == 64 or len(found) > len(rows) + 10
    targets = {"unanswerable": True}
    truth = Truth(np.zeros(len(rows), np.int64), cells)
    calibration = task.calibrate(scored, truth, targets)
    answers = task.decode(scored, targets, calibration)
    assert [one.answer for one in answers] == [row["answers"][0] if row["answers"] else None for row in rows]
    for one, row in zip(answers, rows, strict=True):
        assert len(one.best) == 3
        assert one.best[0].text == one.answer
        assert all(b.text is None or row["context"][b.start : b.end] == b.text for b in one.best)
        assert sum(b.score for b in one.best) <= 1 + 1e-9
    always = task.decode(scored, {"unanswerable": False}, {})
    assert all(one.answer is not None for one in always)


def test_the_question_stands_whole_in_every_window(folder: Path) -> None:
    encoder = TextEncoder(folder, max_length=20)
    found, _ = features_of(QuestionAnswering(AnswerSettings(stride=4)), asked(5, 3, longest=60), encoder)
    for number in range(len(found)):
        types = found.row("token_type_ids", number)
        assert int((types == 0).sum()) == 8  # class token, the, good, four pieces of word, separator
        allowed = found.row("allowed", number)
        assert allowed[0] == 1
        assert allowed.sum() == 1 + (found.row("place_starts", number) >= 0).sum()


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (None, "[]"),
        ("", "[]"),
        ([], "[]"),
        ("[]", "[]"),
        ("Ada", '[{"start":-1,"text":"Ada"}]'),
        (["Ada", "A"], '[{"start":-1,"text":"Ada"},{"start":-1,"text":"A"}]'),
        ({"text": "Ada", "start": 3}, '[{"start":3,"text":"Ada"}]'),
        ('[{"text": "Ada", "start": 3}]', '[{"start":3,"text":"Ada"}]'),
        ({"text": ["Ada"], "answer_start": [3]}, '[{"start":3,"text":"Ada"}]'),
        ({"text": [], "answer_start": []}, "[]"),
    ],
)
def test_answers_come_in_many_forms(value: Any, cell: str) -> None:
    assert QuestionAnswering().target_cell(value) == cell


@pytest.mark.parametrize(
    "value", [5, [5], {"start": 3}, {"text": "Ada", "start": "3"}, {"text": ["a"], "answer_start": []}]
)
def test_what_is_no_answer_is_refused(value: Any) -> None:
    with pytest.raises(CellError):
        QuestionAnswering().target_cell(value)


def test_an_answer_must_be_in_the_context() -> None:
    task = QuestionAnswering()
    inputs = {"question": "who?", "context": "It was Ada and Ada."}
    task.check_row(inputs, task.target_cell({"text": "Ada", "start": 15}))
    assert place({"text": "Ada", "start": -1}, inputs["context"]) == (7, 10)
    with pytest.raises(CellError, match=r'not in the context: "Bob"\. Copy it letter by letter'):
        task.check_row(inputs, task.target_cell("Bob"))
    with pytest.raises(CellError, match=r"not in the context at 8.*stands first at 7"):
        task.check_row(inputs, task.target_cell({"text": "Ada", "start": 8}))


def test_a_question_that_leaves_no_room_is_refused(folder: Path) -> None:
    task = QuestionAnswering(AnswerSettings(stride=8))
    encoder = TextEncoder(folder, max_length=24)
    task.check_fit({"question": "the good word", "context": "a"}, encoder)
    with pytest.raises(CellError, match="leaves 3 tokens for the context, and the stride is 8") as caught:
        task.check_fit({"question": " ".join(["the"] * 18), "context": "a"}, encoder)
    assert caught.value.role == "question"


def test_the_best_spans_are_those_of_a_plain_search() -> None:
    draw = np.random.default_rng(1)
    logits, allowed = draw.normal(size=(17, 2)), draw.random(17) > 0.3
    expected = sorted(
        (-(logits[i, 0] + logits[j, 1]), i, j)
        for i in range(17)
        for j in range(i, min(17, i + 4))
        if allowed[i] and allowed[j]
    )[:5]
    found = best_spans(logits, allowed, 4, 5)
    assert [(i, j) for i, j, _ in found] == [(i, j) for _, i, j in expected]
    assert [score for *_, score in found] == pytest.approx([-score for score, *_ in expected])
    assert best_spans(logits, np.zeros(17, bool), 4, 5) == []


def test_the_threshold_is_the_best_of_all() -> None:
    draw = np.random.default_rng(2)
    for _ in range(20):
        leads, gains = draw.normal(size=30).round(1), draw.choice([-1.0, -0.5, 0.0, 1.0], 30)
        best = max(gains[leads > t].sum() for t in (-99, *np.unique(leads), 99))
        assert gains[leads > best_threshold(leads, gains)].sum() == best
    assert best_threshold(np.empty(0), np.empty(0)) == 0.0
    assert np.isfinite(best_threshold(np.array([np.inf, 1.0]), np.array([1.0, -1.0])))


def test_nothing_is_calibrated_where_every_question_has_an_answer() -> None:
    task = QuestionAnswering()
    assert task.fit_targets({json.dumps([{"start": -1, "text": "a"}]): 1}, None) == {"unanswerable": False}
    assert task.fit_targets({"[]": 1}, None) == {"unanswerable": True}
