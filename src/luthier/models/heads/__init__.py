"""Heads: one file per kind, and the table that names them. A head maps backbone states to named outputs."""

from __future__ import annotations

from typing import Any

from torch import nn

from luthier.models.heads.base import Head
from luthier.models.heads.classification import ClassificationHead
from luthier.models.heads.embedding import EmbeddingHead
from luthier.models.heads.language_model import LanguageModelHead
from luthier.models.heads.sequence_to_sequence import SequenceToSequenceHead
from luthier.models.heads.span import SpanHead
from luthier.models.heads.token_classification import TokenClassificationHead

HEADS: dict[str, type[Head]] = {
    "classification": ClassificationHead,
    "embedding": EmbeddingHead,
    "language-model": LanguageModelHead,
    "span": SpanHead,
    "token-classification": TokenClassificationHead,
    "sequence-to-sequence": SequenceToSequenceHead,
}

__all__ = [
    "HEADS",
    "ClassificationHead",
    "EmbeddingHead",
    "Head",
    "LanguageModelHead",
    "SequenceToSequenceHead",
    "SpanHead",
    "TokenClassificationHead",
    "build_head",
    "head_class",
    "head_names",
]


def head_class(kind: str) -> type[Head]:
    """Return the class of a kind of head, a key of `HEADS`."""
    return HEADS[kind]


def build_head(kind: str, settings: dict[str, Any]) -> nn.Module:
    """Return a new head.

    Args:
        kind: a key of `HEADS`.
        settings: keyword arguments of its class.
    """
    return HEADS[kind](**settings)


def head_names(kind: str, settings: dict[str, Any]) -> list[str]:
    """Return the names of a head's tensors, without making any."""
    import torch

    with torch.device("meta"):
        return list(build_head(kind, settings).state_dict())
