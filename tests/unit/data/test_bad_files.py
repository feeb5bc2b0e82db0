"""Kinds of bad data file, each with the one message or the counted repair that it must give."""

from __future__ import annotations

import gzip
import io
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from luthier.data.rows import Rows
from luthier.data.sources import read
from luthier.errors import DataError


@dataclass(frozen=True)
class Refused:
    """A file that gives one error: parts of its message, and the line it names."""

    kind: str
    file: str
    content: bytes
    message: tuple[str, ...]
    line: int | None = None
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Repaired:
    """A file that is read, with a counted repair; `texts` is what is left of its first column."""

    kind: str
    file: str
    content: bytes
    code: str
    count: int
    places: tuple[int, ...]
    texts: list[Any]
    options: dict[str, Any] = field(default_factory=dict)


def _zip() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.csv", "text,label\na,b\n")
    return packed.getvalue()


def _parquet(rows: int = 3, **columns: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns or {"text": ["a"] * rows, "label": ["b"] * rows}), sink)
    return sink.getvalue()


def _arrow(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def _clipped(content: bytes) -> bytes:
    return content[: len(content) * 2 // 3]


TABLE = pa.table({"text": ["one", "two"], "label": ["a", "b"]})
TWICE = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
SKIP = {"bad_rows": "skip"}
CHINESE = "text,label\n我很喜欢这部电影,好\n无聊,坏\n"
FRENCH = "text,label\nun film très réussi,bon\n"

REFUSED = [
    Refused("empty file", "a.csv", b"", ("is empty",)),
    Refused("nothing but blank lines", "a.csv", b"\n\n\n", ("nothing but blank lines",)),
    Refused("header only", "a.csv", b"text,label\n", ("has no rows",)),
    Refused("no row is left", "a.csv", b"text,label\na\n", ("no row that can be read", "1 cell"), options=SKIP),
    Refused("empty header name", "a.csv", b",text,label\n0,a,b\n", ("column 1 of 3 has none", "index=False"), 1),
    Refused("header name twice", "a.csv", b"text,label,text\na,b,c\n", ('"text" names columns 1, 3',), 1),
    Refused("reserved header name", "a.csv", b"text,__line__\na,b\n", ("kept for Luthier",), 1),
    Refused(
        "ragged rows",
        "a.csv",
        b"text,label\ngood, but long,pos\nfine,neg\nalone\n" + b"x,y,z\n" * 6,
        ("8 rows cannot", "line 2 has 3 cells instead of 2", "line 4 has 1 cell ", "line 7", "and 3 more", "skip"),
        2,
    ),
    Refused("one ragged row", "a.csv", b"text,label\na,b\nc,d,e\n", ("the row has 3 cells instead of 2", "quotes"), 3),
    Refused("header too short", "a.csv", b"text,label\na,b,c\nd,e,f\n", ("header has 2 columns", "every row has 3"), 1),
    Refused("unclosed quote", "a.csv", b'text,label\nok,a\n"never closed,b\nmore,c\n', ("never closed", '""'), 3),
    Refused("unclosed quote, late cell", "a.csv", b'text,label\n"two\nlines","b\nc,d\n', ("opens here",), 3),
    Refused("unclosed header quote", "a.csv", b'"text,label\na,b\n', ("never closed",), 1),
    Refused("stray quote", "a.csv", b'text,label\n"a" film,b\n', ("closing quote", "' ' follows"), 2),
    Refused("quote closed by the next row", "a.csv", b'text,label\n"a,b\n"c",d\n', ("opened on line 2", "'c'"), 3),
    Refused("backslash before a quote", "a.csv", b'text,label\n"a \\"b\\" c",d\n', ("closing quote", "double"), 2),
    Refused("semicolons", "a.csv", b"text;label\na;b\n", ('data.delimiter: ";"', "a semicolon"), 1),
    Refused("tabs in a CSV file", "a.csv", b"text\tlabel\na\tb\n", (r'data.delimiter: "\t"', "a tab"), 1),
    Refused("bars", "a.csv", b"text|label\na|b\n", ('data.delimiter: "|"',), 1),
    Refused("commas in a TSV file", "a.tsv", b"text,label\na,b\n", ('data.delimiter: ","',), 1),
    Refused("NUL byte", "a.csv", b"text,label\na,b\nc\0,d\n", ("NUL byte",), 3),
    Refused("UTF-16", "a.csv", CHINESE.encode("utf-16"), ("UTF-16", 'data.encoding: "utf-16"')),
    Refused("UTF-16 without a mark", "a.csv", FRENCH.encode("utf-16-le"), ('data.encoding: "utf-16-le"',)),
    Refused("UTF-32", "a.csv", FRENCH.encode("utf-32"), ('data.encoding: "utf-32"',)),
    Refused(
        "no mark where one must be", "a.csv", FRENCH.encode("utf-16-be"), ("utf-16",), None, {"encoding": "utf-16"}
    ),
    Refused("GB 18030", "a.csv", CHINESE.encode("gb18030"), ("byte 0xce", 'gb18030 ("我很喜欢这部电影'), 2),
    Refused("Windows 1252", "a.csv", FRENCH.encode("cp1252"), ("byte 0xe8", "character 11", "cp1252 (", "très"), 2),
    Refused("UTF-8 read as GB", "a.csv", CHINESE.encode(), ('utf-8 ("我',), 2, {"encoding": "gb2312"}),
    Refused("bad header bytes", "a.csv", "naïf,label\na,b\n".encode("cp1252"), ("byte 0xef", "cp1252"), 1, SKIP),
    Refused("gzip", "a.csv.gz", gzip.compress(b"text,label\na,b\n"), ("is packed", "Unpack")),
    Refused("gzip under another name", "a.csv", gzip.compress(b"text,label\na,b\n"), ("gzip archive", "Unpack")),
    Refused("zip", "a.zip", _zip(), ("is packed", "Unpack")),
    Refused("spreadsheet", "a.xlsx", _zip(), ("spreadsheet", "CSV")),
    Refused("spreadsheet under another name", "a.csv", _zip(), ("Excel", "save the sheet as CSV")),
    Refused("Parquet under another name", "a.csv", _parquet(), ("Parquet", "data.format: parquet")),
    Refused("unknown ending", "a.dat", b"text,label\na,b\n", ('got ".dat"', ".csv, .tsv", "data.format")),
    Refused("no ending", "rows", b"text,label\na,b\n", ("must end in one of .csv", "data.format")),
    Refused("one endless line", "a.csv", b"text,label\n" + b"a" * (64 * 2**20 + 1), ("67,108,864 characters",), 2),
    Refused("huge cell", "a.csv", b'text,label\n"' + b"a" * (16 * 2**20 + 1) + b'",b\n', ("16,777,216 characters",), 2),
    Refused("JSON array", "a.json", b'[\n {"text": "a"},\n {"text": "b"}\n]\n', ("one JSON array", "jq -c '.[]'"), 1),
    Refused("JSON array on one line", "a.jsonl", b'[{"text": "a"}, {"text": "b"}]', ("one JSON array",), 1),
    Refused("JSON object over lines", "a.json", b'{\n "text": "a"\n}\n', ("over several lines", "jq -c ."), 1),
    Refused(
        "no object", "a.jsonl", b'{"text": "a"}\n["b"]\n3\n', ("2 rows", "line 2 must be an object", "is a list"), 2
    ),
    Refused("invalid JSON", "a.jsonl", b'{"text": "a"}\n{"text": b}\n', ("is not JSON", "at column 10"), 2),
    Refused("single quotes", "a.jsonl", b"{'text': 'a'}\n", ("is not JSON", "double quotes"), 1),
    Refused("two objects on a line", "a.jsonl", b'{"a": 1} {"a": 2}\n', ("is not JSON: extra data at column 10",), 1),
    Refused("cut off", "a.jsonl", b'{"text": "a"}\n{"text": "b', ("is cut off",), 2),
    Refused("cut off between values", "a.jsonl", b'{"text": "a"}\n{"text": ', ("is cut off",), 2),
    Refused("NaN", "a.jsonl", b'{"text": "a", "score": NaN}\n', ("holds NaN", "null"), 1),
    Refused("Infinity", "a.jsonl", b'{"score": -Infinity}\n', ("holds -Infinity",), 1),
    Refused("infinite number", "a.jsonl", b'{"score": 1e999}\n', ('too large for a computer in "score"',), 1),
    Refused("key twice", "a.jsonl", b'{"text": "a", "text": "b"}\n', ('the key "text" twice',), 1),
    Refused("half a surrogate pair", "a.jsonl", b'{"text": "a \\ud83d"}\n', ("half of a surrogate pair",), 1),
    Refused("nested too deeply", "a.jsonl", b"[" * 100_000 + b"\n", ("nested too deeply",), 1),
    Refused("number of 5000 digits", "a.jsonl", b'{"n": ' + b"9" * 5000 + b"}\n", ("thousands of digits",), 1),
    Refused("JSON in another encoding", "a.jsonl", '{"text": "很好"}\n'.encode("gb18030"), ("gb18030 (",), 1),
    Refused("empty JSON Lines", "a.jsonl", b"", ("is empty",)),
    Refused("key without a name", "a.jsonl", b'{"": 1}\n', ("must have a name",)),
    Refused("too many keys", "a.jsonl", b"".join(b'{"k%d": 1}\n' % i for i in range(2001)), ("at most 2000",), 2001),
    Refused("clipped Parquet", "a.parquet", _clipped(_parquet()), ("must be a Parquet file, whole",)),
    Refused("no Parquet", "a.parquet", b"text,label\na,b\n", ("must be a Parquet file, whole",)),
    Refused("Parquet without rows", "a.parquet", _parquet(0), ("has no rows",)),
    Refused("clipped Arrow", "a.arrow", _clipped(_arrow(TABLE)), ("must be an Arrow file, whole",)),
    Refused("no Arrow", "a.arrow", b"text,label\na,b\n", ("must be an Arrow file, whole",)),
    Refused("empty Arrow", "a.arrow", b"", ("must be an Arrow file, whole",)),
    Refused("old Feather", "a.feather", b"FEA1" + bytes(60), ("Feather file of version 1",)),
    Refused("Arrow, damaged text", "a.arrow", _arrow(TABLE).replace(b"onetwo", b"on\xff\xfe\xfdo"), ("whole",)),
    Refused("Arrow, column twice", "a.arrow", _arrow(TWICE), ('"text" names columns 1, 2',)),
]

REPAIRED = [
    Repaired("byte-order mark", "a.csv", b"\xef\xbb\xbftext,label\na,b\n", "byte-order-mark", 1, (1,), ["a"]),
    Repaired("mark in JSON Lines", "a.jsonl", b'\xef\xbb\xbf{"text": "a"}\n', "byte-order-mark", 1, (1,), ["a"]),
    Repaired("blank lines", "a.csv", b"\ntext,label\n\na,b\n  \n\nc,d\n", "blank-line", 4, (1, 3, 5, 6), ["a", "c"]),
    Repaired("blank JSON lines", "a.jsonl", b'{"t": 1}\n \n{"t": 2}\n', "blank-line", 1, (2,), [1, 2]),
    Repaired(
        "line ends", "a.csv", b"t,l\r\na,b\r\nc,d\ne,f\rg,h\r\n", "mixed-line-endings", 2, (), ["a", "c", "e", "g"]
    ),
    Repaired("ragged rows", "a.csv", b"t,l\na,b\nc\nd,e,f\ng,h\n", "ragged-row", 2, (3, 4), ["a", "g"], SKIP),
    Repaired("stray quote", "a.csv", b't,l\n"a"b,c\nd,e\n', "stray-quote", 1, (2,), ["d"], SKIP),
    Repaired(
        "unclosed quote", "a.csv", b't,l\na,b\n"c,d\ne,f\ng,h\n', "unclosed-quote", 1, (3,), ["a", "e", "g"], SKIP
    ),
    Repaired("NUL byte", "a.csv", b"t,l\na\0,b\nc,d\n", "nul-byte", 1, (2,), ["c"], SKIP),
    Repaired("foreign bytes", "a.csv", b"t,l\ncaf\xe9,b\nc,d\n", "undecodable-row", 1, (2,), ["c"], SKIP),
    Repaired("huge cell", "a.csv", b"t,l\n" + b"a" * 16_777_217 + b",b\nc,d\n", "huge-cell", 1, (2,), ["c"], SKIP),
    Repaired("invalid JSON", "a.jsonl", b'{"t": 1}\n{"t"}\n{"t": 2}\n', "invalid-json", 1, (2,), [1, 2], SKIP),
    Repaired("cut off", "a.jsonl", b'{"t": 1}\n{"t": ', "cut-off", 1, (2,), [1], SKIP),
    Repaired("NaN", "a.jsonl", b'{"t": 1}\n{"t": NaN}\n', "not-a-number", 1, (2,), [1], SKIP),
    Repaired("key twice", "a.jsonl", b'{"t": 1}\n{"t": 1, "t": 2}\n', "duplicate-key", 1, (2,), [1], SKIP),
    Repaired("surrogate", "a.jsonl", b'{"t": "\\udc00"}\n{"t": "x"}\n', "unpaired-surrogate", 1, (1,), ["x"], SKIP),
    Repaired("foreign JSON bytes", "a.jsonl", b'{"t": "\xe9"}\n{"t": "x"}\n', "undecodable-row", 1, (1,), ["x"], SKIP),
    Repaired("lists", "a.jsonl", b'{"t": [1, "a"]}\n{}\n', "nested-value", 1, (), ['[1, "a"]', None]),
    Repaired(
        "big numbers", "a.jsonl", b'{"t": 1}\n{"t": 9223372036854775808}\n', "big-number", 1, (), ["1", str(2**63)]
    ),
]


def _read(tmp_path: Path, file: str, content: bytes, options: dict[str, Any]) -> Rows:
    (tmp_path / file).write_bytes(content)
    return read(file, folder=tmp_path, cache=tmp_path / "cache", **options)


def _assert_readable(error: DataError, file: str) -> None:
    """Check the shape of a message: the file, one sentence, what to do, and no innards."""
    assert error.where is not None
    assert error.where.partition(":")[0] == file
    assert error.what.endswith(".")
    assert error.fix
    assert error.fix.endswith((".", "?"))
    assert "\n" not in str(error)
    assert len(str(error)) < 700
    for innards in ("Traceback", "Exception", "Error", "codec can't", "luthier/", "surrogateescape", "None"):
        assert innards not in str(error)


def test_there_are_at_least_twenty_kinds() -> None:
    kinds = [case.kind for case in REFUSED]
    assert len(set(kinds)) == len(kinds) >= 20
    assert len({case.kind for case in REPAIRED}) == len(REPAIRED)


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.kind)
def test_refused(case: Refused, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        _read(tmp_path, case.file, case.content, case.options)
    for part in case.message:
        assert part in str(caught.value)
    assert caught.value.where == (case.file if case.line is None else f"{case.file}:{case.line}")
    _assert_readable(caught.value, case.file)
    assert not list((tmp_path / "cache").glob("*")), "a refused file leaves nothing behind"


@pytest.mark.parametrize("case", REPAIRED, ids=lambda case: case.kind)
def test_repaired(case: Repaired, tmp_path: Path) -> None:
    rows = _read(tmp_path, case.file, case.content, case.options)
    assert rows.column(rows.columns[0]) == case.texts
    [repair] = [repair for repair in rows.repairs if repair.code == case.code]
    assert repair.count == case.count
    assert repair.places == tuple(f"{case.file}:{line}" for line in case.places)
    assert _read(tmp_path, case.file, case.content, case.options).repairs == rows.repairs, "repairs survive the cache"


@pytest.mark.parametrize("case", [case for case in REPAIRED if case.options], ids=lambda case: case.kind)
def test_what_is_skipped_is_refused_by_default(case: Repaired, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        _read(tmp_path, case.file, case.content, {})
    assert caught.value.where == f"{case.file}:{case.places[0]}"
    assert "data.bad_rows: skip" in str(caught.value)


def test_mixed_types_are_refused_when_the_column_is_used(tmp_path: Path) -> None:
    content = b'{"text": "a", "label": "x"}\n{"text": "b", "label": null}\n{"text": "c", "label": 3}\n'
    rows = _read(tmp_path, "a.jsonl", content, {})
    assert rows.column("text") == ["a", "b", "c"]
    assert rows.table.column("label").to_pylist() == ['"x"', None, "3"]
    with pytest.raises(DataError) as caught:
        rows.require("label")
    message = 'column "label" must have one type; line 1 has the text "x", line 3 has the whole number 3.'
    assert caught.value.what == message
    _assert_readable(caught.value, "a.jsonl")


class TestPlaces:
    def refusal(self, source: str, folder: Path, **options: Any) -> DataError:
        with pytest.raises(DataError) as caught:
            read(source, folder=folder, cache=folder / "cache", **options)
        return caught.value

    def test_missing_file_names_the_nearest(self, tmp_path: Path) -> None:
        (tmp_path / "reviews.csv").touch()
        error = self.refusal("review.csv", tmp_path)
        assert 'Did you mean "reviews.csv"?' in str(error)
        _assert_readable(error, "review.csv")

    def test_missing_file_lists_the_data_there(self, tmp_path: Path) -> None:
        (tmp_path / "reviews.csv").touch()
        assert "holds reviews.csv" in str(self.refusal("zzz.parquet", tmp_path))

    def test_missing_folder(self, tmp_path: Path) -> None:
        assert "nor does the folder" in str(self.refusal("nowhere/a.csv", tmp_path))

    def test_typo_that_could_be_an_id(self, tmp_path: Path) -> None:
        (tmp_path / "reviews").mkdir()
        assert 'Did you mean "reviews"?' in str(self.refusal("review", tmp_path))

    def test_folder(self, tmp_path: Path) -> None:
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "b.csv").touch()
        error = self.refusal("data", tmp_path)
        assert "it is a folder" in str(error)
        assert "b.csv" in str(error)

    def test_broken_link(self, tmp_path: Path) -> None:
        (tmp_path / "a.csv").symlink_to("gone.csv")
        assert "link to something that is not there" in str(self.refusal("a.csv", tmp_path))

    def test_device(self, tmp_path: Path) -> None:
        error = self.refusal("/dev/null", tmp_path, format="csv")
        assert "must be a plain file" in str(error)

    @pytest.mark.parametrize("name", ["", " ", "a" * 300 + ".csv", "a\0.csv"], ids=["empty", "blank", "long", "NUL"])
    def test_impossible_name(self, name: str, tmp_path: Path) -> None:
        self.refusal(name, tmp_path)

    def test_folder_that_may_not_be_entered(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(_: Path) -> bool:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "exists", refuse)
        assert "may not be reached by this user" in str(self.refusal("closed/a.csv", tmp_path))

    def test_unreadable(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "a.csv").write_bytes(b"t,l\na,b\n")
        monkeypatch.setattr("os.access", lambda *_: False)  # the tests may run as root, who may read everything
        error = self.refusal("a.csv", tmp_path)
        assert "may not be read" in str(error)
        _assert_readable(error, "a.csv")

    def test_read_error(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(_: Path) -> str:
            raise OSError(5, "Input/output error")

        (tmp_path / "a.csv").write_bytes(b"t,l\na,b\n")
        monkeypatch.setattr("luthier.data.sources.sha256_file", fail)
        assert "cannot be read (Input/output error)" in str(self.refusal("a.csv", tmp_path))

    def test_unknown_encoding_names_the_nearest(self, tmp_path: Path) -> None:
        (tmp_path / "a.csv").write_bytes(b"t,l\na,b\n")
        error = self.refusal("a.csv", tmp_path, encoding="gb1803")
        assert error.where == "data.encoding"
        assert '"gb18030"' in str(error)

    @pytest.mark.parametrize("name", ["base64", "rot13", "a\0b", "nonsense"])
    def test_encoding_that_is_none(self, name: str, tmp_path: Path) -> None:
        (tmp_path / "a.csv").write_bytes(b"t,l\na,b\n")
        assert self.refusal("a.csv", tmp_path, encoding=name).where == "data.encoding"

    @pytest.mark.parametrize("delimiter", [";;", "", '"', "\n", " "])
    def test_delimiter_that_is_none(self, delimiter: str, tmp_path: Path) -> None:
        (tmp_path / "a.csv").write_bytes(b"t,l\na,b\n")
        assert self.refusal("a.csv", tmp_path, delimiter=delimiter).where == "data.delimiter"

    @pytest.mark.parametrize(
        ("key", "options"),
        [("data.delimiter", {"delimiter": ";"}), ("data.encoding", {"encoding": "gb18030"})],
    )
    def test_option_without_use(self, key: str, options: dict[str, Any], tmp_path: Path) -> None:
        (tmp_path / "a.parquet").write_bytes(_parquet())
        error = self.refusal("a.parquet", tmp_path, **options)
        assert error.where == key
        assert "must be left out for a.parquet" in str(error)
