"""The span head: for every token, how well an answer begins and ends with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from luthier.models.heads.base import Head, width


class SpanHead(Head):
    """One product with two outputs for each token's state, without dropout, as in most plain classes.

    Args:
        hidden: width of the backbone's states.
        hidden_layer: whether there is a layer between state and output.
        hidden_bias: whether that layer has a bias.
        activation: after it.
        norm: epsilon of a LayerNorm without bias after the activation; None has none.
    """

    def __init__(
        self,
        *,
        hidden: int,
        hidden_layer: bool = False,
        hidden_bias: bool = True,
        activation: str = "gelu",
        norm: float | None = None,
    ) -> None:
        super().__init__()
        self.add_hidden(hidden, layer=hidden_layer, bias=hidden_bias, activation=activation, norm=norm)
        self.output = nn.Linear(hidden, 2)

    @classmethod
    def follow(cls, config: Any) -> dict[str, Any]:
        """Return the width of a backbone's states."""
        return {"hidden": width(config)}

    def forward(self, states: Tensor, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return `{"logits": (B, T, 2)}` of states (B, T, H): start and end."""
        return {"logits": self.output(self.through_hidden(states))}
