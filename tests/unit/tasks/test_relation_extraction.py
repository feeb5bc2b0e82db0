"""Typed markers, direction, and texts that are cut around their entities."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.tiny import FILLER, build_model

from luthier.data.features import in_memory
from luthier.data.text import TextEncoder
from luthier.errors import DataError
from luthier.tasks.base import CellError
from luthier.tasks.relation_extraction import RelationExtraction, RelationSettings, around_entities, marked_parts


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> TextEncoder:
    return TextEncoder(build_model(tmp_path_factory.mktemp("model")), max_length=48)


def row(text: str, head: str, tail: str) -> dict[str, Any]:
    spans = [{"start": text.index(one), "end": text.index(one) + len(one), "label": "word"} for one in (head, tail)]
    return {"text": text, "head": spans[0], "tail": spans[1]}


def test_markers_say_type_and_direction() -> None:
    forward = row("good film bad", "good", "bad")
    backward = row("good film bad", "bad", "good")
    assert "".join(marked_parts(forward)) == "@ * word * good @ film # ^ word ^ bad #"
    assert "".join(marked_parts(backward)) == "# ^ word ^ good # film @ * word * bad @"


@pytest.mark.parametrize(
    ("before", "between", "after"), [(90, 3, 90), (90, 3, 0), (0, 3, 90), (40, 90, 40), (0, 200, 0)]
)
def test_both_entities_survive_any_cut(encoder: TextEncoder, before: int, between: int, after: int) -> None:
    words = [*FILLER * 20]
    text = " ".join([*words[:before], "good", *words[:between], "dreadful", *words[:after]])
    parts = marked_parts(row(text, "good", "dreadful"))
    cut = around_entities(parts, encoder)
    assert parts[1] in cut
    assert parts[3] in cut
    (encoded,) = encoder.encode([cut])
    assert encoded.full_length <= encoder.max_length
    assert encoded.full_length >= encoder.max_length - 12  # no more than needed is lost
    if between < 10:
        assert f"{parts[1]}{parts[2]}{parts[3]}" in cut


def test_a_feature_is_the_marked_text(encoder: TextEncoder) -> None:
    task = RelationExtraction()
    rows = [row("the good film is bad", "good", "bad"), row(" ".join(FILLER * 9 + ("good", "bad")), "good", "bad")]
    columns = {role: [task.input_cell(role, one[role]) for one in rows] for role in ("text", "head", "tail")}
    found = in_memory([task.encode(columns, np.arange(2), encoder, np.array([0, 1]), {})], task.fields(encoder))
    tokens = [encoder.token(int(one)) for one in found.row("input_ids", 0)]
    assert tokens.count("[UNK]") == 8  # this tiny tokenizer knows no markers
    assert [token for token in tokens if token in {"the", "good", "film", "is", "bad"}] == [
        "the",
        "good",
        "film",
        "is",
        "bad",
    ]
    assert found.scalar["full_length"][1] > encoder.max_length
    assert len(found.row("input_ids", 1)) <= encoder.max_length
    assert found.scalar["label"].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("change", "role", "message"),
    [
        ({"tail": {"start": 5, "end": 90, "label": "x"}}, "tail", "outside of the text: 5..90"),
        ({"head": {"start": 20, "end": 21, "label": "x"}}, "head", "outside of the text"),
        ({"tail": {"start": 2, "end": 6, "label": "x"}}, "tail", "must not overlap the head; got 0..4 and 2..6"),
    ],
)
def test_entities_that_do_not_fit_the_text_are_refused(change: dict[str, Any], role: str, message: str) -> None:
    with pytest.raises(CellError, match=message) as caught:
        RelationExtraction().check_row({**row("good film bad", "good", "bad"), **change}, "a")
    assert caught.value.role == role


def test_entities_that_leave_no_room_are_refused(encoder: TextEncoder) -> None:
    task = RelationExtraction()
    long = " ".join(FILLER * 4)
    task.check_fit(row("good film bad", "good", "bad"), encoder)
    with pytest.raises(CellError, match="cannot be kept whole: both entities need") as caught:
        task.check_fit(row(f"{long} bad", long, "bad"), encoder)
    assert caught.value.role == "head"


def test_the_none_class_is_a_label() -> None:
    task = RelationExtraction(RelationSettings(none="no"))
    assert task.fit_targets({"a": 1, "no": 2}, None)["none"] == 1
    with pytest.raises(DataError, match=r'none must be a label .a, b.; got "no"'):
        task.fit_targets({"a": 1, "b": 2}, None)
    assert RelationExtraction().fit_targets({"a": 1, "b": 2}, None)["none"] is None


def test_an_entity_is_an_object_or_its_json() -> None:
    task = RelationExtraction()
    entity = {"start": 1, "end": 2, "label": "x"}
    assert task.input_cell("head", entity) == task.input_cell("head", '{"end": 2, "start": 1, "label": "x"}') == entity
    for wrong in (None, "", "text", [1], {"start": 1}):
        with pytest.raises(CellError):
            task.input_cell("head", wrong)


def test_a_probe_has_two_entities() -> None:
    task = RelationExtraction()
    for text in ("one", "one two", "这部电影", "…"):
        cells = task.probe(text)
        task.check_row(cells, None)
