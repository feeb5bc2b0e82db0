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
        upper_layers: a second list of layers that stands on the first, such as a decoder's; empty without one.
        attention_outputs: the outputs of attentions, where a layer has several; empty takes the last of `attention`.
        feed_forward_outputs: the same of the feed-forward part.
    """

    layers: str
    embeddings: tuple[str, ...]
    query_value: tuple[str, ...]
    key_value: tuple[str, ...]
    attention: tuple[str, ...]
    feed_forward: tuple[str, ...]
    transposed: bool = False
    upper_layers: str = ""
    attention_outputs: tuple[str, ...] = ()
    feed_forward_outputs: tuple[str, ...] = ()

    @property
    def lists(self) -> tuple[str, ...]:
        """The lists of layers, from the bottom up."""
        return (self.layers, self.upper_layers) if self.upper_layers else (self.layers,)

    @property
    def outputs_of_attention(self) -> tuple[str, ...]:
        """The matrices that end an attention."""
        return self.attention_outputs or self.attention[-1:]

    @property
    def outputs_of_feed_forward(self) -> tuple[str, ...]:
        """The matrices that end a feed-forward part."""
        return self.feed_forward_outputs or self.feed_forward[-1:]

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
        lists = "|".join(map(re.escape, self.lists))
        return rf"({lists})\.\d+\.({'|'.join(map(re.escape, names))})"


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

_BART = Layout(
    layers="encoder.layers",
    upper_layers="decoder.layers",
    embeddings=(
        "shared",
        "encoder.embed_positions",
        "encoder.layernorm_embedding",
        "decoder.embed_positions",
        "decoder.layernorm_embedding",
    ),
    query_value=tuple(f"{kind}.{name}_proj" for kind in ("self_attn", "encoder_attn") for name in "qv"),
    key_value=tuple(f"{kind}.{name}_proj" for kind in ("self_attn", "encoder_attn") for name in "kv"),
    attention=tuple(f"{kind}.{name}_proj" for kind in ("self_attn", "encoder_attn") for name in ("q", "k", "v", "out")),
    attention_outputs=("self_attn.out_proj", "encoder_attn.out_proj"),
    feed_forward=("fc1", "fc2"),
)

_T5_ATTENTIONS = ("layer.0.SelfAttention", "layer.1.EncDecAttention")
_T5_FEED_FORWARD = ("layer.1.DenseReluDense", "layer.2.DenseReluDense")  # of the encoder and of the decoder

LAYOUTS: dict[str, Layout] = {
    "albert": Layout(  # one group of weights for all layers
        layers="encoder.albert_layer_groups",
        embeddings=("embeddings", "encoder.embedding_hidden_mapping_in"),
        query_value=("albert_layers.0.attention.query", "albert_layers.0.attention.value"),
        key_value=("albert_layers.0.attention.key", "albert_layers.0.attention.value"),
        attention=tuple(f"albert_layers.0.attention.{name}" for name in ("query", "key", "value", "dense")),
        feed_forward=("albert_layers.0.ffn", "albert_layers.0.ffn_output"),
    ),
    "bart": _BART,
    "bert": _BERT,
    "deberta-v2": Layout(
        layers="encoder.layer",
        embeddings=("embeddings", "encoder.rel_embeddings", "encoder.LayerNorm"),
        query_value=("attention.self.query_proj", "attention.self.value_proj"),
        key_value=("attention.self.key_proj", "attention.self.value_proj"),
        attention=(
            "attention.self.query_proj",
            "attention.self.key_proj",
            "attention.self.value_proj",
            "attention.output.dense",
        ),
        feed_forward=("intermediate.dense", "output.dense"),
    ),
    "marian": _BART,
    "modernbert": Layout(  # one matrix makes queries, keys and values
        layers="layers",
        embeddings=("embeddings",),
        query_value=("attn.Wqkv",),
        key_value=("attn.Wqkv",),
        attention=("attn.Wqkv", "attn.Wo"),
        feed_forward=("mlp.Wi", "mlp.Wo"),
    ),
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
    "qwen3": _LLAMA,
    "t5": Layout(
        layers="encoder.block",
        upper_layers="decoder.block",
        embeddings=("shared",),
        query_value=tuple(f"{kind}.{name}" for kind in _T5_ATTENTIONS for name in "qv"),
        key_value=tuple(f"{kind}.{name}" for kind in _T5_ATTENTIONS for name in "kv"),
        attention=tuple(f"{kind}.{name}" for kind in _T5_ATTENTIONS for name in "qkvo"),
        attention_outputs=tuple(f"{kind}.o" for kind in _T5_ATTENTIONS),
        feed_forward=tuple(f"{kind}.{name}" for kind in _T5_FEED_FORWARD for name in ("wi", "wi_0", "wi_1", "wo")),
        feed_forward_outputs=tuple(f"{kind}.wo" for kind in _T5_FEED_FORWARD),
    ),
    "xlm-roberta": _BERT,
    "xlnet": Layout(  # its attention is made of tensors, not of layers
        layers="layer",
        embeddings=("word_embedding", "mask_emb"),
        query_value=(),
        key_value=(),
        attention=(),
        feed_forward=("ff.layer_1", "ff.layer_2"),
    ),
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

    Every parameter stands in exactly one part. What stands between two lists of layers goes with the layer below it.
    """
    layout = layout_of(backbone)
    modules = dict(backbone.named_modules())
    lists = [(name, len(modules[name])) for name in layout.lists if name in modules]
    depth = sum(length for _, length in lists)
    found: list[list[str]] = [[] for _ in range(depth + 2)]
    for name, _ in backbone.named_parameters():
        found[_height(name, layout, lists)].append(name)
    return found


def _height(name: str, layout: Layout, lists: Sequence[tuple[str, int]]) -> int:
    """Return which part a parameter stands in; -1 is above all layers."""
    if any(name == one or name.startswith(f"{one}.") for one in layout.embeddings):
        return 0
    below = 1
    for number, (layers, length) in enumerate(lists):
        if name.startswith(f"{layers}."):
            return below + int(name.removeprefix(f"{layers}.").split(".")[0])
        below += length
        if number + 1 < len(lists) and name.split(".")[0] == layers.split(".")[0]:
            return below - 1
    return -1
