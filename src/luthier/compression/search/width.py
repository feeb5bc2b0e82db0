"""Narrower layers: attention with fewer heads and feed-forward parts with fewer units, the least important ones gone.

What removing a unit would move is estimated to first order from its value and the outputs' gradient, on training rows
and without labels.

References: Michel et al. 2019, Are sixteen heads really better than one?, and Molchanov et al. 2019, Importance
estimation for neural network pruning. Deviation: the gradient is that of the outputs themselves, each times a random
sign, not of a loss; every layer keeps the same share, in numbers that matrix products like.

Covered: types whose queries, keys and values are matrices of their own. Where several query heads share keys and
values, they go together.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from luthier.compression.export.traceable import Batch
from luthier.models.assembly import TaskModel
from luthier.models.tuning.layouts import layout_of
from luthier.training.gradients import to_torch

TYPES = ("bert", "distilbert", "electra", "llama", "qwen2", "roberta")
UNITS = 32
"""Feed-forward parts keep a multiple of it, where they have so many units."""


def refusal(model: TaskModel) -> str | None:
    """Return why a model's layers must keep their width; None where they may be narrowed."""
    backbone: Any = model.backbone
    kind = str(backbone.config.model_type)
    return None if kind in TYPES else f"the heads of {kind} models are not known as separate matrices"


def projections(model: TaskModel) -> list[nn.Module]:
    """Return the matrices of queries, keys and values of a model's last layer; none where they are not separate."""
    if refusal(model) is not None:
        return []
    backbone: Any = model.backbone
    layout = layout_of(backbone)
    return [backbone.get_submodule(layout.layers)[-1].get_submodule(name) for name in layout.attention[:3]]


def narrowed(model: TaskModel, share: float, batches: Sequence[Batch]) -> TaskModel:
    """Return a copy whose layers keep a share of their heads and feed-forward units, at least one head.

    Args:
        model: in evaluation mode, of a type in `TYPES`.
        share: between 0 and 1, of the model's own width.
        batches: of training rows, for what is important.
    """
    weights = importance(model, batches)
    student = copy.deepcopy(model)
    for name, part in _parts(student).items():
        groups = part.outputs.in_features // part.size
        kept = _number(groups, share, multiple=UNITS if part.size == 1 else 1)
        best = weights[name].argsort(descending=True, stable=True)[:kept].sort().values
        part.keep(best)
    return student


def importance(model: TaskModel, batches: Sequence[Batch]) -> dict[str, Tensor]:
    """Return, for each part that may be narrowed, how much each of its groups moves the outputs.

    Args:
        model: in evaluation mode.
        batches: of training rows.

    Returns:
        `{name of the matrix that ends the part: (groups,)}`.
    """
    parts = _parts(model)
    found = {name: torch.zeros(part.outputs.in_features // part.size) for name, part in parts.items()}
    draw = torch.Generator().manual_seed(0)
    for batch in batches:
        seen: dict[str, Tensor] = {}
        hooks = [part.outputs.register_forward_pre_hook(_keeping(seen, name)) for name, part in parts.items()]
        try:
            outputs = model(to_torch(batch, torch.device("cpu")))
        finally:
            for hook in hooks:
                hook.remove()
        total = sum(_signed(values, draw) for values in outputs.values())
        assert isinstance(total, Tensor), "a model has outputs"
        gradients = torch.autograd.grad(total, list(seen.values()))
        for (name, values), gradient in zip(seen.items(), gradients, strict=True):
            moved = (values.detach() * gradient).flatten(1, -2).sum(1)  # (B, width): each row by itself
            found[name] += moved.reshape(len(moved), -1, parts[name].size).sum(2).square().sum(0)
    return found


@dataclass(frozen=True)
class _Part:
    """Matrices of one layer whose rows, and the columns of the last, belong together.

    Attributes:
        inputs: `(matrix, rows of a group)`.
        outputs: the matrix that ends the part.
        size: its columns of a group.
    """

    inputs: tuple[tuple[nn.Linear, int], ...]
    outputs: nn.Linear
    size: int

    def keep(self, groups: Tensor) -> None:
        """Leave some groups alone, numbers rising."""
        for matrix, size in self.inputs:
            rows = _members(groups, size)
            matrix.weight = nn.Parameter(matrix.weight.detach()[rows].clone())
            if matrix.bias is not None:
                matrix.bias = nn.Parameter(matrix.bias.detach()[rows].clone())
            matrix.out_features = len(rows)
        columns = _members(groups, self.size)
        self.outputs.weight = nn.Parameter(self.outputs.weight.detach()[:, columns].clone())
        self.outputs.in_features = len(columns)


def _parts(model: TaskModel) -> dict[str, _Part]:
    """Return the parts of every layer under the names of the matrices that end them."""
    backbone: Any = model.backbone
    layout = layout_of(backbone)
    size = _head_size(backbone.config)
    found = {}
    for number, layer in enumerate(backbone.get_submodule(layout.layers)):
        *projections, last = (layer.get_submodule(name) for name in layout.attention)
        key = layer.get_submodule(layout.key_value[0])
        shared = last.in_features // key.out_features  # query heads of one key
        sizes = [size if one.out_features == key.out_features else size * shared for one in projections]
        attention = _Part(tuple(zip(projections, sizes, strict=True)), last, size * shared)
        *first, second = (layer.get_submodule(name) for name in layout.feed_forward)
        found[f"{number}.{layout.attention[-1]}"] = attention
        found[f"{number}.{layout.feed_forward[-1]}"] = _Part(tuple((one, 1) for one in first), second, 1)
    return found


def _head_size(config: Any) -> int:
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def _number(groups: int, share: float, *, multiple: int) -> int:
    """Return how many groups a share is, a multiple where there are so many."""
    if groups < 2 * multiple:
        multiple = 1
    return min(groups, max(multiple, round(groups * share / multiple) * multiple))


def _members(groups: Tensor, size: int) -> Tensor:
    return (groups[:, None] * size + torch.arange(size)).flatten()


def _signed(values: Tensor, draw: torch.Generator) -> Tensor:
    signs = torch.randint(0, 2, values.shape, generator=draw) * 2.0 - 1.0
    return torch.where(torch.isfinite(values), values * signs, 0.0).sum()


def _keeping(seen: dict[str, Tensor], name: str) -> Any:
    def hook(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        seen[name] = given[0]

    return hook


def fit(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Give the matrices of a model the shapes that tensors have, in place; values stay to be loaded.

    Args:
        model: with the whole width.
        state: tensors under the model's own names.
    """
    for name, matrix in _linears(model):
        weight = state.get(f"{name}.weight")
        if weight is not None and weight.shape != matrix.weight.shape:
            matrix.out_features, matrix.in_features = weight.shape
            matrix.weight = nn.Parameter(torch.empty_like(weight))
            if matrix.bias is not None:
                matrix.bias = nn.Parameter(torch.empty(len(weight)))


def _linears(model: nn.Module) -> Iterator[tuple[str, nn.Linear]]:
    return ((name, one) for name, one in model.named_modules() if isinstance(one, nn.Linear))
