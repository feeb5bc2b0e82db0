"""Rows: a memory-mapped Arrow table that knows where each of its rows came from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.errors import DataError

LINE = "__line__"
BLOCK = 8192


@dataclass(frozen=True)
class Repair:
    """Something a reader changed or left out, counted.

    Attributes:
        code: such as `ragged-row` or `byte-order-mark`.
        message: one sentence.
        count: how many rows or cells it touched.
        places: the first few, as `file:line`.
    """

    code: str
    message: str
    count: int
    places: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rows:
    """A table of examples.

    Attributes:
        table: a `pyarrow.Table`; the bytes stay on disk.
        source: the source as the user wrote it.
        fingerprint: sha256 of the source's bytes and of how they were read.
        repairs: what the reader changed or left out.
        mixed: columns of JSON Lines whose values have several types, with the sentence that says where.
    """

    table: Any
    source: str
    fingerprint: str
    repairs: tuple[Repair, ...] = ()
    mixed: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @property
    def columns(self) -> list[str]:
        """The user's columns, in order."""
        return [name for name in self.table.column_names if name != LINE]

    def place(self, row: int) -> str:
        """Return where a row stands in its source: `file:line`, or `source row N` counted from 1."""
        if LINE in self.table.column_names:
            return f"{self.source}:{self.table.column(LINE)[row].as_py()}"
        return f"{self.source} row {row + 1}"

    def column(self, name: str, rows: Sequence[int] | Any | None = None) -> list[Any]:
        """Return a column's values as Python objects, all of them or those of the given row numbers."""
        self.require(name)
        column = self.table.column(name)
        return list((column if rows is None else column.take(_as_arrow(rows))).to_pylist())

    def blocks(self, names: Sequence[str]) -> Iterator[dict[str, list[Any]]]:
        """Yield consecutive blocks of some columns, so that memory stays flat."""
        for name in names:
            self.require(name)
        for batch in self.table.select(list(names)).to_batches(max_chunksize=BLOCK):
            yield {name: batch.column(name).to_pylist() for name in names}

    def require(self, name: str) -> None:
        """Check that a column exists and has one type.

        Raises:
            DataError: it does not.
        """
        for column, message in self.mixed:
            if column == name:
                raise DataError(message, where=self.source, fix="Give every row the same type.")
        if name not in self.table.column_names:
            raise DataError(
                f'column "{name}" does not exist; the columns are {", ".join(map(repr, self.columns))}.',
                where=self.source,
                fix=f"Name the right one under data.columns{_nearest(name, self.columns)}.",
            )


def open_arrow(path: Path) -> Any:
    """Return a `pyarrow.Table` over a memory-mapped Arrow IPC file."""
    import pyarrow as pa

    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def _as_arrow(rows: Any) -> Any:
    import pyarrow as pa

    return pa.array(rows, type=pa.int64())


def _nearest(name: str, names: Sequence[str]) -> str:
    import difflib

    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f'; did you mean "{close[0]}"?' if close else ""
