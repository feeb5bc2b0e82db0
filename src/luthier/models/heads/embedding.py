"""The embedding head: one pooled state per text, of unit length. It has no parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from luthier.models.heads.base import Head, width
from luthier.models.heads.classification import Pooling, pool

POOLINGS = {"first": "pooling_mode_cls_token", "last": "pooling_mode_lasttoken", "mean": "pooling_mode_mean_tokens"}
"""What sentence-transformers calls each pooling."""


class EmbeddingHead(Head):
    """Pool, and divide by the length.

    Args:
        pooling: `first` (the class token), `last` (the last real token) or `mean` (over real tokens).
        normalize: whether vectors get unit length.
    """

    def __init__(self, *, pooling: Pooling = "mean", normalize: bool = True) -> None:
        super().__init__()
        self.pooling = pooling
        self.normalize = normalize

    @classmethod
    def follow(cls, config: Any) -> dict[str, Any]:
        """Return nothing: no setting follows from a backbone."""
        return {}

    @classmethod
    def papers(cls, settings: Mapping[str, Any], config: Any) -> dict[str, Any]:
        """Return the modules of sentence-transformers that give the same vectors."""
        kinds = ["Transformer", "Pooling", *(["Normalize"] if settings["normalize"] else [])]
        folders = ["", *(f"{place}_{kind}" for place, kind in enumerate(kinds) if place)]
        modules = [
            {"idx": place, "name": str(place), "path": folder, "type": f"sentence_transformers.models.{kind}"}
            for place, (kind, folder) in enumerate(zip(kinds, folders, strict=True))
        ]
        modes = {name: way == settings["pooling"] for way, name in POOLINGS.items()}
        return {
            "modules.json": modules,
            "sentence_bert_config.json": {"max_seq_length": None, "do_lower_case": False},
            "1_Pooling/config.json": {"word_embedding_dimension": width(config), **modes},
        }

    def forward(self, states: Tensor, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return `{"embedding": (B, H)}`.

        Args:
            states: (B, T, H) of the backbone.
            batch: `attention_mask` (B, T), 1 where a token is real.
        """
        found = pool(states, batch["attention_mask"], self.pooling)
        return {"embedding": F.normalize(found.float(), dim=-1) if self.normalize else found}
