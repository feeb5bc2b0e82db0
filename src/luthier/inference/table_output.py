"""Tables of answers, written as they come: JSON Lines, CSV or Parquet.

An added column never replaces one of the input's. CSV and Parquet name their columns before the first row; where the
input's rows may differ (JSON Lines), rows wait in a temporary file until the last one is known.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TextIO, cast

from luthier.artifacts.files import fsync_folder
from luthier.errors import DataError
from luthier.inference.table_input import Block

OUT_FORMATS = ("auto", "jsonl", "csv", "tsv", "parquet")
ENDINGS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
}
ERROR = "error"
PREFIX = "predicted."
GROUP_ROWS = 16_384
SPOOL_ROWS = 2_048
_INT64 = range(-(2**63), 2**63)


@dataclass(frozen=True)
class Answer:
    """What is added to a row.

    Attributes:
        cells: of the answer; None for a row that has none.
        problem: why it has none.
    """

    cells: Mapping[str, Any] | None
    problem: str | None = None


class Names:
    """The names of the added columns: their own, with `predicted.` in front where the input has such a column.

    Args:
        added: the answer's cells; `error` is added to them.
    """

    def __init__(self, added: Iterable[str]) -> None:
        self.added = [*added, ERROR]
        self._names = {name: name for name in self.added}

    def __getitem__(self, name: str) -> str:
        return self._names[name]

    def avoid(self, columns: Iterable[str]) -> None:
        """Give another name to each added column that the input has too."""
        taken = columns if isinstance(columns, (dict, set)) else set(columns)
        for name, current in self._names.items():
            while current in taken:
                current = PREFIX + current
            self._names[name] = current

    @property
    def renamed(self) -> dict[str, str]:
        """The added columns that bear another name than their own."""
        return {name: current for name, current in self._names.items() if name != current}


class Writer(Protocol):
    """Writes blocks of rows with their answers."""

    def write(self, block: Block, answers: Sequence[Answer]) -> None:
        """Write some rows."""

    def finish(self) -> None:
        """Write what is left."""

    def close(self) -> None:
        """Let go of what the writer holds, finished or not."""


class _AtOnce:
    """A writer that leaves nothing for later."""

    def finish(self) -> None:
        """Do nothing: every row is written already."""

    def close(self) -> None:
        """Do nothing: the stream is its owner's."""


class JsonLinesWriter(_AtOnce):
    """One object per row. A bad row has null answers and the key `error`.

    Args:
        stream: text.
        names: of the added columns.
    """

    def __init__(self, stream: TextIO, names: Names) -> None:
        self._stream = stream
        self._names = names
        encoding = (stream.encoding or "utf-8").lower().replace("-", "").replace("_", "")
        self._ascii = encoding != "utf8"

    def write(self, block: Block, answers: Sequence[Answer]) -> None:
        """Write some rows."""
        names = self._names
        for row, answer in zip(block.rows, answers, strict=True):
            names.avoid(row.cells)
            line = dict(row.cells)
            for name in names.added[:-1]:
                line[names[name]] = None if answer.cells is None else answer.cells.get(name)
            if answer.problem is not None:
                line[names[ERROR]] = answer.problem
            self._stream.write(_as_json(line, ascii=self._ascii) + "\n")


class DelimitedWriter(_AtOnce):
    """CSV or TSV. A bad row has empty answers; the column `error` is empty for the others.

    Args:
        stream: text that leaves line ends as they are.
        names: of the added columns.
        columns: of the input.
        delimiter: between cells.
    """

    def __init__(self, stream: TextIO, names: Names, columns: Sequence[str], delimiter: str) -> None:
        names.avoid(columns)
        self._names = names
        self._columns = columns
        self._csv = csv.writer(stream, delimiter=delimiter, lineterminator="\n")
        self._csv.writerow([*columns, *(names[name] for name in names.added)])

    def write(self, block: Block, answers: Sequence[Answer]) -> None:
        """Write some rows."""
        added = self._names.added[:-1]
        for row, answer in zip(block.rows, answers, strict=True):
            cells = [_as_text(row.cells.get(name)) for name in self._columns]
            cells += [_as_text((answer.cells or {}).get(name)) for name in added]
            self._csv.writerow([*cells, answer.problem or ""])


