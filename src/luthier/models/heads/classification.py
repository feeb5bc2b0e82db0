"""The classification head: one pooled state per text, a hidden layer, an output per class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from luthier.models.heads.base import Head

Pooling = Literal["first", "last", "mean"]


class ClassificationHead(Head):
    """Pool, hidden layer, activation, norm, dropout, output.

    Args:
        hidden: width of the backbone's states.
        outputs: number of classes.
        pooling: which state stands for the text: `first` (the class token), `last` (the last real token) or `mean`
            (over real tokens).
        hidden_layer: whether there is a layer between state and output.
        hidden_bias: whether that layer has a bias.
        activation: after it.
        norm: epsilon of a LayerNorm without bias after the activation; None has none.
        dropout: probability of zeroing a unit before the output, in [0, 1).
        output_bias: whether the output has a bias.
    """

    def __init__(
        self,
        *,
        hidden: int,
        outputs: int,
        pooling: Pooling = "first",
        hidden_layer: bool = True,
        hidden_bias: bool = True,
        activation: str = "tanh",
        norm: float | None = None,
        dropout: float = 0.0,
        output_bias: bool = True,
    ) -> None:
        super().__init__()
        self.pooling = pooling
        self.add_hidden(hidden, layer=hidden_layer, bias=hidden_bias, activation=activation, norm=norm)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(hidden, outputs, bias=output_bias)

    def forward(self, states: Tensor, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return `{"logits": (B, outputs)}`.

        Args:
            states: (B, T, H) of the backbone.
            batch: `attention_mask` (B, T), 1 where a token is real.
        """
        hidden = self.through_hidden(pool(states, batch["attention_mask"], self.pooling))
        return {"logits": self.output(self.dropout(hidden))}


def pool(states: Tensor, mask: Tensor, pooling: Pooling) -> Tensor:
    """Return one state per row, (B, H), from (B, T, H) and a (B, T) mask."""
    if pooling == "first":
        return states[:, 0]
    if pooling == "last":
        last = mask.sum(dim=1).clamp(min=1) - 1
        return states[torch.arange(states.shape[0], device=states.device), last]
    weight = mask.unsqueeze(-1).to(states.dtype)  # (B, T, 1)
    return (states * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1)
