"""Cells: what they hold beside text, and those of many rows as a sequence that reads them when they are asked for."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, SupportsIndex, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from luthier.data.rows import Rows
from luthier.tasks.base import CellError

BLOCK = 4096
T = TypeVar("T")


class RowCells(Sequence[T], Generic[T]):
    """Something made of each of some rows, read block by block.

    Args:
        rows: the source.
        numbers: (N,) of the rows.
        columns: `{role: column}`.
        read: `{role: cell}` of a row, as it stands in the source, to the item.
    """

    def __init__(
        self,
        rows: Rows,
        numbers: NDArray[np.int64],
        columns: Mapping[str, str],
        read: Callable[[Mapping[str, Any]], T],
    ) -> None:
        self._rows, self._numbers, self._columns, self._read = rows, numbers, dict(columns), read
        self._block: tuple[int, dict[str, list[Any]]] = (-1, {})

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: SupportsIndex) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...
    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[one] for one in range(*index.indices(len(self)))]
        block, offset = divmod(range(len(self))[index], BLOCK)
        if self._block[0] != block:
            numbers = self._numbers[block * BLOCK : (block + 1) * BLOCK]
            self._block = block, {role: self._rows.column(name, numbers) for role, name in self._columns.items()}
        return self._read({role: cells[offset] for role, cells in self._block[1].items()})


def json_cell(value: Any) -> Any:
    """Return what a cell holds where its text is a JSON list or object; any other cell as it is."""
    if not isinstance(value, str) or not value.lstrip().startswith(("[", "{")):
        return value
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return value


def number_cell(value: Any) -> float:
    """Return a number out of a number, a boolean or a text that is one.

    Raises:
        CellError: it is absent, or no finite number.
    """
    if value is None or value == "":
        raise CellError("is absent")
    words = {"true": 1.0, "false": 0.0}
    try:
        found = words[value.lower()] if isinstance(value, str) and value.lower() in words else float(value)
    except (TypeError, ValueError):
        found = math.nan
    if not math.isfinite(found):
        raise CellError(f"must be a number; got {type(value).__name__} {value!r}")
    return found


def text_key(text: str) -> int:
    """Return the first 64 bits of a text's sha256 as a signed number."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big", signed=True)
