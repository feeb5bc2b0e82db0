"""Documents and the spans in them."""

from __future__ import annotations

import pytest

from luthier.tasks.base import CellError
from luthier.tasks.entities import Span, document_of, overlapping, span_of, units_of, words_cell


def test_units_are_words_and_chinese_characters() -> None:
    text = "Ada's 北京 office, B-52 über カナ_x"
    found = [text[start:end] for start, end in units_of(text)]
    assert found == ["Ada", "'", "s", "北", "京", "office", ",", "B", "-", "52", "über", "カ", "ナ", "_x"]


def test_words_are_joined_by_spaces_but_in_chinese_by_nothing() -> None:
    found = document_of(["江泽民", "在", "北京", "met", "Ada", "，", "好"])
    assert found.text == "江泽民在北京 met Ada ，好"
    assert found.words is not None
    assert [found.text[start:end] for start, end in found.words] == ["江泽民", "在", "北京", "met", "Ada", "，", "好"]
    assert found.units == found.words
    assert document_of("a b").words is None


def test_words_come_as_lists_or_json() -> None:
    assert words_cell(["a", "b"]) == words_cell('["a", "b"]') == ["a", "b"]
    assert words_cell("a b") is None
    assert words_cell("[1, 2]") is None
    assert words_cell("[a text in brackets") is None
    with pytest.raises(CellError, match="word 2 is empty"):
        words_cell(["a", " "])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"start": 0, "end": 3}, "start, end and label"),
        ({"start": 0, "end": "3", "label": "P"}, "whole numbers"),
        ({"start": True, "end": 3, "label": "P"}, "whole numbers"),
        ({"start": 3, "end": 3, "label": "P"}, "0 <= start < end; got 3..3"),
        ({"start": -1, "end": 3, "label": "P"}, "0 <= start < end"),
        ({"start": 0, "end": 3, "label": ""}, "label that is text"),
        ("P", "start, end and label"),
    ],
)
def test_what_is_no_span_is_refused(value: object, message: str) -> None:
    with pytest.raises(CellError, match=message):
        span_of(value)


def test_the_span_with_most_in_common_is_taken() -> None:
    spans = [Span(0, 4, "a"), Span(4, 9, "b"), Span(20, 30, "c")]
    assert overlapping(spans, (2, 6)) in {0, 1}
    assert overlapping(spans, (3, 8)) == 1
    assert overlapping(spans, (0, 5)) == 0
    assert overlapping(spans, (9, 20)) is None
    assert overlapping(spans, (29, 40)) == 2
