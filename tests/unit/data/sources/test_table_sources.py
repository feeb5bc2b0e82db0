from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from luthier.data.rows import Rows
from luthier.data.sources import read
from luthier.errors import DataError


def _read(source: Any, folder: Path, **options: Any) -> Rows:
    return read(source, folder=folder, cache=folder / "cache", **options)


def test_frame(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "text": ["a", None, "NA"],
            "label": pd.Categorical(["x", "y", "x"]),
            "maybe": [True, None, False],
            "number": [1, np.nan, 3],
            "whole": pd.array([1, None, 3], dtype="Int64"),
            7: ["p", "q", "r"],
        },
        index=["i", "j", "k"],
    )
    rows = _read(frame, tmp_path)
    assert rows.table.to_pydict() == {
        "text": ["a", None, "NA"],
        "label": ["x", "y", "x"],
        "maybe": [True, None, False],
        "number": [1.0, None, 3.0],
        "whole": [1, None, 3],
        "7": ["p", "q", "r"],
    }
    assert rows.source == "DataFrame"
    assert rows.place(1) == "DataFrame row 2"


def test_frame_with_several_types_in_a_column(tmp_path: Path) -> None:
    frame = pd.DataFrame({"text": ["a", "b", "c"], "label": [None, 1, "z"]}, dtype=object)
    rows = _read(frame, tmp_path)
    assert rows.mixed == (
        ("label", "column \"label\" must have one type; row 2 has the int 1, row 3 has the str 'z'."),
    )
    assert rows.table.column("label").to_pylist() == [None, "1", '"z"']
    assert _read(frame, tmp_path).mixed == rows.mixed
    with pytest.raises(DataError, match=r"^DataFrame: column \"label\" must have one type"):
        rows.column("label")


def test_frame_with_objects_of_ones_own(tmp_path: Path) -> None:
    frame = pd.DataFrame({"text": ["a"], "path": [Path("b")]}, dtype=object)
    [(column, message)] = _read(frame, tmp_path).mixed
    assert column == "path"
    assert message.startswith('column "path" must hold texts, numbers, truth values or dates; row 1 has the PosixPath')


def test_frame_with_dates(tmp_path: Path) -> None:
    day = datetime.datetime(2024, 5, 6)
    assert _read(pd.DataFrame({"when": [day]}), tmp_path).column("when") == [day]


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pd.DataFrame([["a", "b"]], columns=["t", "t"]), '"t" names columns 1, 2'),
        (pd.DataFrame([["a", "b"]], columns=["t", ""]), "column 2 of 2 has none"),
        (pd.DataFrame({"t": []}), "has no rows"),
        (pd.DataFrame({"t": ["a", "b \ud83d"]}, dtype=object), 'column "t" of row 2 holds half of a surrogate pair'),
    ],
    ids=["twice", "unnamed", "empty", "surrogate"],
)
def test_frame_that_is_refused(frame: pd.DataFrame, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        _read(frame, tmp_path)
    assert message in str(caught.value)
    assert caught.value.where == "DataFrame"
    assert caught.value.fix


def test_content_decides_the_fingerprint(tmp_path: Path) -> None:
    whole = pa.table({"t": [str(i) for i in range(20_000)]})
    parts = pa.concat_tables([whole.slice(0, 7), whole.slice(7, 9_000), whole.slice(9_007)])
    large = whole.cast(pa.schema([("t", pa.large_string())]))
    frame = whole.to_pandas()
    prints = {_read(table, tmp_path).fingerprint for table in (whole, parts, large, frame, frame.set_index(frame["t"]))}
    assert len(prints) == 1
    assert _read(whole.slice(1), tmp_path).fingerprint not in prints
    assert _read(whole.rename_columns(["u"]), tmp_path).fingerprint not in prints


def test_limit(tmp_path: Path) -> None:
    table = pa.table({"t": list(range(20_000))})
    assert _read(table, tmp_path, limit=10_000).column("t") == list(range(10_000))


@pytest.mark.parametrize("source", [None, 3, ["a"], {"t": ["a"]}, b"a.csv"])
def test_other_things_are_refused(source: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="must be a path, a data set id, a pandas DataFrame or an Arrow table; got"):
        _read(source, tmp_path)


def test_options_of_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^data\.delimiter: must be left out for DataFrame; got ';'\."):
        _read(pd.DataFrame({"t": ["a"]}), tmp_path, delimiter=";")
