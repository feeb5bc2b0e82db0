"""Where the parts of a backbone lie: layers, embeddings, and the matrices inside a layer. One line per model type."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from luthier.errors import ModelError

if TYPE_CHECKING:
    from torch import nn

Targets = Literal["query-value", "attention", "all"]


@dataclass(frozen=True)
class Layout:
    """Names of a backbone's parts.

    Attributes:
        layers: the list of layers.
        embeddings: what lies below the first layer.
        query_value: the projections to queries and values, inside a layer.
        key_value: the projections to keys and values.
        attention: every matrix of the attention, its output last.
        feed_forward: every matrix of the feed-forward part, its output last.
        transposed: whether matrices are stored as (in, out).
    """

    layers: str
    embeddings: tuple[str, ...]
    query_value: tuple[str, ...]
    key_value: tuple[str, ...]
    attention: tuple[str, ...]
    feed_forward: tuple[str, ...]
    transposed: bool = False

    def matrices(self, targets: Targets) -> tuple[str, ...]:
        """Return the matrices of a layer that a word stands for."""
        words = {
            "query-value": self.query_value,
            "attention": self.attention,
            "all": (*self.attention, *self.feed_forward),
        }
        return words[targets]

    def pattern(self, names: Sequence[str]) -> str:
        """Return a regular expression that matches the full names of these modules in every layer, and no others."""
        return rf"{re.escape(self.layers)}\.\d+\.({'|'.join(map(re.escape, names))})"


_BERT = Layout(
    layers="encoder.layer",
    embeddings=("embeddings",),
    query_value=("attention.self.query", "attention.self.value"),
    key_value=("attention.self.key", "attention.self.value"),
    attention=("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"),
    feed_forward=("intermediate.dense", "output.dense"),
)

_LLAMA = Layout(
    layers="layers",
    embeddings=("embed_tokens",),
    query_value=("self_attn.q_proj", "self_attn.v_proj"),
    key_value=("self_attn.k_proj", "self_attn.v_proj"),
    attention=("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"),
    feed_forward=("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"),
)

LAYOUTS: dict[str, Layout] = {
    "bert": _BERT,
    "roberta": _BERT,
    "electra": Layout(
        layers=_BERT.layers,
        embeddings=("embeddings", "embeddings_project"),
        query_value=_BERT.query_value,
        key_value=_BERT.key_value,
        attention=_BERT.attention,
        feed_forward=_BERT.feed_forward,
    ),
    "distilbert": Layout(
        layers="transformer.layer",
        embeddings=("embeddings",),
        query_value=("attention.q_lin", "attention.v_lin"),
        key_value=("attention.k_lin", "attention.v_lin"),
        attention=("attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin"),
        feed_forward=("ffn.lin1", "ffn.lin2"),
    ),
    "gpt2": Layout(  # one matrix makes queries, keys and values
        layers="h",
        embeddings=("wte", "wpe"),
        query_value=("attn.c_attn",),
        key_value=("attn.c_attn",),
        attention=("attn.c_attn", "attn.c_proj"),
        feed_forward=("mlp.c_fc", "mlp.c_proj"),
        transposed=True,
    ),
    "llama": _LLAMA,
    "qwen2": _LLAMA,
}


def layout_of(backbone: nn.Module) -> Layout:
    """Return a backbone's layout.

    Raises:
        ModelError: its type has no line in the table.
    """
    model_type = str(backbone.config.model_type)  # type: ignore[union-attr]
    if model_type not in LAYOUTS:
        raise ModelError(f"the layers of {model_type} models are not known to this method.", fix="Use full or head.")
    return LAYOUTS[model_type]


def parts(backbone: nn.Module) -> list[list[str]]:
    """Return parameter names from the bottom up: the embeddings, each layer, and what lies above (often nothing).

    Every parameter stands in exactly one part.
    """
    layout = layout_of(backbone)
    depth = len(backbone.get_submodule(layout.layers))  # type: ignore[arg-type]
    found: list[list[str]] = [[] for _ in range(depth + 2)]
    for name, _ in backbone.named_parameters():
        if name.split(".")[0] in layout.embeddings:
            found[0].append(name)
        elif name.startswith(f"{layout.layers}."):
            found[1 + int(name.removeprefix(f"{layout.layers}.").split(".")[0])].append(name)
        else:
            found[-1].append(name)
    return found
