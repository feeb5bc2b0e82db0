"""The contract of a head."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

ACTIVATIONS: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "relu": nn.ReLU, "gelu": nn.GELU}


class Head(nn.Module):
    """Maps backbone states to named outputs.

    `forward(states, batch)` returns `{name: (B, ...)}` from states (B, T, H) and the batch that they were made of.
    """

    def add_hidden(self, hidden: int, *, layer: bool, bias: bool, activation: str, norm: float | None) -> None:
        """Give the head what some families have between state and output: `dense`, `activation`, `norm`.

        Args:
            hidden: width of the states, H.
            layer: whether there is a layer at all.
            bias: whether it has one.
            activation: after it, a key of `ACTIVATIONS`.
            norm: epsilon of a LayerNorm without bias behind the activation; None has none.
        """
        self.dense = nn.Linear(hidden, hidden, bias=bias) if layer else None
        self.activation = ACTIVATIONS[activation]()
        self.norm = None if norm is None else nn.LayerNorm(hidden, eps=norm, bias=False)

    def through_hidden(self, states: Tensor) -> Tensor:
        """Return states (..., H) behind what `add_hidden` added."""
        if self.dense is not None:
            states = self.activation(self.dense(states))
        return states if self.norm is None else self.norm(states)

    @classmethod
    def follow(cls, config: Any) -> dict[str, Any]:
        """Return the settings that follow from a backbone's configuration.

        Args:
            config: of Transformers.
        """
        return {"hidden": width(config), "dropout": head_dropout(config)}

    @classmethod
    def papers(cls, settings: Mapping[str, Any], config: Any) -> dict[str, Any]:
        """Return JSON files, by name, that tell other libraries how a plain folder's states become our outputs.

        Args:
            settings: the head's.
            config: of Transformers.
        """
        return {}


def width(config: Any) -> int:
    """Return the width of a backbone's states, H."""
    return int(config.hidden_size)  # every configuration maps its own name for it


def head_dropout(config: Any) -> float:
    """Return the dropout that a family's own classification class uses before its output."""
    keys = (
        "classifier_dropout",
        "seq_classif_dropout",
        "classifier_dropout_prob",
        "cls_dropout",
        "summary_last_dropout",
        "hidden_dropout_prob",
        "dropout",
    )
    for key in keys:
        value = getattr(config, key, None)
        if value is not None:
            return float(value)
    return 0.0
