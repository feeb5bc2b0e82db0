"""The token classification head: an output per class for every token."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from luthier.models.heads.base import Head


class TokenClassificationHead(Head):
    """Dropout and one product for each token's state.

    Args:
        hidden: width of the backbone's states.
        outputs: number of classes.
        dropout: probability of zeroing a unit before the output, in [0, 1).
    """

    def __init__(self, *, hidden: int, outputs: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(hidden, outputs)

    def forward(self, states: Tensor, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return `{"logits": (B, T, outputs)}` of states (B, T, H)."""
        return {"logits": self.output(self.dropout(states))}
