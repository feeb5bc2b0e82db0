"""Parquet and Arrow: columns with types. Dictionaries are decoded, every text is checked to be UTF-8."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from luthier.data.sources.reading import BATCH_ROWS, Reading, check_columns


def read_arrow(path: Path, reading: Reading) -> Iterator[Any]:
    """Yield the rows of an Arrow IPC file or stream."""
    import pyarrow as pa

    with path.open("rb") as stream:
        start = stream.read(8)
    if start.startswith(b"FEA1"):
        raise reading.error("is a Feather file of version 1.", fix="Write it again as Parquet or Arrow IPC.")

    def batches() -> Iterator[Any]:
        with pa.memory_map(str(path)) as mapped:
            if start.startswith(b"ARROW1"):
                file = pa.ipc.open_file(mapped)
                yield pa.RecordBatch.from_pylist([], file.schema)
                yield from map(file.get_batch, range(file.num_record_batches))
            else:
                yield from pa.ipc.open_stream(mapped)

    return _guarded(batches, "an Arrow file", reading)


def read_parquet(path: Path, reading: Reading) -> Iterator[Any]:
    """Yield the rows of a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    def batches() -> Iterator[Any]:
        # Without these two a whole row group is held in memory, and many files are one row group.
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=2**20) as file:
            yield pa.RecordBatch.from_pylist([], file.schema_arrow)
            yield from file.iter_batches(batch_size=BATCH_ROWS)

    return _guarded(batches, "a Parquet file", reading)


def _guarded(batches: Callable[[], Iterator[Any]], kind: str, reading: Reading) -> Iterator[Any]:
    """Yield plain batches; what the library raises for a damaged file becomes one sentence."""
    import pyarrow as pa

    try:
        for batch in batches():
            for start in range(0, max(batch.num_rows, 1), BATCH_ROWS):
                yield plain(batch.slice(start, BATCH_ROWS), reading)
    except (pa.ArrowException, OSError, EOFError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split()).rstrip(".")[:200]
        raise reading.error(
            f"must be {kind}, whole and undamaged; it cannot be read ({reason}).", fix="Write or copy it again."
        ) from None


def plain(batch: Any, reading: Reading) -> Any:
    """Return a record batch whose columns have plain types, checked value by value.

    Dictionaries and runs are decoded, long and viewed texts become texts, extension types their storage.

    Raises:
        DataError: two columns share a name.
        pyarrow.ArrowInvalid: the values are damaged.
    """
    import pyarrow as pa

    batch.validate(full=True)
    check_columns(batch.schema.names, reading)
    arrays = [_plain_column(column) for column in batch.columns]
    fields = [pa.field(name, array.type) for name, array in zip(batch.schema.names, arrays, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


def _plain_column(column: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    elif pa.types.is_run_end_encoded(column.type):
        column = pc.run_end_decode(column)
    if pa.types.is_large_string(column.type) or pa.types.is_string_view(column.type):
        return column.cast(pa.string())
    if pa.types.is_large_binary(column.type) or pa.types.is_binary_view(column.type):
        return column.cast(pa.binary())
    return column
