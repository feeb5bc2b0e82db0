"""From rows to features and back: windows, offsets, classes, and what no token reaches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.tiny import build_decoder, build_model
from tests.tiny_spans import spanned, tagged

from luthier.data.features import Features, in_memory
from luthier.data.text import TextEncoder
from luthier.errors import DataError, ModelError
from luthier.evaluation.entities import match, predicted_spans, true_spans
from luthier.metrics.matches import micro_f1
from luthier.tasks.base import CellError, Scored
from luthier.tasks.token_classification import TokenClassification, TokenSettings, merged

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def bytes_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose tokens are bytes, so that a Chinese character is three of them."""
    return build_decoder(tmp_path_factory.mktemp("decoder"))


def features_of(task: TokenClassification, rows: Rows, encoder: TextEncoder) -> tuple[Features, Any, Rows]:
    inputs = [{"text": task.input_cell("text", row.get("text", row.get("words")))} for row in rows]
    cells = [task.target_cell(row.get("spans", row.get("tags"))) for row in rows]
    targets = task.fit_targets(dict.fromkeys(cells, 1), None)
    columns = {"text": [row["text"] for row in inputs], "spans": cells}
    block = task.encode(columns, np.arange(len(rows)), encoder, np.zeros(len(rows), np.int64), targets)
    return in_memory([block], task.fields(encoder)), targets, inputs


def perfect(found: Features, classes: int, *, sure: float = 9.0) -> Any:
    """Return logits that say what the features' labels say."""
    logits = np.empty(len(found), dtype=object)
    for number in range(len(found)):
        labels = found.row("labels", number)
        logits[number] = np.zeros((len(labels), classes))
        own = np.flatnonzero(labels >= 0)
        logits[number][own, labels[own]] = sure
    return logits


@pytest.mark.parametrize("length", [12, 24, 64])
@pytest.mark.parametrize("tagging", ["bio", "bioes"])
@pytest.mark.parametrize("form", ["spans", "words"])
def test_a_perfect_model_finds_every_entity_through_any_windows(
    folder: Path, length: int, tagging: str, form: str
) -> None:
    task = TokenClassification(TokenSettings(stride=5, tagging=tagging))  # type: ignore[arg-type]
    rows = spanned(30, 1, longest=70) if form == "spans" else tagged(30, 1, longest=70)
    found, targets, inputs = features_of(task, rows, TextEncoder(folder, max_length=length))
    scored = Scored({"logits": perfect(found, len(targets["classes"]))}, found, np.arange(len(found)), inputs)
    assert length == 64 or len(found) > 2 * len(rows)
    gold = [
        true_spans(cells, task.target_cell(row.get("spans", row.get("tags"))))
        for cells, row in zip(inputs, rows, strict=True)
    ]
    answers = [one.as_dict() for one in task.decode(scored, targets, {})]
    assert [predicted_spans(one) for one in answers] == gold
    if form == "words":
        assert all(len(one["tags"]) == len(row["words"]) for one, row in zip(answers, rows, strict=True))
        if tagging == "bio":
            assert [one["tags"] for one in answers] == [row["tags"] for row in rows]
    for one, cells in zip(answers, inputs, strict=True):
        text = cells["text"] if isinstance(cells["text"], str) else " ".join(cells["text"])
        assert all(text[e["start"] : e["end"]] == e["text"] and e["score"] > 0.99 for e in one["entities"])


def test_offsets_hold_where_a_character_is_several_tokens(bytes_folder: Path) -> None:
    task = TokenClassification(TokenSettings(stride=6))
    text = "江泽民在北京。😀 Ada Lovelace 也在"
    spans = [(0, 3, "PER"), (4, 6, "LOC"), (9, 21, "PER")]
    rows = [{"text": text, "spans": [{"start": a, "end": b, "label": label} for a, b, label in spans]}]
    found, targets, inputs = features_of(task, rows, TextEncoder(bytes_folder, max_length=20))
    assert len(found) == 3
    scored = Scored({"logits": perfect(found, len(targets["classes"]))}, found, np.arange(len(found)), inputs)
    (answer,) = task.decode(scored, targets, {})
    assert [(e.start, e.end, e.label) for e in answer.entities] == spans
    assert [e.text for e in answer.entities] == ["江泽民", "北京", "Ada Lovelace"]


