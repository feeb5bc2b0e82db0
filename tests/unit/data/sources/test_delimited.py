from __future__ import annotations

import csv
import io
import tracemalloc

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from source_files import Reader, throwaway_reader

from luthier.data.rows import LINE

CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
AWKWARD = st.text(st.sampled_from("\",;\t\n\r'\\ \u2028\x85\x1c\ufeffa好"), max_size=6)


def _written(rows: list[list[str]], delimiter: str, quoting: int, end: str) -> str:
    sink = io.StringIO()
    csv.writer(sink, delimiter=delimiter, quoting=quoting, lineterminator=end).writerows(rows)
    return sink.getvalue()


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 4).flatmap(lambda n: st.lists(st.lists(CELLS | AWKWARD, min_size=n, max_size=n), min_size=1)),
    st.sampled_from(",;\t|"),
    st.sampled_from(["\r\n", "\n"]),
    st.sampled_from(["utf-8", "utf-16", "gb18030"]),
)
def test_any_text_comes_back(cells: list[list[str]], delimiter: str, end: str, encoding: str) -> None:
    header = [f"column {i}" for i in range(len(cells[0]))]
    quoting = csv.QUOTE_MINIMAL if end == "\r\n" else csv.QUOTE_ALL  # with "\n" the writer leaves "\r" unquoted
    text = _written([header, *cells], delimiter, quoting, end)
    with throwaway_reader() as read_file:
        rows = read_file("a.csv", text.encode(encoding), delimiter=delimiter, encoding=encoding)
        assert rows.columns == header
        assert [list(row) for row in zip(*map(rows.column, header), strict=True)] == cells
        assert not rows.repairs


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(AWKWARD, min_size=2, max_size=2), min_size=1))
def test_places_are_lines_of_the_file(cells: list[list[str]]) -> None:
    text = _written([["a", "b"], *cells], ",", csv.QUOTE_ALL, "\n")
    expected, line = [], 2
    for row in cells:
        expected.append(f"a.csv:{line}")
        written = _written([row], ",", csv.QUOTE_ALL, "\n")
        line += len(list(io.StringIO(written, newline="")))
    with throwaway_reader() as read_file:
        rows = read_file("a.csv", text)
        assert [rows.place(i) for i in range(len(rows))] == expected


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from('",\n\r ab'), max_size=40))
def test_skipping_never_fails_otherwise_than_refusing(body: str) -> None:
    """Whatever stands below a good row: what is kept has two cells, and lines of good rows are never lost."""
    with throwaway_reader() as read_file:
        rows = read_file("a.csv", "x,y\nfirst,row\n" + body, bad_rows="skip")
        assert rows.column("x")[0] == "first"
        assert all(isinstance(cell, str) for cell in rows.column("y"))


def test_cells_stay_text(read_file: Reader) -> None:
    rows = read_file("a.csv", "text,label\nNA,null\nNone,1\nnan,\n 01 ,1e5\n")
    assert rows.column("text") == ["NA", "None", "nan", " 01 "]
    assert rows.column("label") == ["null", "1", "", "1e5"]
    assert rows.table.schema.types == [pa.string(), pa.string(), pa.int64()]


def test_line_column_is_not_the_users(read_file: Reader) -> None:
    rows = read_file("a.csv", 'text,label\n"two\nlines",a\n\nb,c\n')
    assert rows.columns == ["text", "label"]
    assert rows.table.column(LINE).to_pylist() == [2, 5]


def test_tsv(read_file: Reader) -> None:
    assert read_file("a.tsv", "text\tlabel\na, b\tc\n").column("text") == ["a, b"]
    assert read_file("a.tab", "text;label\na\tb;c\n", delimiter=";").column("text") == ["a\tb"]
    assert read_file("a.txt", "text\tlabel\na\tb\n", format="tsv").column("label") == ["b"]


def test_one_column(read_file: Reader) -> None:
    assert read_file("a.csv", 'text\n""\n  \nb\n').column("text") == ["", "  ", "b"]
    assert read_file("a.csv", "a;b\nc\n", delimiter=",").columns == ["a;b"]


def test_quote_inside_an_unquoted_cell_is_text(read_file: Reader) -> None:
    assert read_file("a.csv", 'text,label\n5" screen,a\n').column("text") == ['5" screen']


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends(end: str, read_file: Reader) -> None:
    rows = read_file("a.csv", end.join(["t,l", "a,b", "", "c,d"]))
    assert rows.column("t") == ["a", "c"]
    assert rows.place(1) == "a.csv:4"
    assert [repair.code for repair in rows.repairs] == ["blank-line"]


def test_line_end_inside_a_cell_is_not_a_mixed_one(read_file: Reader) -> None:
    assert not read_file("a.csv", 't,l\r\n"a\nb",c\r\n').repairs


def test_limit_stops_before_what_follows(read_file: Reader) -> None:
    text = "t,l\na,b\nc,d\nbroken\n"
    assert read_file("a.csv", text, limit=2).column("t") == ["a", "c"]
    assert read_file("a.csv", text, limit=1).column("t") == ["a"]


def test_limit_counts_rows_that_are_kept(read_file: Reader) -> None:
    rows = read_file("a.csv", "t,l\nbroken\na,b\n\nc,d\ne,f\n", limit=2, bad_rows="skip")
    assert rows.column("t") == ["a", "c"]


def test_rows_around_a_broken_quote_are_kept(read_file: Reader) -> None:
    rows = read_file("a.csv", 't,l\na,b\n"c"x,d\n"e\nf",g\n"h,i\nj,k\n', bad_rows="skip")
    assert rows.column("t") == ["a", "e\nf", "j"]
    assert [rows.place(i) for i in range(3)] == ["a.csv:2", "a.csv:4", "a.csv:7"]
    assert {repair.code: repair.places for repair in rows.repairs} == {
        "stray-quote": ("a.csv:3",),
        "unclosed-quote": ("a.csv:6",),
    }


def test_many_batches(read_file: Reader) -> None:
    rows = read_file("a.csv", "n,l\n" + "".join(f"{i},x\n" for i in range(20_000)))
    assert rows.column("n") == [str(i) for i in range(20_000)]
    assert rows.place(19_999) == "a.csv:20001"


def test_bytes_that_do_not_fit_are_left_out_of_any_batch(read_file: Reader) -> None:
    lines = [f"{i},x".encode() for i in range(10_000)]
    lines[9_000] = b"caf\xe9,x"
    rows = read_file("a.csv", b"n,l\n" + b"\n".join(lines), bad_rows="skip")
    assert len(rows) == 9_999
    assert rows.repairs[0].places == ("a.csv:9002",)
    assert rows.place(9_000) == "a.csv:9003"


def test_limit_of_the_csv_module_is_put_back(read_file: Reader) -> None:
    before = csv.field_size_limit()
    assert read_file("a.csv", "t,l\n" + "a" * 200_000 + ",b\n").column("l") == ["b"]
    assert csv.field_size_limit() == before


def test_memory_is_flat(read_file: Reader) -> None:
    def peak(number: int) -> int:
        text = "text,label\n" + "a few words of a row,good\n" * number
        content = text.encode()
        pool = pa.total_allocated_bytes()
        tracemalloc.start()
        rows = read_file("a.csv", content)
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert len(rows) == number
        assert pa.total_allocated_bytes() - pool < 2**20, "the table is memory-mapped"
        return used

    assert peak(80_000) < 1.2 * peak(20_000)
