"""The token classification head: an output per class for every token."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from luthier.models.heads.base import Head


class TokenClassificationHead(Head):
    """Dropout and one product, in some families behind a hidden layer, for each token's state.

    Args:
        hidden: width of the backbone's states.
        outputs: number of classes.
        hidden_layer: whether there is a layer between state and output.
        hidden_bias: whether that layer has a bias.
        activation: after it.
        norm: epsilon of a LayerNorm without bias after the activation; None has none.
        dropout: probability of zeroing a unit before the output, in [0, 1).
    """

    def __init__(
        self,
        *,
        hidden: int,
        outputs: int,
        hidden_layer: bool = False,
        hidden_bias: bool = True,
        activation: str = "gelu",
        norm: float | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.add_hidden(hidden, layer=hidden_layer, bias=hidden_bias, activation=activation, norm=norm)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(hidden, outputs)

    def forward(self, states: Tensor, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return `{"logits": (B, T, outputs)}` of states (B, T, H)."""
        return {"logits": self.output(self.dropout(self.through_hidden(states)))}