def test_only_the_first_token_of_a_word_is_learnt(folder: Path) -> None:
    task = TokenClassification(TokenSettings(stride=4))
    encoder = TextEncoder(folder, max_length=64)
    rows = [{"text": "the abcd film", "spans": [{"start": 4, "end": 8, "label": "X"}]}]
    found, targets, _ = features_of(task, rows, encoder)
    tokens = [encoder.token(int(one)) for one in found.row("input_ids", 0)]
    assert tokens == ["[CLS]", "the", "a", "##b", "##c", "##d", "film", "[SEP]"]
    assert found.row("labels", 0).tolist() == [-100, 0, targets["classes"].index("B-X"), -100, -100, -100, 0, -100]
    assert found.scalar["labelled"].tolist() == [3]


def test_a_word_that_reaches_no_token_still_counts_as_missed(folder: Path) -> None:
    task = TokenClassification(TokenSettings(stride=4))
    lost = "\u200d\u200d"  # the tokenizer drops it
    rows = [
        {"words": ["the", lost, "film", "good"], "tags": ["O", "B-X", "O", "B-X"]},
        {"words": ["a", "good", lost], "tags": ["O", "B-X", "I-X"]},
    ]
    found, targets, inputs = features_of(task, rows, TextEncoder(folder, max_length=64))
    assert [len(found.row("input_ids", row)) for row in (0, 1)] == [5, 4]
    scored = Scored({"logits": perfect(found, len(targets["classes"]))}, found, np.arange(2), inputs)
    answers = [one.as_dict() for one in task.decode(scored, targets, {})]
    gold = [true_spans(cells, task.target_cell(row["tags"])) for cells, row in zip(inputs, rows, strict=True)]
    scores = match(gold, [predicted_spans(one) for one in answers], ["X"])
    assert scores.there.sum() == 3
    assert scores.right.sum() == 1
    assert micro_f1(scores) == pytest.approx(2 / 5)


def test_each_token_is_taken_from_the_window_with_most_context(folder: Path) -> None:
    task = TokenClassification(TokenSettings(stride=6))
    rows = [{"text": " ".join(["the", "film", "is", "good"] * 8), "spans": [{"start": 0, "end": 3, "label": "X"}]}]
    found, _, inputs = features_of(task, rows, TextEncoder(folder, max_length=14))
    logits = np.empty(len(found), dtype=object)
    for number in range(len(found)):  # each window says its own number
        logits[number] = np.full((len(found.row("input_ids", number)), 1), float(number))
    places, chosen = merged(Scored({"logits": logits}, found, np.arange(len(found)), inputs), np.arange(len(found)))
    assert len(places) == 32
    owner = {}
    for number in range(len(found)):
        starts = found.row("place_starts", number)
        for token, start in enumerate(starts.tolist()):
            if start >= 0:
                left = np.inf if number == 0 else token
                right = np.inf if number == len(found) - 1 else len(starts) - 1 - token
                owner.setdefault(start, []).append((-min(left, right), number))
    assert chosen[:, 0].tolist() == [min(owner[start])[1] for start in places[:, 0].tolist()]
    assert np.all(np.diff(chosen[:, 0]) >= 0)
    assert max(len(one) for one in owner.values()) > 1


