"""CSV and TSV, strictly: every cell is text, every row has the header's cells, every quote is closed.

RFC 4180 with two leniencies: rows may end in a line feed, a carriage return or both, and a quote in the middle of an
unquoted cell is a character like any other.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from luthier.data.rows import LINE
from luthier.data.sources.encoded import ESCAPED, undecodable
from luthier.data.sources.lines import Lines, open_lines
from luthier.data.sources.quotes import explain
from luthier.data.sources.reading import BATCH_CHARACTERS, BATCH_ROWS, MAX_CELL, SKIP_HINT, Reading, check_columns
from luthier.errors import DataError

DELIMITERS = {"csv": ",", "tsv": "\t"}
LIKELY_DELIMITERS = (",", ";", "\t", "|")
_NAMES = {"\t": "a tab", ",": "a comma", ";": "a semicolon", "|": "a bar"}
Row = tuple[int, list[str]]


def read_csv(path: Path, reading: Reading) -> Iterator[Any]:
    """Yield the rows of a file whose cells a comma, or `data.delimiter`, keeps apart."""
    return _batches(path, reading, DELIMITERS["csv"])


def read_tsv(path: Path, reading: Reading) -> Iterator[Any]:
    """Yield the rows of a file whose cells a tab, or `data.delimiter`, keeps apart."""
    return _batches(path, reading, DELIMITERS["tsv"])


def check_delimiter(delimiter: str | None) -> None:
    """Check that a delimiter is one character that can keep cells apart.

    Raises:
        DataError: it is not.
    """
    if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n\0 '):
        raise DataError(
            f"must be one character other than a quote, a space or a line end; got {delimiter!r}.",
            where="data.delimiter",
            fix='Use "," or ";" or "|" or "\\t".',
        )


def _batches(path: Path, reading: Reading, usual: str) -> Iterator[Any]:
    delimiter = reading.options.delimiter or usual
    with open_lines(path, reading) as lines, _long_cells():
        records = _records(lines, delimiter, reading)
        line, header = _header(records, path, reading)
        _check_header(header, line, delimiter, reading)
        yield from _gather(_full_rows(records, header, line, reading), header, lines, reading)


def _records(lines: Lines, delimiter: str, reading: Reading) -> Iterator[Row]:
    """Yield each record that is not blank with the line it begins on."""
    ends: Counter[str] = Counter()
    while True:
        lines.mark()
        line = lines.number + 1
        try:
            for cells in csv.reader(lines, delimiter=delimiter, strict=True):
                if lines.nul is not None:
                    reading.bad_row("nul-byte", lines.nul, "holds a NUL byte", fix="Write the file again as plain text")
                elif not cells:
                    reading.repair("blank-line", "blank lines were left out", line=line)
                else:
                    ends[_line_end(lines.last)] += 1
                    yield line, cells
                lines.mark()
                line = lines.number + 1
            break
        except csv.Error as error:
            problem = explain(str(error), lines.since, delimiter, line)
            if not reading.options.skip or line == 1:
                fix = f"{problem.fix}, or {SKIP_HINT}." if line > 1 else f"{problem.fix}."
                raise reading.error(f"the row {problem.what}.", line=problem.line, fix=fix) from None
            reading.bad_row(problem.code, line, problem.what, fix=problem.fix)
            lines.push_back(lines.since[1:])
    _note_line_ends(ends, reading)


def _line_end(line: str) -> str:
    if line.endswith("\n"):
        return "\r\n" if line.endswith("\r\n") else "\n"
    return "\r" if line.endswith("\r") else ""


def _note_line_ends(ends: Counter[str], reading: Reading) -> None:
    del ends[""]  # the last line may have none
    if len(ends) > 1:
        rarer = sum(ends.values()) - max(ends.values())
        kinds = " and ".join(repr(end)[1:-1] for end, _ in ends.most_common())
        reading.repair("mixed-line-endings", f"rows end in {kinds}; all were taken as line ends", count=rarer)


def _header(records: Iterator[Row], path: Path, reading: Reading) -> Row:
    for line, cells in records:
        if any(ESCAPED.search(cell) for cell in cells):
            raise undecodable(path, reading, reading.options.encoding)
        return line, cells
    reading.finish(1)
    raise reading.error("holds nothing but blank lines.", fix="Give a file with a header and at least one row.")


def _check_header(header: Sequence[str], line: int, delimiter: str, reading: Reading) -> None:
    if len(header) == 1 and reading.options.delimiter is None:
        found = Counter(character for character in header[0] if character in LIKELY_DELIMITERS)
        if found:
            likely = found.most_common(1)[0][0]
            written, own = (d.replace("\t", "\\t") for d in (likely, delimiter))
            raise reading.error(
                f"the header {header[0]!r} is one column when cut at {delimiter_name(delimiter)}, "
                f"but holds {delimiter_name(likely)}.",
                line=line,
                fix=f'Set data.delimiter: "{written}" (if it really is one column: data.delimiter: "{own}").',
            )
    check_columns(header, reading, line=line)


def delimiter_name(delimiter: str) -> str:
    """Return a delimiter in words."""
    return _NAMES.get(delimiter, repr(delimiter))


def _full_rows(records: Iterator[Row], header: Sequence[str], header_line: int, reading: Reading) -> Iterator[Row]:
    """Yield the rows that have as many cells as the header."""
    width = len(header)
    good = 0
    widths: Counter[int] = Counter()
    for line, cells in records:
        if len(cells) == width:
            good += 1
            yield line, cells
        elif len(cells) == 1 and not cells[0].strip():
            reading.repair("blank-line", "blank lines were left out", line=line)
        else:
            widths[len(cells)] += 1
            reading.bad_row(
                "ragged-row",
                line,
                f"has {len(cells)} cell{'s' * (len(cells) != 1)} instead of {width}",
                fix="Put quotes around cells that hold the delimiter or a line end",
            )
    if not good and len(widths) == 1 and widths.total() > 1:
        raise reading.error(
            f"the header has {width} column{'s' * (width != 1)}, but every row has {next(iter(widths))} cells.",
            line=header_line,
            fix="Name every column in the header, or set data.delimiter.",
        )


def _gather(rows: Iterator[Row], header: Sequence[str], lines: Lines, reading: Reading) -> Iterator[Any]:
    """Yield record batches, each of a bounded number of rows and characters."""
    import pyarrow as pa

    schema = pa.schema([*((name, pa.string()) for name in header), (LINE, pa.int64())])
    yield pa.RecordBatch.from_pylist([], schema)
    waiting: list[Row] = []
    limit = BATCH_ROWS if reading.options.limit is None else min(BATCH_ROWS, reading.options.limit)
    begun = lines.characters
    for row in rows:
        waiting.append(row)
        if len(waiting) == limit or lines.characters - begun > BATCH_CHARACTERS:
            yield _batch(waiting, schema, reading)
            waiting, begun = [], lines.characters
    if waiting:
        yield _batch(waiting, schema, reading)


def _batch(rows: list[Row], schema: Any, reading: Reading) -> Any:
    import pyarrow as pa

    numbers = [line for line, _ in rows]
    columns = list(zip(*(cells for _, cells in rows), strict=True)) or [()] * len(schema.names[:-1])
    try:
        arrays = [pa.array(column, pa.string()) for column in columns]
    except UnicodeEncodeError:
        return _batch(list(_decodable(rows, reading)), schema, reading)
    return pa.RecordBatch.from_arrays([*arrays, pa.array(numbers, pa.int64())], schema=schema)


def _decodable(rows: list[Row], reading: Reading) -> Iterator[Row]:
    """Yield the rows without bytes that the encoding does not have, which only come under `bad_rows: skip`."""
    for line, cells in rows:
        found = next((match for cell in cells if (match := ESCAPED.search(cell))), None)
        if found is None:
            yield line, cells
        else:
            problem = f"holds byte 0x{ord(found[0]) - 0xDC00:02x}, which is not {reading.options.encoding}"
            reading.bad_row("undecodable-row", line, problem, fix="Set data.encoding")


@contextmanager
def _long_cells() -> Iterator[None]:
    """Let the csv module read cells of up to `MAX_CELL` characters; its own limit is one number for the process."""
    before = csv.field_size_limit(MAX_CELL)
    try:
        yield
    finally:
        csv.field_size_limit(before)
