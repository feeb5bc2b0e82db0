from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from source_files import Reader, throwaway_reader

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
ONE_KIND = st.sampled_from(
    [TEXT, st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False), st.booleans()]
)
NAMES = st.lists(TEXT.filter(lambda name: name.strip()), min_size=1, max_size=4, unique=True)


@st.composite
def tables(draw: st.DrawFn) -> dict[str, list[Any]]:
    """Draw columns of one kind each, some values null."""
    rows = draw(st.integers(1, 8))
    names = draw(NAMES)
    return {name: draw(st.lists(draw(ONE_KIND) | st.none(), min_size=rows, max_size=rows)) for name in names}


@settings(max_examples=150, deadline=None)
@given(tables(), st.booleans(), st.booleans())
def test_values_come_back_with_their_types(table: dict[str, list[Any]], ascii_only: bool, drop_nulls: bool) -> None:
    rows = [dict(zip(table, values, strict=True)) for values in zip(*table.values(), strict=True)]
    if drop_nulls:
        rows[1:] = [{key: value for key, value in row.items() if value is not None} for row in rows[1:]]
    text = "".join(json.dumps(row, ensure_ascii=ascii_only) + "\n" for row in rows)
    with throwaway_reader() as read_file:
        read = read_file("a.jsonl", text)
        assert read.columns == list(table)
        assert not read.mixed
        for name, values in table.items():
            assert read.column(name) == values
            assert [type(value) for value in read.column(name)] == [type(value) for value in values]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=30) | st.text(st.sampled_from('{}[]":,\\u1eE.-tnN \r\n'), max_size=30).map(str.encode))
def test_skipping_keeps_the_good_rows(body: bytes) -> None:
    with throwaway_reader() as read_file:
        rows = read_file("a.jsonl", b'{"x": "first"}\n' + body, bad_rows="skip")
        assert json.dumps("first") in (rows.table.column("x")[0].as_py(), json.dumps(rows.table.column("x")[0].as_py()))


def test_types_and_missing_keys(read_file: Reader) -> None:
    rows = read_file("a.jsonl", '{"t": "NA", "n": 1, "b": true}\n{"f": 0.5, "t": null}\n')
    assert rows.columns == ["t", "n", "b", "f"]
    assert rows.table.schema.types == [pa.string(), pa.int64(), pa.bool_(), pa.float64(), pa.int64()]
    assert rows.column("n") == [1, None]
    assert rows.column("t") == ["NA", None]


def test_whole_numbers_and_fractions_are_numbers(read_file: Reader) -> None:
    rows = read_file("a.jsonl", '{"n": 1}\n{"n": 2.5}\n')
    assert rows.column("n") == [1.0, 2.5]
    assert not rows.mixed


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["a", 1], 'line 1 has the text "a", line 2 has the whole number 1.'),
        ([True, 1], "line 1 has the truth value true, line 2 has the whole number 1."),
        ([None, 1.5, [1]], "line 2 has the number 1.5, line 3 has the list or object [1]."),
        (["a", {"b": 1}], 'line 1 has the text "a", line 2 has the list or object {"b": 1}.'),
    ],
)
def test_mixed_types_are_named_with_two_lines(values: list[Any], message: str, read_file: Reader) -> None:
    rows = read_file("a.jsonl", "".join(json.dumps({"x": value}) + "\n" for value in values))
    assert rows.mixed == (("x", f'column "x" must have one type; {message}'),)
    assert [None if cell is None else json.loads(cell) for cell in rows.table.column("x").to_pylist()] == values


def test_nested_values_are_kept_as_json(read_file: Reader) -> None:
    rows = read_file("a.jsonl", '{"x": {"好": [1, null]}}\n{"x": null}\n{"x": []}\n')
    assert rows.column("x") == ['{"好": [1, null]}', None, "[]"]
    assert [(repair.code, repair.count) for repair in rows.repairs] == [("nested-value", 2)]


def test_column_of_nulls(read_file: Reader) -> None:
    assert read_file("a.jsonl", '{"x": null, "y": 1}\n').column("x") == [None]


def test_objects_without_keys(read_file: Reader) -> None:
    rows = read_file("a.jsonl", '{}\n{"x": 1}\n')
    assert rows.column("x") == [None, 1]


def test_places_skip_what_was_left_out(read_file: Reader) -> None:
    rows = read_file("a.ndjson", '\n{"x": 1}\nnonsense\n{"x": 2}\n', bad_rows="skip")
    assert [rows.place(i) for i in range(2)] == ["a.ndjson:2", "a.ndjson:4"]


def test_limit(read_file: Reader) -> None:
    assert read_file("a.jsonl", '{"x": 1}\n{"x": 2}\n{"x": "c"}\nbroken', limit=2).column("x") == [1, 2]


def test_many_batches(read_file: Reader) -> None:
    rows = read_file("a.jsonl", "".join(f'{{"x": {i}}}\n' for i in range(20_000)))
    assert rows.column("x") == list(range(20_000))
    assert rows.place(19_999) == "a.jsonl:20000"
