from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from source_files import Reader

from luthier.data.sources import read
from luthier.errors import DataError

TABLE = pa.table({"text": ["a", None, "NA"], "label": [1, 2, None], "score": [0.5, None, 1.0]})
BATCHED = pa.table({"n": list(range(20_000))})


def _bytes(table: pa.Table, kind: str, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    if kind == "parquet":
        pq.write_table(table, sink, **options)
    else:
        make = pa.ipc.new_file if kind == "file" else pa.ipc.new_stream
        with make(sink, table.schema, **options) as writer:
            writer.write_table(table)
    return sink.getvalue().to_pybytes()


KINDS = [
    ("a.parquet", "parquet"),
    ("a.pq", "parquet"),
    ("a.arrow", "file"),
    ("a.arrows", "stream"),
    ("a.ipc", "stream"),
]


@pytest.mark.parametrize(("name", "kind"), KINDS)
def test_values_and_types_are_kept(name: str, kind: str, read_file: Reader) -> None:
    rows = read_file(name, _bytes(TABLE, kind))
    assert rows.table.to_pydict() == TABLE.to_pydict()
    assert rows.table.schema.types == TABLE.schema.types
    assert rows.place(2) == f"{name} row 3"


@pytest.mark.parametrize(("name", "kind"), [("a.parquet", "parquet"), ("a.arrow", "file"), ("a.arrow", "stream")])
def test_many_rows_and_a_limit(name: str, kind: str, read_file: Reader) -> None:
    assert read_file(name, _bytes(BATCHED, kind)).column("n") == list(range(20_000))
    assert read_file(name, _bytes(BATCHED, kind), limit=9_000).column("n") == list(range(9_000))


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["x", "y", None, "x"]).dictionary_encode(),
        pa.array(["x", "y", None, "x"], pa.large_string()),
        pa.array(["x", "y", None, "x"], pa.string_view()),
        pa.array(["x", "y", None, "x"], pa.dictionary(pa.int8(), pa.large_string())),
        pa.RunEndEncodedArray.from_arrays([1, 2, 3, 4], ["x", "y", None, "x"]),
        pa.ExtensionArray.from_storage(pa.opaque(pa.string(), "text", "test"), pa.array(["x", "y", None, "x"])),
    ],
    ids=lambda column: str(column.type),
)
def test_text_in_any_clothes_becomes_text(column: pa.Array, read_file: Reader) -> None:
    rows = read_file("a.arrow", _bytes(pa.table({"t": column}), "file"))
    assert rows.table.schema.field("t").type == pa.string()
    assert rows.column("t") == ["x", "y", None, "x"]


def test_compressed_buffers(read_file: Reader) -> None:
    options = {"options": pa.ipc.IpcWriteOptions(compression="zstd")}
    assert read_file("a.feather", _bytes(BATCHED, "file", **options)).column("n", [7]) == [7]


def test_ending_may_be_overruled(read_file: Reader) -> None:
    assert read_file("a.data", _bytes(TABLE, "parquet"), format="parquet").columns == ["text", "label", "score"]


def test_the_file_is_copied(read_file: Reader, tmp_path: Path) -> None:
    rows = read_file("a.arrow", _bytes(TABLE, "file"))
    (tmp_path / "a.arrow").write_bytes(b"")
    assert rows.column("text") == ["a", None, "NA"]


@pytest.mark.parametrize("kind", ["parquet", "file", "stream"])
def test_damage_is_refused_in_words_or_harmless(kind: str, tmp_path: Path) -> None:
    """Whatever byte is wrong, nothing but a DataError comes out, and what is read can be turned into Python objects."""
    table = pa.table({"text": ["héllo", None, "好"] * 20, "label": pa.array(["a", "b", "a"] * 20).dictionary_encode()})
    whole = _bytes(table, kind)
    draw = random.Random(0)
    path = tmp_path / ("a.parquet" if kind == "parquet" else "a.arrow")
    refused = 0
    for number in range(150):
        content = bytearray(whole[: draw.randrange(len(whole))] if number % 3 == 0 else whole)
        for _ in range(3 if content else 0):
            content[draw.randrange(len(content))] = draw.randrange(256)
        path.write_bytes(content)
        try:
            read(path, folder=tmp_path, cache=tmp_path / "cache").table.to_pylist()
        except DataError:
            refused += 1
    assert refused > 75
