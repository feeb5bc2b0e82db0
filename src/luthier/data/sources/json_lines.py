"""JSON Lines: one object per line, types kept. The file is read twice: for the columns' types, then for the values."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from luthier.data.rows import LINE
from luthier.data.sources.encoded import ESCAPED
from luthier.data.sources.lines import Lines, open_lines
from luthier.data.sources.reading import BATCH_CHARACTERS, BATCH_ROWS, MAX_CELL, Reading, check_columns

MAX_COLUMNS = 2000
_INT64 = range(-(2**63), 2**63)
_NULL, _TEXT, _INT, _BIG, _FLOAT, _BOOL, _NESTED = "null", "text", "int", "big", "float", "bool", "nested"
_KINDS = {str: _TEXT, int: _INT, float: _FLOAT, bool: _BOOL, type(None): _NULL, dict: _NESTED, list: _NESTED}
_IN_WORDS = {
    _TEXT: "the text",
    _INT: "the whole number",
    _BIG: "the whole number",
    _FLOAT: "the number",
    _BOOL: "the truth value",
    _NESTED: "the list or object",
}


class _BadLineError(Exception):
    """A line that is no row.

    Args:
        code: of the repair.
        problem: see `Reading.bad_row`.
        fix: what to do.
    """

    def __init__(self, code: str, problem: str, fix: str) -> None:
        super().__init__(problem)
        self.code, self.problem, self.fix = code, problem, fix


@dataclass
class _Column:
    """The kinds of value a column has, each with the first line and value."""

    kinds: dict[str, tuple[int, Any]] = field(default_factory=dict)
    nested: int = 0
    big: int = 0


@dataclass
class _Scan:
    """What the first reading found."""

    columns: dict[str, _Column] = field(default_factory=dict)
    left_out: set[int] = field(default_factory=set)
    rows: int = 0


def read_json_lines(path: Path, reading: Reading) -> Iterator[Any]:
    """Yield the rows of a file with one JSON object per line."""
    with open_lines(path, reading) as lines:
        scan = _scan(lines, path, reading)
    reading.finish(scan.rows)
    check_columns(list(scan.columns), reading)
    kinds = {name: _settle(name, column, reading) for name, column in scan.columns.items()}
    _note_texts(scan, kinds, reading)
    quiet = Reading(reading.source, reading.options)
    with open_lines(path, quiet) as lines:
        yield from _gather(lines, kinds, scan)


def _scan(lines: Lines, path: Path, reading: Reading) -> _Scan:
    """Parse every line, and note the bad ones and the kinds of value of each column."""
    decoder = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_no_constant)
    scan = _Scan()
    for line in lines:
        number = lines.number
        lines.mark()
        if line.isspace():
            reading.repair("blank-line", "blank lines were left out", line=number)
            scan.left_out.add(number)
            continue
        if scan.rows == 0:
            _check_layout(line, number, lines, reading)
        try:
            row = _parse(line, decoder, reading)
            _note_kinds(row, number, scan)
        except _BadLineError as error:
            reading.bad_row(error.code, number, error.problem, fix=error.fix)
            scan.left_out.add(number)
            continue
        if len(scan.columns) > MAX_COLUMNS:
            raise reading.error(
                f"the objects must have at most {MAX_COLUMNS} different keys in all; there are more.",
                line=number,
                fix="Give every row the same keys.",
            )
        scan.rows += 1
        if scan.rows == reading.options.limit:
            break
    return scan


def _check_layout(line: str, number: int, lines: Lines, reading: Reading) -> None:
    """Refuse JSON that is no JSON Lines: one array, or objects spread over lines.

    Raises:
        DataError: the file is so.
    """
    text = line.strip()
    if text[0] == "[":
        inside = text[1:].lstrip() or next((more for more in map(str.strip, lines) if more), "{")
        if inside[0] in "{]":
            raise reading.error(
                "holds one JSON array; JSON Lines has one object per line.",
                line=number,
                fix=f"Write one object per line: jq -c '.[]' {reading.source} > rows.jsonl.",
            )
    if text == "{":
        raise reading.error(
            "spreads an object over several lines; JSON Lines has one object per line.",
            line=number,
            fix=f"Write one object per line: jq -c . {reading.source} > rows.jsonl.",
        )


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise _BadLineError("duplicate-key", f'has the key "{twice}" twice', "Keep one of the two")
    return found


def _no_constant(name: str) -> Any:
    raise _BadLineError("not-a-number", f"holds {name}, which JSON does not have", "Write null instead")


def _parse(line: str, decoder: json.JSONDecoder, reading: Reading) -> dict[str, Any]:
    """Return the object in a line.

    Raises:
        _BadLineError: there is none.
    """
    if "\0" in line:
        raise _BadLineError("nul-byte", "holds a NUL byte", "Write the file again as plain text")
    if reading.options.skip and (found := ESCAPED.search(line)):
        byte = ord(found[0]) - 0xDC00
        raise _BadLineError("undecodable-row", f"holds byte 0x{byte:02x}, which is not {reading.options.encoding}", "")
    try:
        row = decoder.decode(line)
        if "\\u" in line and "\\ud" in line.lower():
            json.dumps(row, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise _not_json(line, error) from None
    except UnicodeEncodeError:
        problem = "holds half of a surrogate pair (\\ud800 to \\udfff), which is no character"
        raise _BadLineError(
            "unpaired-surrogate", problem, "Write whole characters (texts cut in the middle?)"
        ) from None
    except RecursionError:
        raise _BadLineError("invalid-json", "is nested too deeply", "Flatten it") from None
    except ValueError:
        raise _BadLineError("invalid-json", "holds a number of thousands of digits", "Write it as text") from None
    if not isinstance(row, dict):
        kind = "a list" if isinstance(row, list) else _IN_WORDS.get(_KINDS[type(row)], "null")
        what = kind if isinstance(row, list) or row is None else f"{kind} {_shown(row)}"
        raise _BadLineError(
            "not-an-object", f"must be an object like {{...}} but is {what}", "Write an object per line"
        )
    return row


def _not_json(line: str, error: json.JSONDecodeError) -> _BadLineError:
    is_last = not line.endswith(("\n", "\r"))
    if is_last and (not line[error.pos :].strip() or error.msg.startswith("Unterminated")):
        return _BadLineError("cut-off", "is cut off: the file ends in the middle of it", "Copy or write the file again")
    reason = error.msg[0].lower() + error.msg[1:].removesuffix(" at")
    fix = "Mend the line"
    if "'" in line and '"' not in line:
        fix = "JSON wants double quotes around texts and keys"
    return _BadLineError("invalid-json", f"is not JSON: {reason} at column {error.colno}", fix)


def _note_kinds(row: Mapping[str, Any], line: int, scan: _Scan) -> None:
    for name, value in row.items():
        kind = _KINDS[type(value)]
        if kind is _TEXT:
            if len(value) > MAX_CELL:
                problem = f'holds a text longer than {MAX_CELL:,} characters in "{name}"'
                raise _BadLineError("huge-cell", problem, "Shorten it")
        elif kind is _FLOAT and not math.isfinite(value):
            raise _BadLineError("not-a-number", f'holds a number too large for a computer in "{name}"', "Mend it")
        elif kind is _INT and value not in _INT64:
            kind = _BIG
        column = scan.columns.get(name)
        if column is None:
            column = scan.columns[name] = _Column()
        if kind not in column.kinds:
            column.kinds[kind] = (line, value)
        if kind is _NESTED:
            column.nested += 1
        elif kind is _BIG:
            column.big += 1


def _settle(name: str, column: _Column, reading: Reading) -> str:
    """Return the kind a column is kept as; several that do not go together are kept as JSON text and noted."""
    kinds = set(column.kinds) - {_NULL}
    if len(kinds) <= 1:
        return next(iter(kinds), _TEXT)
    if kinds <= {_INT, _BIG}:
        return _BIG
    if kinds <= {_INT, _BIG, _FLOAT}:
        return _FLOAT
    (one, one_value), (two, two_value) = [column.kinds[kind] for kind in column.kinds if kind is not _NULL][:2]
    words = [_IN_WORDS[kind] for kind in column.kinds if kind is not _NULL]
    reading.mixed.append(
        (
            name,
            f'column "{name}" must have one type; line {one} has {words[0]} {_shown(one_value)}, '
            f"line {two} has {words[1]} {_shown(two_value)}.",
        )
    )
    return _NESTED


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _note_texts(scan: _Scan, kinds: Mapping[str, str], reading: Reading) -> None:
    """Note the columns whose values were turned into text."""
    mixed = {name for name, _ in reading.mixed}
    for code, kind, count, what in (
        ("nested-value", _NESTED, "nested", "lists and objects were kept as JSON text"),
        ("big-number", _BIG, "big", "whole numbers beyond 64 bits were kept as text"),
    ):
        names = [name for name in kinds if kinds[name] == kind and name not in mixed]
        if names:
            columns = ", ".join(f'"{name}"' for name in names)
            total = sum(getattr(scan.columns[name], count) for name in names)
            reading.repair(code, f"{what} (columns: {columns})", count=total)


def _gather(lines: Lines, kinds: Mapping[str, str], scan: _Scan) -> Iterator[Any]:
    """Yield record batches, each of a bounded number of rows and characters."""
    import pyarrow as pa

    types = {_INT: pa.int64(), _FLOAT: pa.float64(), _BOOL: pa.bool_()}
    schema = pa.schema([*((name, types.get(kind, pa.string())) for name, kind in kinds.items()), (LINE, pa.int64())])
    rows: list[Mapping[str, Any]] = []
    numbers: list[int] = []
    done, begun = 0, 0
    for line in lines:
        if lines.number not in scan.left_out:
            rows.append(json.loads(line))
            numbers.append(lines.number)
            done += 1
        lines.mark()
        if len(rows) == BATCH_ROWS or lines.characters - begun > BATCH_CHARACTERS or done == scan.rows:
            yield _batch(rows, numbers, kinds, schema)
            rows, numbers, begun = [], [], lines.characters
        if done == scan.rows:
            return


def _batch(rows: list[Mapping[str, Any]], numbers: list[int], kinds: Mapping[str, str], schema: Any) -> Any:
    import pyarrow as pa

    as_text = partial(json.dumps, ensure_ascii=False)
    change: dict[str, Callable[[Any], Any]] = {_BIG: str, _FLOAT: float, _NESTED: as_text}
    columns: list[list[Any]] = []
    for name, kind in kinds.items():
        values = [row.get(name) for row in rows]
        if kind in change:
            values = [None if value is None else change[kind](value) for value in values]
        columns.append(values)
    arrays = [pa.array(values, type_) for values, type_ in zip([*columns, numbers], schema.types, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
