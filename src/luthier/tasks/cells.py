"""Cells of many rows as a sequence that reads them when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, SupportsIndex, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from luthier.data.rows import Rows

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
