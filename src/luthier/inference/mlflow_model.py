"""What MLflow calls to open an exported folder: `loader_module` in its `MLmodel`. Nothing is unpickled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from luthier.inference.loading import load
from luthier.inference.predictor import Predictor

if TYPE_CHECKING:
    import pandas as pd


class TableModel:
    """A bundle that answers a table with a table.

    Args:
        predictor: the opened bundle.
    """

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor

    def predict(self, table: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Return one row per row, in order and under the same index, a column for each part of an answer.

        Args:
            table: the columns that the bundle was trained with; a list or an object in a cell as JSON text. A cell that
                is absent counts as no cell.
            params: MLflow's; there are none.

        Raises:
            DataError: a row cannot be read; the message says which.
        """
        import pandas as pd

        rows = table.astype(object).where(table.notna(), None).to_dict("records")
        given = [{str(name): cell for name, cell in row.items() if cell is not None} for row in rows]
        answers = [one.as_dict() for one in self.predictor.predict(given)]
        names = dict.fromkeys(name for one in answers for name in one)
        columns = {name: _column([one.get(name) for one in answers], table.index) for name in names}
        return pd.DataFrame(columns, table.index)


def _column(cells: list[Any], index: pd.Index[Any]) -> pd.Series[Any]:
    """Return cells as they are, where pandas would make numbers with gaps fractions."""
    import pandas as pd

    plain = len({type(cell) for cell in cells}) == 1 and isinstance(cells[0], (bool, float, int, str))
    return pd.Series(cells, index, dtype=None if plain else object)


def _load_pyfunc(path: str) -> TableModel:
    """Open the bundle: its hashes are checked and its golden examples are answered again."""
    return TableModel(load(path))
