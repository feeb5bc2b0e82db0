"""The classification head: one pooled state per text, a hidden layer, an output per class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

Pooling = Literal["first", "last", "mean"]
ACTIVATIONS: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "relu": nn.ReLU, "gelu": nn.GELU}


class ClassificationHead(nn.Module):
    """Pool, dense, activation, dropout, output.

    Args:
        hidden: width of the backbone's states.
        outputs: number of classes.
        pooling: which state stands for the text: `first` (the class token), `last` (the last real token) or `mean`
            (over real tokens).
        activation: after the dense layer.
        dropout: probability of zeroing a unit before the output, in [0, 1).
    """

    def __init__(
        self,
        *,
        hidden: int,
        outputs: int,
        pooling: Pooling = "first",
        activation: str = "tanh",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.pooling = pooling
        self.dense = nn.Linear(hidden, hidden)
        self.activation = ACTIVATIONS[activation]()
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(hidden, outputs)

    def forward(self, states: Tensor, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return `{"logits": (B, outputs)}`.

        Args:
            states: (B, T, H) of the backbone.
            batch: `attention_mask` (B, T), 1 where a token is real.
        """
        hidden = self.activation(self.dense(pool(states, batch["attention_mask"], self.pooling)))
        return {"logits": self.output(self.dropout(hidden))}


def pool(states: Tensor, mask: Tensor, pooling: Pooling) -> Tensor:
    """Return one state per row, (B, H), from (B, T, H) and a (B, T) mask."""
    if pooling == "first":
        return states[:, 0]
    if pooling == "last":
        last = mask.sum(dim=1).clamp(min=1) - 1
        return states[torch.arange(len(states), device=states.device), last]
    weight = mask.unsqueeze(-1).to(states.dtype)  # (B, T, 1)
    return (states * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1)
