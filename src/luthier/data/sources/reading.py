"""One reading of one source: how it is read, and what was repaired, left out or refused on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from luthier.data.rows import LINE, Repair
from luthier.errors import DataError

SHOWN = 5
BATCH_ROWS = 8192
BATCH_CHARACTERS = 8 * 2**20
MAX_CELL = 16 * 2**20
SKIP_HINT = "set data.bad_rows: skip to leave such rows out"


@dataclass(frozen=True)
class Options:
    """How a source is read.

    Attributes:
        delimiter: between the cells of a CSV file; None takes the format's own.
        encoding: of text files.
        skip: leave bad rows out and count them, instead of refusing.
        limit: read only so many rows; None reads all.
        split: which part of a data set with several parts to take.
    """

    delimiter: str | None = None
    encoding: str = "utf-8"
    skip: bool = False
    limit: int | None = None
    split: str = "train"


@dataclass(frozen=True)
class Opened:
    """A source that was found and may be read.

    Attributes:
        identity: JSON-like; equal for equal bytes read in equal ways.
        batches: yields `pyarrow.RecordBatch`es of one schema.
        unchanged: tells whether the source is still what `identity` was taken of.
    """

    identity: Any
    batches: Callable[[Reading], Iterator[Any]]
    unchanged: Callable[[], bool] = lambda: True


@dataclass
class _Count:
    message: str
    count: int = 0
    places: list[int | None] = field(default_factory=list)


class Reading:
    """What a reader is told, and where it tells what it met.

    Args:
        source: the source as the user wrote it.
        options: how to read it.
    """

    def __init__(self, source: str, options: Options) -> None:
        self.source = source
        self.options = options
        self.mixed: list[tuple[str, str]] = []
        self._repairs: dict[str, _Count] = {}
        self._bad: list[tuple[int, str]] = []
        self._bad_count = 0
        self._fix = ""

    def at(self, line: int | None = None) -> str:
        """Return a place in the source."""
        return self.source if line is None else f"{self.source}:{line}"

    def error(self, what: str, *, line: int | None = None, fix: str | None = None) -> DataError:
        """Return the error to raise."""
        return DataError(what, where=self.at(line), fix=fix)

    def repair(self, code: str, message: str, *, line: int | None = None, count: int = 1) -> None:
        """Count something that was changed or left out."""
        entry = self._repairs.setdefault(code, _Count(message))
        entry.count += count
        if line is not None and len(entry.places) < SHOWN:
            entry.places.append(line)

    def bad_row(self, code: str, line: int, problem: str, *, fix: str) -> None:
        """Note a row that cannot be read; it is left out and counted, or refused by `finish`.

        Args:
            code: the repair's code.
            line: where the row begins.
            problem: what is wrong with this row, as the rest of a sentence: `has 3 cells instead of 2`.
            fix: what to do about it.
        """
        if self.options.skip:
            self.repair(code, f"rows were left out; the first {problem}", line=line)
            return
        self._bad_count += 1
        self._fix = self._fix or fix
        if len(self._bad) < SHOWN:
            self._bad.append((line, problem))

    def finish(self, rows: int) -> None:
        """Refuse the bad rows that were noted, and a source without rows.

        Raises:
            DataError: there are some; the first five are named.
        """
        if self._bad:
            raise self._refusal()
        if rows == 0:
            left_out = [
                f"{entry.message} ({entry.count} in all)"
                for entry in self._repairs.values()
                if "left out" in entry.message
            ]
            what = f"has no row that can be read: {'; '.join(left_out)}" if left_out else "has no rows"
            raise self.error(f"{what}.", fix="Give a file with at least one row.")

    def _refusal(self) -> DataError:
        line, problem = self._bad[0]
        fix = f"{self._fix}, or {SKIP_HINT}."
        if self._bad_count == 1:
            return self.error(f"the row {problem}.", line=line, fix=fix)
        listed = "; ".join(f"line {line} {problem}" for line, problem in self._bad)
        more = f"; and {self._bad_count - len(self._bad)} more" if self._bad_count > len(self._bad) else ""
        return self.error(f"{self._bad_count} rows cannot be read: {listed}{more}.", line=line, fix=fix)

    def notes(self) -> dict[str, Any]:
        """Return repairs and mixed columns as JSON-like values that do not name the source."""
        repairs = [[code, entry.message, entry.count, entry.places] for code, entry in self._repairs.items()]
        return {"repairs": repairs, "mixed": [list(pair) for pair in self.mixed]}


def repairs_of(notes: Mapping[str, Any], source: str) -> tuple[Repair, ...]:
    """Return the repairs in `Reading.notes`, with places in the source."""
    return tuple(
        Repair(code, message, count, tuple(f"{source}:{line}" for line in places))
        for code, message, count, places in notes["repairs"]
    )


def check_columns(names: Sequence[str], reading: Reading, *, line: int | None = None) -> None:
    """Check that every column has a name of its own.

    Raises:
        DataError: one is empty, stands twice, or is kept for Luthier.
    """
    for number, name in enumerate(names, start=1):
        if not name.strip():
            raise reading.error(
                f"every column must have a name; column {number} of {len(names)} has none.",
                line=line,
                fix="Name it (a pandas index is left out with to_csv(index=False)), or delete it.",
            )
        if name == LINE:
            raise reading.error(f'the column name "{LINE}" is kept for Luthier.', line=line, fix="Rename the column.")
    twice = {name: [i for i, other in enumerate(names, start=1) if other == name] for name in names}
    for name, numbers in twice.items():
        if len(numbers) > 1:
            listed = ", ".join(map(str, numbers))
            raise reading.error(
                f'every column must have a name of its own; "{name}" names columns {listed}.',
                line=line,
                fix="Rename or delete all but one.",
            )
