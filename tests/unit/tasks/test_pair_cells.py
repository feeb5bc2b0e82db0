"""What embedding and reranking make of cells, and which set-ups they refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from luthier.data.text import TextEncoder
from luthier.errors import DataError
from luthier.tasks.base import CellError
from luthier.tasks.embedding import Embedding, EmbeddingSettings
from luthier.tasks.reranking import Ranking, Reranking, RerankingSettings, relevances

LIST = ["one", "two", "three"]


def test_every_feature_of_a_row_says_how_long_its_longest_text_is(tiny_model: Path) -> None:
    encoder = TextEncoder(tiny_model, max_length=6)
    columns = {
        "query": ["a", "the film"],
        "passages": [["is", "is a story of the cast"], "it"],
        "relevance": ["1", "1"],
    }
    block = Reranking().encode(columns, np.arange(2), encoder, np.zeros(2, np.int64), {})
    assert block.group.tolist() == [0, 0, 1]
    assert block.scalar["full_length"].tolist() == [10, 10, 6]
    assert [len(ids) for ids in block.ragged["input_ids"]] == [5, 6, 6]
    assert block.scalar["relevance"].tolist() == [0, 1, 1]
    assert block.scalar["list"].tolist() == [0, 0, 1]


@pytest.mark.parametrize("cell", [LIST, json.dumps(LIST), f"  {json.dumps(LIST)}"])
def test_passages_come_as_a_list_or_as_its_text(cell: Any) -> None:
    assert Reranking().input_cell("passages", cell) == LIST
    assert Reranking().input_cell("passages", "[not a list") == "[not a list"


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ([], "must have at least one passage"),
        (["a", ""], "passage 1 is empty"),
        (["a", 3], "passage 1 must be text; got int 3"),
        (None, "is absent"),
        ({"a": 1}, "must be text; got dict"),
    ],
)
def test_other_passages_are_refused(cell: Any, message: str) -> None:
    with pytest.raises(CellError, match=message):
        Reranking().input_cell("passages", cell)


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        (1, [0, 1, 0]),
        ("1", [0, 1, 0]),
        ("[0, 0.5, 1]", [0, 0.5, 1]),
        ([False, True, True], [0, 1, 1]),
        (2.0, [0, 0, 1]),
    ],
)
def test_relevance_is_a_place_or_a_number_for_each(cell: Any, expected: list[float]) -> None:
    assert relevances(LIST, Reranking().target_cell(cell)) == expected


@pytest.mark.parametrize(
    ("loss", "passages", "cell", "message"),
    [
        ("listwise", LIST, 3, "must be the place of one of 3 passages, counted from 0; got 3"),
        ("listwise", LIST, 0.5, "must be the place of one of 3 passages"),
        ("listwise", LIST, [1, 0], "must have a number for each of 3 passages; got 2"),
        ("listwise", LIST, [0, 0, 0], "must name a relevant passage"),
        ("pairwise", LIST, [1, 1, 1], "must differ between the passages"),
        ("listwise", "one text", 1, "must come with a list of passages for the loss listwise"),
        ("pointwise", LIST, [0, 2, 0], "must be between 0 and 1 for the loss pointwise; got 2"),
        ("pointwise", LIST, [0, -1, 0], "must be 0 or more"),
        ("pointwise", LIST, "much", "must be a number; got str 'much'"),
        ("pointwise", LIST, None, "is absent"),
    ],
)
def test_relevance_that_does_not_fit_is_refused(loss: str, passages: Any, cell: Any, message: str) -> None:
    task = Reranking(RerankingSettings(loss=loss))
    with pytest.raises(CellError, match=message):
        task.check_row({"query": "q", "passages": passages}, task.target_cell(cell))


def test_a_row_of_one_text_has_a_number() -> None:
    task = Reranking()
    for cell, expected in ((1, [1.0]), ("0", [0.0]), ("true", [1.0]), (0.25, [0.25])):
        assert relevances("one text", task.target_cell(cell)) == expected
        task.check_row({"query": "q", "passages": "one text"}, task.target_cell(cell))


def test_an_answer_is_sorted_and_equal_scores_keep_their_order() -> None:
    found = Ranking(("a", "b", "c", "d"), (0.5, 2.0, 0.5, -1.0))
    assert found.as_dict() == {"scores": [0.5, 2.0, 0.5, -1.0], "order": [1, 0, 2, 3]}
    assert found.as_columns() == {"best": "b", "scores": "[0.5, 2.0, 0.5, -1.0]", "order": "[1, 0, 2, 3]"}


@pytest.mark.parametrize(
    ("loss", "extra", "message"),
    [
        ("triplet", [], "data.columns.negative must name a column for the loss triplet"),
        ("cosine", [], "data.columns.score must name a column for the loss cosine"),
        ("contrastive", ["negative"], "data.columns.score must name a column"),
        ("multiple-negatives", ["score"], "data.columns.score must be absent: the loss multiple-negatives"),
        ("auto", ["score", "negative"], "data.columns.negative must be absent: the loss cosine"),
    ],
)
def test_a_loss_without_its_columns_is_refused(loss: str, extra: list[str], message: str) -> None:
    columns = {role: role for role in ("text", "positive", *extra)}
    with pytest.raises(DataError, match=message):
        Embedding(EmbeddingSettings(loss=loss)).check_columns(columns)


@pytest.mark.parametrize(
    ("loss", "extra"),
    [("auto", []), ("auto", ["negative"]), ("auto", ["score"]), ("triplet", ["negative"]), ("contrastive", ["score"])],
)
def test_a_loss_with_its_columns_is_not(loss: str, extra: list[str]) -> None:
    Embedding(EmbeddingSettings(loss=loss)).check_columns({role: role for role in ("text", "positive", *extra)})


@pytest.mark.parametrize(
    ("loss", "role", "cell", "message"),
    [
        ("cosine", "score", "2", "must be between -1 and 1; got '2'"),
        ("cosine", "score", "nan", "must be a number"),
        ("contrastive", "score", 0.5, "must be 0 or 1 for the loss contrastive"),
        ("auto", "kind", "document", "must be one of query, passage; got 'document'"),
        ("auto", "negative", " ", "is empty"),
        ("auto", "negative", "[]", "must have at least one text"),
        ("auto", "negative", ["a", ""], "is empty"),
    ],
)
def test_other_cells_are_refused(loss: str, role: str, cell: Any, message: str) -> None:
    with pytest.raises(CellError, match=message):
        Embedding(EmbeddingSettings(loss=loss)).input_cell(role, cell)


def test_a_negative_is_a_text_or_several() -> None:
    task = Embedding()
    assert task.input_cell("negative", "one") == "one"
    assert task.input_cell("negative", '["one", "two"]') == ["one", "two"]


def test_prefixes_go_by_kind() -> None:
    task = Embedding(EmbeddingSettings(query_prefix="query: ", passage_prefix="passage: "))
    assert task.plain_texts({"text": "a"}) == ("query: a",)
    assert task.plain_texts({"text": "a", "kind": "passage"}) == ("passage: a",)
    assert task.input_cell("kind", None) == "query"


@pytest.mark.parametrize("settings", [EmbeddingSettings, RerankingSettings])
def test_an_unknown_loss_is_refused(settings: Any) -> None:
    with pytest.raises(ValueError, match=r'loss must be one of .*; got "hinge"'):
        settings(loss="hinge")
