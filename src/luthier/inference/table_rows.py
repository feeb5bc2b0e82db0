"""Rows of text files, one by one. A row that cannot be read stays in the stream, with what is wrong with it.

The rules of each format are those of `data.sources`: cells of CSV are text, quotes are closed, JSON Lines holds one
object per line. What is refused or left out there is a bad row here.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from luthier.data.sources.encoded import ESCAPED
from luthier.data.sources.lines import Lines
from luthier.data.sources.quotes import explain
from luthier.data.sources.reading import MAX_CELL, Reading

SURROGATE = re.compile("[\ud800-\udfff]")
Record = tuple[int, list[str], str | None]


@dataclass(frozen=True)
class Row:
    """One row as it was written.

    Attributes:
        number: line of a text file, or row counted from 1.
        cells: by column; what could be read of a bad row.
        problem: why the row cannot be read; None for one that can.
    """

    number: int
    cells: dict[str, Any]
    problem: str | None = None


class _BadLineError(Exception):
    """A line that is no JSON object; the message says why."""


def records(lines: Lines, delimiter: str, reading: Reading) -> Iterator[Record]:
    """Yield each CSV record that is not blank: the line it begins on, its cells, and what is wrong with it."""
    while True:
        lines.mark()
        line = lines.number + 1
        try:
            for cells in csv.reader(lines, delimiter=delimiter, strict=True):
                if cells:
                    yield line, cells, _text_problem("".join(cells), reading)
                else:
                    reading.repair("blank-line", "blank lines were left out", line=line)
                lines.mark()
                line = lines.number + 1
            return
        except csv.Error as error:
            problem = explain(str(error), lines.since, delimiter, line)
            lines.push_back(lines.since[1:])
            yield line, [], problem.what if problem.line == line else f"{problem.what} (line {problem.line})"


def delimited_rows(found: Iterator[Record], header: Sequence[str]) -> Iterator[Row]:
    """Yield the rows under a header; a row with too many cells keeps as many as the header names."""
    width = len(header)
    for line, cells, problem in found:
        if problem is None and len(cells) != width:
            problem = f"has {len(cells)} cell{'s' * (len(cells) != 1)} instead of {width}"
        yield Row(line, {name: _writable(cell) for name, cell in zip(header, cells, strict=False)}, problem)


def text_rows(lines: Lines, column: str, reading: Reading) -> Iterator[Row]:
    """Yield every line as a row of one column; a blank line is a row with an empty text."""
    for line in lines:
        text = line.rstrip("\r\n")
        yield Row(lines.number, {column: _writable(text)}, _text_problem(text, reading))


def json_rows(lines: Lines, reading: Reading) -> Iterator[Row]:
    """Yield the object of every line that is not blank."""
    decoder = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_no_constant, parse_float=_number)
    for line in lines:
        if line.isspace():
            lines.mark()
            reading.repair("blank-line", "blank lines were left out", line=lines.number)
            continue
        try:
            yield Row(lines.number, _parsed(line, decoder, reading))
        except _BadLineError as error:
            yield Row(lines.number, {}, str(error))


@contextmanager
def long_cells() -> Iterator[None]:
    """Let the csv module read cells of up to `MAX_CELL` characters; its own limit is one number for the process."""
    before = csv.field_size_limit(MAX_CELL)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _text_problem(text: str, reading: Reading) -> str | None:
    if "\0" in text:
        return "holds a NUL byte"
    if found := ESCAPED.search(text):
        return f"holds byte 0x{ord(found[0]) - 0xDC00:02x}, which is not {reading.options.encoding}"
    return None


def _writable(text: str) -> str:
    """Return a text in which what is no character is the replacement character."""
    return SURROGATE.sub("\ufffd", text).replace("\0", "\ufffd")


def _parsed(line: str, decoder: json.JSONDecoder, reading: Reading) -> dict[str, Any]:
    if problem := _text_problem(line, reading):
        raise _BadLineError(problem)
    try:
        row = decoder.decode(line)
        if "\\u" in line:
            json.dumps(row, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        reason = error.msg[0].lower() + error.msg[1:].removesuffix(" at")
        raise _BadLineError(f"is not JSON: {reason} at column {error.colno}") from None
    except UnicodeEncodeError:
        raise _BadLineError("holds half of a surrogate pair, which is no character") from None
    except RecursionError:
        raise _BadLineError("is nested too deeply") from None
    except ValueError:
        raise _BadLineError("holds a number of thousands of digits") from None
    if not isinstance(row, dict):
        raise _BadLineError("is JSON, but no object like {...}")
    if len(line) > MAX_CELL and any(isinstance(cell, str) and len(cell) > MAX_CELL for cell in row.values()):
        raise _BadLineError(f"holds a text longer than {MAX_CELL:,} characters")
    return row


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _BadLineError(f'has the key "{next(key for key in keys if keys.count(key) > 1)}" twice')
    return found


def _no_constant(name: str) -> Any:
    raise _BadLineError(f"holds {name}, which JSON does not have")


def _number(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise _BadLineError("holds a number too large for a computer")
    return value
