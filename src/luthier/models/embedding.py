"""Train only the rows of an embedding table that the data uses.

Most words of a vocabulary are in no training row. Their vectors get no gradient, so all that AdamW does to them is its
decay: each step multiplies them by `1 - learning rate x weight decay`. `UsedRows` keeps the used rows as the parameter,
and the product of those factors as one number. Gradient, moments, norm and checkpoint are then as large as the part of
the table in use.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WORTH = 0.9
"""Largest share of the table in use at which the rest is left out."""


class UsedRows(nn.Module):
    """An embedding of some of a table's rows, under the same name and with the same numbers.

    Args:
        whole: (V, H) the table.
        rows: (U,) rising numbers of the rows that train.

    Attributes:
        weight: (U, H) the used rows.
        rows: (U,) their numbers.
        decay: what the other rows are multiplied by when the table is whole again.
    """

    rows: Tensor
    _place: Tensor

    def __init__(self, whole: nn.Embedding, rows: Tensor) -> None:
        super().__init__()
        assert whole.max_norm is None, "rows that are used would be renormalised, the others not"
        self.whole = [whole]  # in a list, so that it is no module of this one
        self.register_buffer("rows", rows, persistent=False)
        self.decay = 1.0
        self.weight = nn.Parameter(whole.weight.detach()[rows])
        place = torch.full((whole.num_embeddings,), -1)
        place[rows] = torch.arange(len(rows))
        self.register_buffer("_place", place, persistent=False)
        padding = -1 if whole.padding_idx is None else int(place[whole.padding_idx])
        self._padding = None if padding < 0 else padding

    def forward(self, ids: Tensor) -> Tensor:
        """Return the vectors of token ids, (..., H); an id outside the used rows is an index error."""
        return F.embedding(self._place[ids], self.weight, self._padding)

    def restored(self) -> nn.Embedding:
        """Return the whole table with the used rows as they are now, and the others decayed."""
        whole = self.whole[0]
        table = whole.weight.detach().to(self.weight.device) * self.decay
        table[self.rows] = self.weight.detach()
        found = nn.Embedding(len(table), table.size(1), padding_idx=whole.padding_idx, _weight=table)
        return found.requires_grad_(self.weight.requires_grad)


def hold_used(backbone: nn.Module, rows: Tensor) -> UsedRows | None:
    """Put `UsedRows` in the place of a backbone's input embedding; None where that would gain or change something.

    It stays whole where it does not train, is tied to another layer, has a norm limit, or is used almost whole.

    Args:
        backbone: a Transformers model.
        rows: (U,) rising numbers of the rows that occur in the training data.
    """
    whole = backbone.get_input_embeddings()  # type: ignore[operator]  # of Transformers
    if type(whole) is not nn.Embedding or not whole.weight.requires_grad or whole.max_norm is not None:
        return None
    if len(rows) > WORTH * whole.num_embeddings or _uses(backbone, whole.weight) > 1:
        return None
    held = UsedRows(whole, rows)
    backbone.set_input_embeddings(held)  # type: ignore[operator]
    return held


@contextmanager
def whole_table(backbone: nn.Module, held: UsedRows | None) -> Iterator[None]:
    """Give a backbone its whole table inside the block."""
    if held is None:
        yield
        return
    backbone.set_input_embeddings(held.restored())  # type: ignore[operator]
    try:
        yield
    finally:
        backbone.set_input_embeddings(held)  # type: ignore[operator]


def _uses(module: nn.Module, parameter: Tensor) -> int:
    """Return under how many names a module holds a parameter."""
    return sum(one is parameter for _, one in module.named_parameters(remove_duplicate=False))
