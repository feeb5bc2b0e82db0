from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from luthier.data.infer import ROWS, Guess, infer
from luthier.data.sources import read
from luthier.errors import DataError

OPINIONS = [f"film number {i} was {'good' if i % 2 else 'bad'}" for i in range(40)]
Look = Callable[..., Guess]


@pytest.fixture
def look(tmp_path: Path) -> Look:
    """Give a function that writes columns to a file and looks at it."""

    def look_at(name: str = "a.csv", delimiter: str = ",", encoding: str = "utf-8", **columns: list[Any]) -> Guess:
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        if name.endswith("jsonl"):
            text = "".join(json.dumps(row) + "\n" for row in rows)
        else:
            sink = io.StringIO()
            writer = csv.DictWriter(sink, list(columns), delimiter=delimiter)
            writer.writeheader()
            writer.writerows(rows)
            text = sink.getvalue()
        (tmp_path / name).write_bytes(text.encode(encoding))
        return infer(name, folder=tmp_path, cache=tmp_path / "cache")

    return look_at


def test_usual_names(look: Look) -> None:
    guess = look(id=list(range(40)), text=OPINIONS, label=["pos", "neg"] * 20)
    assert guess.columns == {"text": "text", "label": "label"}
    assert guess.labels == ("neg", "pos")
    assert (guess.rows, guess.format, guess.delimiter) == (40, "csv", None)
    assert guess.notes == (
        'The text is taken from the column "text": 40 of 40 values differ, 22 characters on average.',
        'The label is taken from the column "label": 2 values, "neg" (20), "pos" (20).',
    )


def test_the_guess_can_be_read(look: Look, tmp_path: Path) -> None:
    guess = look(delimiter=";", opinion=[f"{text}, all in all; yes" for text in OPINIONS], mood=["a", "b"] * 20)
    rows = read("a.csv", folder=tmp_path, cache=tmp_path / "cache", delimiter=guess.delimiter)
    assert {rows.column(column)[0] for column in guess.columns.values()} == {f"{OPINIONS[0]}, all in all; yes", "a"}


def test_names_that_say_nothing(look: Look) -> None:
    guess = look(a=[f"key-{i}" for i in range(40)], b=["x", "y", "x", "x"] * 10, c=OPINIONS, d=list(range(40)))
    assert guess.columns == {"text": "c", "label": "b"}


def test_chinese(look: Look) -> None:
    texts = [f"第{i}部电影很{'好看' if i % 3 else '无聊'}" for i in range(40)]
    guess = look(
        编号=list(range(40)), 评论内容=texts, 城市=["北京", "上海"] * 20, 情感标签=["好", "坏", "好", "中"] * 10
    )
    assert guess.columns == {"text": "评论内容", "label": "情感标签"}
    assert any("城市" in note for note in guess.notes), "the other candidate is named"


def test_a_name_beats_a_longer_text_and_fewer_values(look: Look) -> None:
    links = [f"https://example.org/a/very/long/path/to/nothing/{i}" for i in range(40)]
    guess = look(link=links, review=OPINIONS, verified=["yes", "no"] * 20, review_category=["a", "b", "c", "d"] * 10)
    assert guess.columns == {"text": "review", "label": "review_category"}


def test_longest_text_of_several(look: Look) -> None:
    guess = look(headline=[text[:13] for text in OPINIONS], story=[text * 5 for text in OPINIONS], kind=["a", "b"] * 20)
    assert guess.columns["text"] == "story"


@pytest.mark.parametrize(
    ("values", "labels"),
    [([0, 1] * 20, ("0", "1")), ([10, 9, 2, 1] * 10, ("1", "2", "9", "10")), ([True, False] * 20, ("false", "true"))],
)
def test_labels_of_json_lines(values: list[Any], labels: tuple[str, ...], look: Look) -> None:
    guess = look("a.jsonl", text=OPINIONS, score=[i / 7 for i in range(40)], label=values)
    assert (guess.columns["label"], guess.labels, guess.format) == ("label", labels, "jsonl")


def test_missing_labels_are_not_labels(look: Look) -> None:
    assert look("a.jsonl", text=OPINIONS, label=[None, "a", "b", "a"] * 10).labels == ("a", "b")
    assert look(text=OPINIONS, label=["", "a", "b", "a"] * 10).labels == ("a", "b")


