"""The contract of a head."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn


class Head(nn.Module):
    """Maps backbone states to named outputs.

    `forward(states, batch)` returns `{name: (B, ...)}` from states (B, T, H) and the batch that they were made of.
    """

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
