"""Tables of inputs, opened: which format, which columns, and the rows as a stream of blocks."""

from __future__ import annotations

import base64
import csv
import io
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from luthier.data.sources.columnar import read_arrow, read_parquet
from luthier.data.sources.delimited import DELIMITERS, LIKELY_DELIMITERS, check_delimiter
from luthier.data.sources.encoded import check_encoding
from luthier.data.sources.lines import Lines, open_lines
from luthier.data.sources.locate import ENDINGS
from luthier.data.sources.reading import BATCH_CHARACTERS, Options, Reading, check_columns
from luthier.errors import DataError
from luthier.inference.table_rows import Row, delimited_rows, json_rows, long_cells, records, text_rows

FORMATS = ("auto", "csv", "tsv", "jsonl", "parquet", "arrow", "text")
STDIN = "standard input"
COLUMNAR: dict[str, Callable[[Path, Reading], Iterator[Any]]] = {"parquet": read_parquet, "arrow": read_arrow}
_IN_WORDS = {
    "jsonl": "JSON Lines",
    "csv": "CSV",
    "tsv": "TSV",
    "parquet": "Parquet",
    "arrow": "Arrow",
    "text": "plain text, one row per line",
}
_CUTS = {"\t": "tabs", ",": "commas", ";": "semicolons", "|": "bars"}
Wanted = Sequence[tuple[str, ...]]


@dataclass(frozen=True)
class Block:
    """Some rows that follow each other.

    Attributes:
        rows: with the cells that were asked for.
        batch: the same rows as a `pyarrow.RecordBatch` of all columns, where the source is columnar.
    """

    rows: list[Row]
    batch: Any = None


@dataclass(frozen=True)
class Source:
    """An opened table.

    Attributes:
        name: as the user wrote it.
        format: one of `FORMATS` other than `auto`.
        how: how it is read, a sentence.
        columns: the columns of every row; None where rows may differ.
        blocks: called once, yields the rows; a columnar source makes Python cells of the columns named alone, or of all
            for None.
        left_out: returns what was left out so far, each a sentence.
        delimiter: between the cells of CSV and TSV.
        schema: the `pyarrow.Schema` of a columnar source.
    """

    name: str
    format: str
    how: str
    columns: list[str] | None
    blocks: Callable[[Sequence[str] | None], Iterator[Block]]
    left_out: Callable[[], list[str]] = list
    delimiter: str = ","
    schema: Any = None

    def at(self, row: Row) -> str:
        """Return the place of a row."""
        return f"{self.name} row {row.number}" if self.format in COLUMNAR else f"{self.name}:{row.number}"


@contextmanager
def open_source(
    source: Path | Literal["-"],
    *,
    wanted: Wanted,
    format: str = "auto",
    delimiter: str | None = None,
    encoding: str = "utf-8",
    chunk: int = 2048,
) -> Iterator[Source]:
    """Open a table of inputs.

    Args:
        source: a file, or `-` for standard input.
        wanted: for each cell that the predictor reads, the column names under which it may stand, the usual one first.
        format: one of `FORMATS`; `auto` goes by the ending, and else by the first line.
        delimiter: of CSV and TSV; None finds the one under which the header has the wanted columns.
        encoding: of text.
        chunk: most rows in a block.

    Raises:
        DataError: the source cannot be opened, or lacks a wanted column.
    """
    if format not in FORMATS:
        raise DataError(f"--format must be one of {', '.join(FORMATS)}; got {format}.")
    check_delimiter(delimiter)
    name = STDIN if source == "-" else str(source)
    reading = Reading(name, Options(delimiter, check_encoding(encoding), skip=True))
    if source != "-":
        _check_file(source)
        format = _by_ending(source) if format == "auto" else format
    if format in COLUMNAR:
        if source == "-":
            raise reading.error(f"cannot be {format}, which needs a file.", fix="Pipe JSON Lines, CSV or plain text.")
        yield _open_columnar(source, format, wanted, reading, chunk)
        return
    with _standard_input(reading) if source == "-" else open_lines(source, reading) as lines, long_cells():
        yield _open_text(lines, format, wanted, reading, chunk)


def _check_file(path: Path) -> None:
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}.", where=str(path), fix="Check the path.") from None


def _by_ending(path: Path) -> str:
    ending = path.suffix.lower()
    return "text" if ending == ".txt" else ENDINGS.get(ending, "auto")


@contextmanager
def _standard_input(reading: Reading) -> Iterator[Lines]:
    stream = io.TextIOWrapper(sys.stdin.buffer, encoding=reading.options.encoding, errors="surrogateescape", newline="")
    try:
        yield Lines(stream, reading)
    finally:
        stream.detach()  # closing standard input is not ours


