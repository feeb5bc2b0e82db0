"""The span head: for every token, how well an answer begins and ends with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from luthier.models.heads.base import Head, width


class SpanHead(Head):
    """One product with two outputs for each token's state, without dropout, as in the plain classes.

    Args:
        hidden: width of the backbone's states.
    """

    def __init__(self, *, hidden: int) -> None:
        super().__init__()
        self.output = nn.Linear(hidden, 2)

    @classmethod
    def follow(cls, config: Any) -> dict[str, Any]:
        """Return the width of a backbone's states."""
        return {"hidden": width(config)}

    def forward(self, states: Tensor, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return `{"logits": (B, T, 2)}` of states (B, T, H): start and end."""
        return {"logits": self.output(states)}