class ParquetWriter:
    """Parquet. A bad row has null answers; the column `error` is null for the others.

    Args:
        stream: bytes.
        names: of the added columns.
        fields: the input's columns and their `pyarrow` types.
        example: an answer's cells, whose types the added columns get.
    """

    def __init__(self, stream: BinaryIO, names: Names, fields: Any, example: Mapping[str, Any]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        names.avoid(fields.names)
        self._names = names
        self._fields = list(fields)
        added = {name: _type_of({type(value)}) for name, value in example.items()} | {ERROR: pa.string()}
        self._added = [pa.field(names[name], added[name]) for name in names.added]
        self._schema = pa.schema([*self._fields, *self._added])
        self._file = pq.ParquetWriter(stream, self._schema)
        self._waiting: list[Any] = []

    def write(self, block: Block, answers: Sequence[Answer]) -> None:
        """Write some rows."""
        import pyarrow as pa

        if block.batch is not None:
            arrays = list(block.batch.columns)
        else:
            arrays = [_array([row.cells.get(one.name) for row in block.rows], one.type) for one in self._fields]
        for name, one in zip(self._names.added, self._added, strict=True):
            values = [answer.problem if name == ERROR else (answer.cells or {}).get(name) for answer in answers]
            arrays.append(_array(values, one.type))
        self._waiting.append(pa.RecordBatch.from_arrays(arrays, schema=self._schema))
        if sum(batch.num_rows for batch in self._waiting) >= GROUP_ROWS:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa

        if self._waiting:
            self._file.write_table(pa.Table.from_batches(self._waiting, self._schema))
            self._waiting = []

    def finish(self) -> None:
        """Write the last rows and the footer."""
        self._flush()
        self._file.close()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()  # does nothing the second time


class SpoolWriter:
    """Keeps rows in a temporary file until all columns are known, then gives them to another writer.

    Args:
        make: returns the writer for `{column: types of its cells}`.
    """

    def __init__(self, make: Callable[[dict[str, set[type]]], Writer]) -> None:
        self._make = make
        self._kinds: dict[str, set[type]] = {}
        self._file = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115  # closed by close()

    def write(self, block: Block, answers: Sequence[Answer]) -> None:
        """Keep some rows."""
        for row, answer in zip(block.rows, answers, strict=True):
            for name, value in row.cells.items():
                kind = str if isinstance(value, int) and value not in _INT64 else type(value)
                self._kinds.setdefault(name, set()).add(kind)
            self._file.write(json.dumps([row.number, row.cells, answer.cells, answer.problem]) + "\n")

    def finish(self) -> None:
        """Give all rows to the writer."""
        self._file.seek(0)
        with closing(self._make(self._kinds)) as writer:
            for block, answers in self._kept():
                writer.write(block, answers)
            writer.finish()

    def close(self) -> None:
        """Remove the temporary file."""
        self._file.close()

    def _kept(self) -> Iterator[tuple[Block, list[Answer]]]:
        from luthier.inference.table_rows import Row

        rows: list[Row] = []
        answers: list[Answer] = []
        for line in self._file:
            number, cells, answered, problem = json.loads(line)
            rows.append(Row(number, cells))
            answers.append(Answer(answered, problem))
            if len(rows) == SPOOL_ROWS:
                yield Block(rows), answers
                rows, answers = [], []
        if rows:
            yield Block(rows), answers


def _as_text(value: Any) -> str:
    """Return a cell of CSV: text as it is, null as nothing, lists and objects as JSON, numbers in full."""
    if value is None:
        return ""
    return value if isinstance(value, str) else _as_json(value)


def _as_json(value: Any, *, ascii: bool = False) -> str:
    """Return a value as JSON; numbers that JSON does not have become null, and other types their text."""
    try:
        return json.dumps(value, ensure_ascii=ascii, default=str, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(value), ensure_ascii=ascii, default=str)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _type_of(kinds: set[type]) -> Any:
    """Return the `pyarrow` type of a column whose cells have these Python types; text where they do not agree."""
    import pyarrow as pa

    kinds = kinds - {type(None)}
    if kinds == {bool}:
        return pa.bool_()
    if kinds == {int}:
        return pa.int64()
    return pa.float64() if kinds and kinds <= {int, float} else pa.string()


def _array(values: list[Any], kind: Any) -> Any:
    import pyarrow as pa

    if pa.types.is_string(kind):
        values = [None if value is None else _as_text(value) for value in values]
    elif pa.types.is_floating(kind):
        values = [None if value is None else float(value) for value in values]
    return pa.array(values, kind)


def fields_of(kinds: Mapping[str, set[type]]) -> Any:
    """Return a `pyarrow.Schema` for columns whose cells have these Python types."""
    import pyarrow as pa

    return pa.schema([(name, _type_of(found)) for name, found in kinds.items()])


@contextmanager
def open_output(out: Path | TextIO, format: str) -> Iterator[TextIO | BinaryIO]:
    """Yield a stream to write a table to: bytes for Parquet, else text.

    A file gets its name when all is written; on an error an older one of that name stays as it was.

    Raises:
        DataError: it cannot be written there.
    """
    if not isinstance(out, Path):
        if format == "parquet":
            raise DataError("Parquet must go to a file; got standard output.", fix="Give -o FILE.parquet.")
        yield out
        out.flush()
        return
    try:
        with _device(out) if out.exists() and not out.is_file() else _new_file(out) as stream:
            if format == "parquet":
                yield stream
                return
            text = io.TextIOWrapper(cast(Any, stream), "utf-8", newline="")
            try:
                yield text
            finally:
                text.detach()  # flushes, and leaves closing to the owner of the bytes
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"cannot be written: {reason}.", where=str(out), fix="Choose another place with -o.") from None


@contextmanager
def _device(path: Path) -> Iterator[BinaryIO]:
    with path.open("wb") as stream:
        yield stream


@contextmanager
def _new_file(path: Path) -> Iterator[BinaryIO]:
    path = path.resolve()
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_folder(path.parent)