def _open_text(lines: Lines, format: str, wanted: Wanted, reading: Reading, chunk: int) -> Source:
    first = next((line for line in lines if not line.isspace()), "")
    lines.push_back(list(lines.since))
    how = ""
    if format == "auto":
        format, how = _guessed(first, wanted, reading.options.delimiter)
    how = f"{reading.source} was read as {_IN_WORDS[format]}{how}"
    columns: list[str] | None = None
    delimiter = DELIMITERS.get(format, ",")
    if format in DELIMITERS:
        delimiter = reading.options.delimiter or _fitting(first, [delimiter, *LIKELY_DELIMITERS], wanted) or delimiter
        how += "" if delimiter == DELIMITERS[format] else f", cut at {_CUTS.get(delimiter, repr(delimiter))}"
        found = records(lines, delimiter, reading)
        columns = _header(found, wanted, reading)
        rows = delimited_rows(found, columns)
    elif format == "jsonl":
        _check_layout(first, reading)
        rows = json_rows(lines, reading)
    else:
        columns = _only_column(wanted, reading)
        rows = text_rows(lines, columns[0], reading)
    return Source(
        reading.source,
        format,
        f"{how}.",
        columns,
        lambda _: _blocks(rows, lines, chunk),
        lambda: [f"{message} ({count})" for _, message, count, _ in reading.notes()["repairs"]],
        delimiter,
    )


def _guessed(first: str, wanted: Wanted, delimiter: str | None) -> tuple[str, str]:
    """Return the format that a first line speaks for, and why."""
    if first.lstrip().startswith("{"):
        return "jsonl", ", since its first line begins with {"
    found = _fitting(first, [delimiter] if delimiter else LIKELY_DELIMITERS, wanted)
    listed = ", ".join(f'"{names[0]}"' for names in wanted)
    if found is not None:
        return ("tsv" if found == "\t" else "csv"), f", since its first line names the column {listed}"
    return "text", f", since its first line neither begins with {{ nor names the column {listed}"


def _fitting(line: str, delimiters: Iterable[str], wanted: Wanted) -> str | None:
    """Return the first delimiter at which a line, cut, has all wanted columns."""
    for delimiter in delimiters:
        try:
            header = next(csv.reader([line], delimiter=delimiter, strict=True), [])
        except csv.Error:
            continue
        if all(set(names) & set(header) for names in wanted):
            return delimiter
    return None


def _header(found: Iterator[tuple[int, list[str], str | None]], wanted: Wanted, reading: Reading) -> list[str]:
    line, header, problem = next(found, (1, [], "is missing"))
    if problem is not None:
        raise reading.error(f"the header {problem}.", line=line, fix="Begin with a line that names the columns.")
    check_columns(header, reading, line=line)
    _check_wanted(header, wanted, reading)
    return header


def _check_wanted(columns: Sequence[str], wanted: Wanted, reading: Reading) -> None:
    for names in wanted:
        if not set(names) & set(columns):
            listed = ", ".join(f'"{name}"' for name in columns[:20])
            raise reading.error(
                f'column "{names[0]}" does not exist; the columns are {listed}.', fix="Name the column so."
            )


def _check_layout(first: str, reading: Reading) -> None:
    if first.lstrip().startswith("["):
        raise reading.error(
            "holds one JSON array; JSON Lines has one object per line.",
            fix="Write one object per line: jq -c '.[]' IN > OUT.jsonl.",
        )
    if first.strip() == "{":
        raise reading.error(
            "spreads an object over several lines; JSON Lines has one object per line.",
            fix="Write one object per line: jq -c . IN > OUT.jsonl.",
        )


def _only_column(wanted: Wanted, reading: Reading) -> list[str]:
    if len(wanted) != 1:
        listed = ", ".join(f'"{names[0]}"' for names in wanted)
        raise reading.error(f"plain text has one column; this bundle reads {listed}.", fix="Give CSV or JSON Lines.")
    return [wanted[0][0]]


def _blocks(rows: Iterator[Row], lines: Lines, chunk: int) -> Iterator[Block]:
    """Yield blocks of a bounded number of rows and characters."""
    waiting: list[Row] = []
    begun = lines.characters
    for row in rows:
        lines.mark()
        waiting.append(row)
        if len(waiting) == chunk or lines.characters - begun > BATCH_CHARACTERS:
            yield Block(waiting)
            waiting, begun = [], lines.characters
    if waiting:
        yield Block(waiting)


def _open_columnar(path: Path, format: str, wanted: Wanted, reading: Reading, chunk: int) -> Source:
    batches = COLUMNAR[format](path, reading)
    first = next(batches)
    columns = list(first.schema.names)
    _check_wanted(columns, wanted, reading)
    blocks = partial(_columnar_blocks, chain([first], batches), chunk)
    how = f"{reading.source} was read as {_IN_WORDS[format]}."
    return Source(reading.source, format, how, columns, blocks, schema=first.schema)


def _columnar_blocks(batches: Iterator[Any], chunk: int, only: Sequence[str] | None) -> Iterator[Block]:
    done = 0
    for batch in batches:
        for start in range(0, batch.num_rows, chunk):
            part = batch.slice(start, chunk)
            names = part.schema.names if only is None else [name for name in part.schema.names if name in only]
            columns = [_values(part.column(name)) for name in names]
            cells = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
            yield Block([Row(done + number, row) for number, row in enumerate(cells, start=1)], part)
            done += part.num_rows


def _values(column: Any) -> list[Any]:
    """Return a column's cells as JSON-like values: dates and decimals as text, bytes in base 64."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_temporal(kind) or pa.types.is_decimal(kind):
        return list(column.cast(pa.string()).to_pylist())
    values: list[Any] = column.to_pylist()
    if pa.types.is_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return [None if value is None else base64.b64encode(value).decode() for value in values]
    return values