def test_with_context_line_a_text_has_the_entities_of_its_lines(folder: Path) -> None:
    task = TokenClassification(TokenSettings(stride=5, context="line"))
    texts = [row["text"] for row in spanned(12, 3, longest=40)]
    whole = "\n\n".join(texts) + "\n"
    rows = [
        {"text": whole, "spans": [{"start": 0, "end": 1, "label": "X"}]},
        *({"text": t, "spans": []} for t in texts),
    ]
    found, targets, inputs = features_of(task, rows, TextEncoder(folder, max_length=14))
    assert len(found) > 2 * len(rows)
    logits = np.empty(len(found), dtype=object)
    for number in range(len(found)):  # what a model would say that sees the whole window
        ids = found.row("input_ids", number)
        seed = np.random.default_rng(ids.astype(np.uint32))
        logits[number] = seed.normal(size=(len(ids), len(targets["classes"])))
    answers = task.decode(Scored({"logits": logits}, found, np.arange(len(found)), inputs), targets, {})
    start, alone = 0, []
    for text, answer in zip(texts, answers[1:], strict=True):
        alone += [(start + one.start, start + one.end, one.score) for one in answer.entities]
        start += len(text) + 2
    assert [(one.start, one.end, one.score) for one in answers[0].entities] == alone
    assert len(alone) > 20


def test_cells_of_csv_are_the_same_as_real_lists() -> None:
    task = TokenClassification()
    spans = [{"start": 4, "end": 6, "label": "L"}, {"end": 3, "label": "P", "start": 0}]
    assert task.target_cell(spans) == task.target_cell(json.dumps(spans))
    assert json.loads(task.target_cell(spans))[0]["start"] == 0
    assert task.target_cell(["B-P", "O"]) == task.target_cell('["B-P", "O"]') == task.target_cell("B-P O")
    assert task.target_cell("P P O") == task.target_cell(["B-P", "I-P", "O"])
    assert task.input_cell("text", '["a", "b"]') == ["a", "b"]
    assert TokenClassification(TokenSettings(input="text")).input_cell("text", '["a", "b"]') == '["a", "b"]'
    assert TokenClassification(TokenSettings(input="words")).input_cell("text", "a b") == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "target", "message"),
    [
        ("ab cd", [{"start": 3, "end": 9, "label": "X"}], "offsets outside of the text: 3..9 .X. in a text of 5"),
        (
            "ab cd",
            [{"start": 0, "end": 4, "label": "X"}, {"start": 3, "end": 5, "label": "Y"}],
            r"overlapping spans: 0..4 .X. and 3..5 .Y.",
        ),
        (["ab", "cd"], ["B-X"], "as many tags as words; got 1 for 2 words"),
        ("ab cd", ["B-X", "O"], "the text must come as words"),
    ],
)
def test_rows_whose_cells_do_not_go_together_are_refused(text: Any, target: Any, message: str) -> None:
    task = TokenClassification()
    with pytest.raises(CellError, match=message):
        task.check_row({"text": task.input_cell("text", text)}, task.target_cell(target))


@pytest.mark.parametrize(
    ("target", "message"),
    [(None, "is absent"), ("", "is absent"), (5, "list of spans or of tags"), ("[1]", "start, end and label")],
)
def test_cells_that_are_no_targets_are_refused(target: Any, message: str) -> None:
    with pytest.raises(CellError, match=message):
        TokenClassification().target_cell(target)


def test_labels_are_those_of_training(folder: Path) -> None:
    task = TokenClassification()
    with pytest.raises(DataError, match="must have entities; got none"):
        task.fit_targets({"[]": 4}, None)
    cells = {task.target_cell([{"start": 0, "end": 1, "label": label}]): 1 for label in ("b", "a")}
    assert task.fit_targets(cells, None)["classes"] == ["O", "B-a", "I-a", "B-b", "I-b"]
    assert task.fit_targets(cells, ["b", "a"])["entities"] == ["b", "a"]
    with pytest.raises(DataError, match="must list the labels of the training entities"):
        task.fit_targets(cells, ["a"])


def test_a_stride_as_long_as_a_window_is_refused(folder: Path) -> None:
    task = TokenClassification(TokenSettings(stride=10))
    with pytest.raises(ModelError, match="less than the 10 tokens of a window; got 10"):
        features_of(task, spanned(2), TextEncoder(folder, max_length=12))