@pytest.mark.parametrize(("delimiter", "words"), [(";", "a semicolon"), ("\t", "a tab"), ("|", "a bar")])
def test_delimiter(delimiter: str, words: str, look: Look) -> None:
    guess = look(delimiter=delimiter, encoding="utf-8-sig", text=[f"{t}, yes" for t in OPINIONS], label=["a", "b"] * 20)
    assert guess.delimiter == delimiter
    assert guess.columns == {"text": "text", "label": "label"}
    assert f"kept apart by {words}" in guess.notes[0]


def test_own_delimiter_needs_no_mention(look: Look) -> None:
    texts = [f"{text}; really; | {i}" for i, text in enumerate(OPINIONS)]
    assert look(text=texts, label=["a", "b"] * 20).delimiter is None
    assert look("a.tsv", "\t", text=[f"{text}, yes" for text in texts], label=["a", "b"] * 20).delimiter is None


def test_bad_rows_are_noted(look: Look, tmp_path: Path) -> None:
    look(text=OPINIONS, label=["a", "b"] * 20)
    with (tmp_path / "a.csv").open("a") as stream:
        stream.write("one cell\n")
    guess = infer("a.csv", folder=tmp_path, cache=tmp_path / "cache")
    assert guess.rows == 40
    assert "a.csv:42: the row has 1 cell instead of 2." in guess.notes[0]


def test_many_bad_rows_are_an_error(look: Look, tmp_path: Path) -> None:
    look(text=OPINIONS, label=["a", "b"] * 20)
    with (tmp_path / "a.csv").open("a") as stream:
        stream.write("one cell\n" * 20)
    with pytest.raises(DataError, match="20 rows cannot be read"):
        infer("a.csv", folder=tmp_path, cache=tmp_path / "cache")


def test_foreign_encoding_is_an_error(look: Look) -> None:
    with pytest.raises(DataError, match=r"a\.csv:2: .* is not utf-8.*gb18030"):
        look(encoding="gb18030", text=["我很喜欢", "很无聊"] * 20, label=["a", "b"] * 20)


def test_mixed_columns_are_noted(look: Look) -> None:
    guess = look("a.jsonl", text=OPINIONS, label=["a", "b"] * 20, other=[1, "x"] * 20)
    assert any('column "other" must have one type' in note for note in guess.notes)


def test_only_the_first_rows_are_looked_at(look: Look) -> None:
    guess = look(text=[f"text number {i}" for i in range(ROWS)] + ["more"], label=["a", "b"] * (ROWS // 2) + ["c"])
    assert guess.rows == ROWS
    assert guess.labels == ("a", "b")
    assert "Only the first 10,000 rows" in guess.notes[-1]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"a": [1.5] * 40, "b": list(range(40))},
            'must have a column of texts; the columns of its first 40 rows are "a"',
        ),
        ({"text": OPINIONS}, "no other column"),
        ({"text": OPINIONS, "n": list(range(40))}, '"n" (40 different values, such as "0")'),
        ({"text": OPINIONS, "label": ["a"] * 40}, '"label" (one value "a")'),
        ({"text": OPINIONS, "label": [None] * 40}, '"label" (empty)'),
        ({"text": OPINIONS, "label": [0.5, 0.25] * 20}, '"label" (fractions, dates or lists)'),
    ],
)
def test_nothing_found_says_what_was_seen(columns: dict[str, list[Any]], message: str, look: Look) -> None:
    with pytest.raises(DataError) as caught:
        look("a.jsonl", **columns)
    assert message in str(caught.value)
    assert caught.value.where == "a.jsonl"
    assert "data.columns" in str(caught.value)


def test_table_without_a_header(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("".join(f"{text},{i % 2}\n" for i, text in enumerate(OPINIONS)))
    with pytest.raises(DataError, match=r'a\.csv:1: must begin with a header; .* \("0" is also a label\)'):
        infer("a.csv", folder=tmp_path, cache=tmp_path / "cache")


def test_parquet(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"text": OPINIONS, "label": ["a", "b"] * 20}), tmp_path / "a.parquet")
    guess = infer("a.parquet", folder=tmp_path, cache=tmp_path / "cache")
    assert (guess.columns, guess.format) == ({"text": "text", "label": "label"}, "parquet")
