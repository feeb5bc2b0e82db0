"""Write a data sample as one Arrow file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# Rows in a record batch: small enough that a reader of a few rows maps little, large enough to cost nothing.
_BATCH_ROWS = 4096


def write_arrow(path: Path, columns: Mapping[str, Sequence[Any]], *, metadata: Mapping[str, str]) -> None:
    """Write columns of equal length as an Arrow IPC file: text as string, numbers as float64, nothing null.

    Args:
        path: the file to make.
        columns: name → values, all str or all float.
        metadata: where the rows come from, kept in the schema so that it travels with the file.
    """
    import pyarrow as pa  # heavy, and only a build needs it

    kinds = {str: pa.string(), float: pa.float64()}
    fields = [pa.field(name, kinds[type(values[0])], nullable=False) for name, values in columns.items()]
    arrays = [pa.array(values, field.type) for field, values in zip(fields, columns.values(), strict=True)]
    table = pa.Table.from_arrays(arrays, schema=pa.schema(fields, metadata=dict(metadata)))
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=_BATCH_ROWS)
