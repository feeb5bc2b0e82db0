"""Heads: one file per kind, and the table that names them. A head maps backbone states to named outputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from luthier.models.heads.classification import ClassificationHead
from luthier.models.heads.language_model import LanguageModelHead

HEADS: dict[str, Callable[..., nn.Module]] = {
    "classification": ClassificationHead,
    "language-model": LanguageModelHead,
}

__all__ = ["HEADS", "ClassificationHead", "LanguageModelHead", "build_head"]


def build_head(kind: str, settings: dict[str, Any]) -> nn.Module:
    """Return a new head.

    Args:
        kind: a key of `HEADS`.
        settings: keyword arguments of its class.
    """
    return HEADS[kind](**settings)
