"""Tables in memory: pandas DataFrames and Arrow tables. They are known by the hash of their content."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

from luthier.data.sources.columnar import plain
from luthier.data.sources.reading import BATCH_ROWS, Opened, Reading, check_columns


def open_frame(frame: Any, reading: Reading) -> Opened:
    """Open a pandas DataFrame; its index is left out, NaN and NA become null."""
    import pyarrow as pa

    names = [str(name) for name in frame.columns]
    check_columns(names, reading)
    arrays = [_column(frame.iloc[:, number], name, reading) for number, name in enumerate(names)]
    return open_table(pa.table(arrays, names=names), reading)


def open_table(table: Any, reading: Reading) -> Opened:
    """Open an Arrow table."""
    check_columns(table.schema.names, reading)
    return open_batches(lambda: _slices(table), reading)


def open_batches(make: Callable[[], Iterator[Any]], reading: Reading) -> Opened:
    """Open batches that can be made more than once; they are cut and cleaned, and known by the hash of the result.

    Args:
        make: yields record batches of at most `BATCH_ROWS` rows, cut in the same places for equal content.
        reading: where complaints go.
    """
    import pyarrow as pa

    def batches(reading: Reading) -> Iterator[Any]:
        try:
            for batch in make():
                yield plain(batch, reading)
        except (pa.ArrowException, UnicodeDecodeError) as error:
            reason = " ".join(str(error).split()).rstrip(".")[:200]
            raise reading.error(f"must be a sound table; it is damaged ({reason}).", fix="Make it again.") from None

    return Opened({"format": "table", "sha256": _content_hash(batches(reading)), "mixed": reading.mixed}, batches)


def _slices(table: Any) -> Iterator[Any]:
    import pyarrow as pa

    yield pa.RecordBatch.from_pylist([], table.schema)
    for start in range(0, table.num_rows, BATCH_ROWS):
        yield from table.slice(start, BATCH_ROWS).combine_chunks().to_batches()


class _Hash(io.RawIOBase):
    """A file that keeps nothing but the sha256 of what is written."""

    def __init__(self) -> None:
        self.sha256 = hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.sha256.update(data)
        return len(memoryview(data))


def _content_hash(batches: Iterator[Any]) -> str:
    import pyarrow as pa

    sink = _Hash()
    first = next(batches)
    with pa.PythonFile(sink, "w") as file, pa.ipc.new_stream(file, first.schema) as writer:
        for batch in itertools.chain([first], batches):
            writer.write_batch(_compact(batch))
    return sink.sha256.hexdigest()


def _compact(batch: Any) -> Any:
    """Return a copy without what lies beside the rows: a slice is written with some bytes of its neighbours."""
    import pyarrow as pa

    try:
        return batch.take(pa.array(range(batch.num_rows), pa.int64()))
    except pa.ArrowNotImplementedError:  # rare nested types: equal content may then be kept twice
        return batch


def _column(series: Any, name: str, reading: Reading) -> Any:
    """Return a column as Arrow; one whose cells have several types is kept as JSON text and noted."""
    import pyarrow as pa

    try:
        return pa.array(series, from_pandas=True)
    except UnicodeEncodeError as error:
        row = next(number for number, cell in enumerate(series, start=1) if _is_broken(cell))
        raise reading.error(
            f'column "{name}" of row {row} holds half of a surrogate pair ({error.object[error.start]!r}), which is '
            "no character.",
            fix="Write whole characters (texts cut in the middle?).",
        ) from None
    except (pa.ArrowException, OverflowError):
        empty = series.isna().tolist()
        cells = [None if null else cell for null, cell in zip(empty, series.tolist(), strict=True)]
    first = {type(cell): number for number, cell in reversed([*enumerate(cells, start=1)]) if cell is not None}
    shown = [f"row {number} has the {kind.__name__} {cells[number - 1]!r:.40}" for kind, number in first.items()][::-1]
    wanted = "have one type" if len(shown) > 1 else "hold texts, numbers, truth values or dates"
    reading.mixed.append((name, f'column "{name}" must {wanted}; {", ".join(shown[:2])}.'))
    return pa.array([None if cell is None else json.dumps(cell, default=str) for cell in cells], pa.string())


def _is_broken(cell: Any) -> bool:
    try:
        str(cell).encode()
    except UnicodeEncodeError:
        return True
    return False
