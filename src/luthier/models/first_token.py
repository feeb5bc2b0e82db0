"""The state of the first token alone, where the heads read no other.

In the last layer of an encoder only the first token asks: its query meets every token's key and value, and all that
comes after the attention is computed for one token instead of T. The answers and gradients are those of the whole
backbone. Where the last layer is not one that is known here, the whole backbone computes as before.

With q the first token's query, a its attention and x the tokens' states, q · (K x) = (Kᵀ q) · x and Σ a (V x) =
V (Σ a x), so plain key and value matrices are multiplied once a row and not once a token.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from luthier.models.tuning.layouts import layout_of
from luthier.models.views import with_layers

Projections = tuple[Any, Any, Any]
Layer = Callable[[Any, Tensor, Tensor | None], Tensor]
KERNELS = frozenset({"eager", "sdpa"})


def first_only(backbone: nn.Module) -> nn.Module:
    """Return a view of a backbone whose `last_hidden_state` is the first token's, (B, 1, H).

    The backbone itself is returned where its last layer is not known, or something listens to its modules. The view is
    made anew for every pass, which takes about a tenth of a millisecond: so it is never older than the backbone.

    Args:
        backbone: of any kind; it is not changed.
    """
    compute = FIRST.get(_class_of(backbone))
    if compute is None:
        return backbone
    layers = list(backbone.get_submodule(layout_of(backbone).layers).children())
    if not layers or not _as_published(layers[-1], backbone):
        return backbone
    return with_layers(backbone, [*layers[:-1], _FirstToken(layers[-1], compute)])


class _FirstToken(nn.Module):
    """Takes the place of the last layer."""

    def __init__(self, layer: nn.Module, compute: Layer) -> None:
        super().__init__()
        self.layer = layer
        self.compute = compute

    def forward(self, states: Tensor, attention_mask: Tensor | None = None, *others: Any, **named: Any) -> Tensor:
        """Return the first token's state, (B, 1, H), from all tokens' states below, (B, T, H)."""
        return self.compute(self.layer, states, attention_mask)


def _bert(layer: Any, states: Tensor, mask: Tensor | None) -> Tensor:
    attention = layer.attention.self
    context = _attend(attention, (attention.query, attention.key, attention.value), states, mask)
    found = layer.attention.output(context, states[:, :1])
    state: Tensor = layer.output(layer.intermediate(found), found)
    return state


def _distilbert(layer: Any, states: Tensor, mask: Tensor | None) -> Tensor:
    attention = layer.attention
    context = _attend(attention, (attention.q_lin, attention.k_lin, attention.v_lin), states, mask)
    found = layer.sa_layer_norm(attention.out_lin(context) + states[:, :1])
    state: Tensor = layer.output_layer_norm(layer.ffn(found) + found)
    return state


FIRST: Mapping[str, Layer] = {
    "transformers.models.bert.modeling_bert.BertModel": _bert,
    "transformers.models.distilbert.modeling_distilbert.DistilBertModel": _distilbert,
    "transformers.models.electra.modeling_electra.ElectraModel": _bert,
    "transformers.models.roberta.modeling_roberta.RobertaModel": _bert,
    "transformers.models.xlm_roberta.modeling_xlm_roberta.XLMRobertaModel": _bert,
}
"""How the last layer computes, by the backbone's class; a wrapped or sharded backbone has another one."""

PASSED_BY: Mapping[Layer, tuple[tuple[str, str], ...]] = {
    _bert: (("", "{}Layer"), ("attention", "{}Attention"), ("attention.self", "{}SelfAttention")),
    _distilbert: (("", "TransformerBlock"), ("attention", "{}SelfAttention")),
}
"""The modules of a layer whose own `forward` is not called, and their classes; {} is the family, such as `Bert`."""


def _class_of(module: nn.Module) -> str:
    return f"{type(module).__module__}.{type(module).__qualname__}"


def _as_published(layer: nn.Module, backbone: Any) -> bool:
    """Return whether a layer computes what its class says: nothing was put in its way, nothing listens inside."""
    config, compute = backbone.config, FIRST[_class_of(backbone)]
    package, family = type(backbone).__module__, type(backbone).__name__.removesuffix("Model")
    passed_by = [(layer.get_submodule(path), name.format(family)) for path, name in PASSED_BY[compute]]
    return (
        config._attn_implementation in KERNELS
        and not getattr(config, "is_decoder", False)
        and not config.chunk_size_feed_forward
        and not getattr(layer, "gradient_checkpointing", False)
        and all(_class_of(one) == f"{package}.{name}" for one, name in passed_by)
        and not any(_listened_to(one) for one, _ in passed_by)
    )


def _listened_to(module: nn.Module) -> bool:
    return bool(
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    )


def _attend(attention: Any, projections: Projections, states: Tensor, mask: Tensor | None) -> Tensor:
    """Return what the first token takes from all, (B, 1, A), in plain steps: one query makes no large matrix.

    Args:
        attention: gives size of a head, scale and dropout.
        projections: to query, key and value.
        states: (B, T, H).
        mask: (B, 1, T, T), true or 0 where a token is seen; None where every one is.
    """
    query, key, value = projections
    asked = query(states[:, :1])[:, 0].unflatten(-1, (-1, attention.attention_head_size))  # (B, h, d)
    scores = _scores(asked, key, states) * attention.scaling  # (B, h, T)
    if mask is not None:
        seen = mask[:, :, 0]  # (B, 1, T)
        scores = scores.masked_fill(~seen, torch.finfo(scores.dtype).min) if seen.dtype == torch.bool else scores + seen
    weights = F.dropout(scores.softmax(-1), attention.dropout.p, attention.training)
    return _taken(weights, value, states).flatten(1)[:, None]


def _scores(asked: Tensor, key: Any, states: Tensor) -> Tensor:
    """Return the products of queries (B, h, d) with all tokens' keys, (B, h, T)."""
    heads = asked.shape[1]
    if not _is_plain(key):
        keys = key(states).unflatten(-1, (heads, -1))  # (B, T, h, d)
        return torch.matmul(asked[:, :, None], keys.permute(0, 2, 3, 1))[:, :, 0]
    folded = torch.matmul(asked.transpose(0, 1), key.weight.unflatten(0, (heads, -1)))  # (h, B, H)
    scores = torch.matmul(folded.transpose(0, 1), states.transpose(1, 2))
    if key.bias is not None:
        scores = scores + (asked * key.bias.unflatten(0, (heads, -1))).sum(-1, keepdim=True)
    return scores


def _taken(weights: Tensor, value: Any, states: Tensor) -> Tensor:
    """Return the sums of all tokens' values by weights (B, h, T), (B, h, d)."""
    heads = weights.shape[1]
    if not _is_plain(value):
        values = value(states).unflatten(-1, (heads, -1)).transpose(1, 2)  # (B, h, T, d)
        return torch.matmul(weights[:, :, None], values)[:, :, 0]
    pooled = torch.matmul(weights, states)  # (B, h, H)
    matrices = value.weight.unflatten(0, (heads, -1)).transpose(1, 2)  # (h, H, d)
    found = torch.matmul(pooled.transpose(0, 1), matrices).transpose(0, 1)
    if value.bias is not None:
        found = found + weights.sum(-1, keepdim=True) * value.bias.unflatten(0, (heads, -1))
    return found


def _is_plain(layer: nn.Module) -> bool:
    """Return whether a projection is a matrix and nothing more: no update beside it, no scale, no listener."""
    return type(layer) is nn.Linear and not _listened_to(layer)
