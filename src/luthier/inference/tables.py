"""A whole table answered: `luthier predict`. Rows stream through in their order; a bad one is named and passed on."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TextIO, cast

from luthier.data.sources.delimited import DELIMITERS
from luthier.errors import DataError
from luthier.inference.predictor import Predictor
from luthier.inference.table_input import Block, Source, open_source
from luthier.inference.table_output import (
    ENDINGS,
    OUT_FORMATS,
    Answer,
    DelimitedWriter,
    JsonLinesWriter,
    Names,
    ParquetWriter,
    SpoolWriter,
    Writer,
    fields_of,
    open_output,
)
from luthier.inference.table_rows import SURROGATE, Row

SHOWN = 10
SAME_FORMAT = {"csv": "csv", "tsv": "tsv", "parquet": "parquet", "arrow": "parquet"}


class BadRow(NamedTuple):
    """A row without an answer: where it stands, and why."""

    place: str
    message: str


@dataclass(frozen=True)
class TableReport:
    """What became of a table.

    Attributes:
        rows: how many it has.
        answered: how many have an answer.
        bad: the first few of the others.
        seconds: from opening to the finished output.
        format: how the input was read.
        out_format: how the output was written.
        notes: what the user should know, each a sentence: how the format was decided, which columns were renamed, what
            was left out.
    """

    rows: int
    answered: int
    bad: tuple[BadRow, ...]
    seconds: float
    format: str
    out_format: str
    notes: tuple[str, ...]


def predict_table(
    predictor: Predictor,
    source: Path | str,
    *,
    out: Path | TextIO,
    format: str = "auto",
    out_format: str = "auto",
    delimiter: str | None = None,
    encoding: str = "utf-8",
    chunk: int = 2048,
    progress: Callable[[int], None] | None = None,
) -> TableReport:
    """Answer every row of a table and write the table with the answers beside the input's columns.

    Rows keep their order and columns. A row that cannot be answered keeps its place with empty answers and says why in
    the column `error`. Memory does not grow with the number of rows.

    Args:
        predictor: a loaded bundle.
        source: a CSV, TSV, JSON Lines, Parquet, Arrow or plain text file; `-` is standard input.
        out: a file, which gets its name when all is written, or a text stream.
        format: of the input: `auto`, or one of `table_input.FORMATS`.
        out_format: `auto` goes by the ending of `out`, else takes the input's for a file and JSON Lines for a stream.
        delimiter: of CSV and TSV input; None finds it.
        encoding: of text input; output is UTF-8.
        chunk: most rows that are answered together.
        progress: called with the number of rows done.

    Raises:
        DataError: the source cannot be opened or lacks a column that the bundle reads, or the output cannot be written.
    """
    begun = time.perf_counter()
    if chunk < 1:
        raise DataError(f"chunk must be at least 1; got {chunk}.")
    named = {role: predictor.entry.preprocess.columns.get(role, role) for role in predictor.inputs}
    columns = [named[role] for role in predictor.required]
    wanted = list(zip(columns, predictor.required, strict=True))
    tally = _Tally()
    with open_source(
        "-" if source == "-" else Path(source),
        wanted=wanted,
        format=format,
        delimiter=delimiter,
        encoding=encoding,
        chunk=chunk,
    ) as table:
        out_format = _out_format(out, out_format, table.format)
        example = _example(predictor)
        names = Names(example)
        with open_output(out, out_format) as stream:
            only = [*named.values(), *named] if out_format == "parquet" else None
            with closing(_writer(stream, out_format, table, names, example)) as writer:
                for block in table.blocks(only):
                    writer.write(block, _answers(predictor, block, table, tally))
                    if progress is not None:
                        progress(tally.rows)
                writer.finish()
    return TableReport(
        tally.rows,
        tally.answered,
        tuple(tally.bad),
        time.perf_counter() - begun,
        table.format,
        out_format,
        _notes(table, names),
    )


@dataclass
class _Tally:
    rows: int = 0
    answered: int = 0
    bad: list[BadRow] = field(default_factory=list)


def _example(predictor: Predictor) -> dict[str, Any]:
    """Return the cells of an answer to a made-up row: they name the added columns before the first row is answered."""
    return dict(predictor.predict([predictor.task.probe("example")])[0].as_columns())


def _out_format(out: Path | TextIO, wanted: str, source_format: str) -> str:
    if wanted not in OUT_FORMATS:
        raise DataError(f"the output's format must be one of {', '.join(OUT_FORMATS)}; got {wanted}.")
    if wanted != "auto":
        return wanted
    if not isinstance(out, Path):
        return "jsonl"
    return ENDINGS.get(out.suffix.lower()) or SAME_FORMAT.get(source_format, "jsonl")


def _writer(stream: TextIO | BinaryIO, format: str, table: Source, names: Names, example: dict[str, Any]) -> Writer:
    if format == "jsonl":
        if table.columns is not None:
            names.avoid(table.columns)
        return JsonLinesWriter(cast(TextIO, stream), names)
    make = partial(_column_writer, stream, format, table, names, example)
    return SpoolWriter(make) if table.columns is None else make({name: {str} for name in table.columns})


def _column_writer(
    stream: TextIO | BinaryIO,
    format: str,
    table: Source,
    names: Names,
    example: dict[str, Any],
    kinds: dict[str, set[type]],
) -> Writer:
    if format == "parquet":
        fields = fields_of(kinds) if table.schema is None else table.schema
        return ParquetWriter(cast(BinaryIO, stream), names, fields, example)
    delimiter = table.delimiter if table.format == format else DELIMITERS[format]
    return DelimitedWriter(cast(TextIO, stream), names, list(kinds), delimiter)


def _answers(predictor: Predictor, block: Block, table: Source, tally: _Tally) -> list[Answer]:
    """Return the answers of a block's rows; all that can be read are scored together."""
    answers: dict[int, Answer] = {}
    good: dict[int, dict[str, Any]] = {}
    for number, row in enumerate(block.rows):
        try:
            good[number] = _cells(predictor, row)
        except DataError as error:
            answers[number] = Answer(None, error.what)
            if len(tally.bad) < SHOWN:
                tally.bad.append(BadRow(table.at(row), error.what))
    predictions = predictor.predict_cells(list(good.values()))
    answers |= {number: Answer(one.as_columns()) for number, one in zip(good, predictions, strict=True)}
    tally.rows += len(block.rows)
    tally.answered += len(good)
    return [answers[number] for number in range(len(block.rows))]


def _cells(predictor: Predictor, row: Row) -> dict[str, Any]:
    if row.problem is not None:
        raise DataError(f"{row.problem}.")
    cells = predictor.cells(row.cells, "")
    for role, cell in cells.items():
        if isinstance(cell, str) and SURROGATE.search(cell):
            raise DataError(f'"{role}" holds half of a surrogate pair, which is no character.')
    return cells


def _notes(table: Source, names: Names) -> tuple[str, ...]:
    notes = [table.how, *(f"{table.name}: {text}." for text in table.left_out())]
    if names.renamed:
        listed = ", ".join(f'"{old}" as "{new}"' for old, new in names.renamed.items())
        notes.append(f"The input has columns of the same name, so answers were written: {listed}.")
    return tuple(notes)
