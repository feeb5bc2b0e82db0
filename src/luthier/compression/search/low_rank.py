"""Low rank: matrices of the layers as products of two thinner ones, where that moves the outputs of each least.

What a matrix W makes of its inputs matters, not its own numbers. So with the inputs' second moment S S on training rows
it is W S that is cut at its largest singular values, and the second factor is multiplied by the inverse of S. Which
matrix keeps how many follows from one order of all singular values: by the share of the matrix's output that each
stands for, over the parameters that it takes.

References: Wang et al. 2024, SVD-LLM: Truncation-aware Singular Value Decomposition for Large Language Model
Compression. Deviation: a symmetric root of the moment, and ranks of their own for the matrices.

Covered: types whose matrices are plain linear layers in one list of layers. A matrix that would not get smaller stays
whole. Not covered: the table of embeddings.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from luthier.compression.export.traceable import Batch
from luthier.data.outputs import MASK
from luthier.models.assembly import TaskModel
from luthier.models.tuning.layouts import LAYOUTS, layout_of
from luthier.training.gradients import to_torch

STEP = 8
"""Ranks are multiples of it."""
RIDGE = 1e-6
"""What is added to a moment's diagonal, as a share of its mean, so that its root has an inverse."""


@dataclass(frozen=True)
class Cut:
    """A matrix as a product, all ranks of it.

    Attributes:
        left: (out, R) the columns of the first factor, the most important first.
        right: (R, in) the rows of the second.
        energy: (R,) the share of the matrix's output that each rank stands for.
    """

    left: Tensor
    right: Tensor
    energy: Tensor

    @property
    def price(self) -> int:
        """The parameters of one rank."""
        return self.left.shape[0] + self.right.shape[1]

    @property
    def most(self) -> int:
        """The highest rank that has fewer parameters than the matrix."""
        whole = self.left.shape[0] * self.right.shape[1]
        return (whole - 1) // self.price // STEP * STEP


def refusal(model: TaskModel) -> str | None:
    """Return why a model's matrices must stay whole; None where they may become products."""
    backbone: Any = model.backbone
    kind = str(backbone.config.model_type)
    layout = LAYOUTS.get(kind)
    if layout is None:
        return f"the matrices of {kind} models are not known"
    if layout.upper_layers or not layout.attention or layout.transposed:
        return f"the matrices of {kind} models are no plain linear layers in one list of layers"
    return None


def factored(model: TaskModel, share: float, batches: Sequence[Batch]) -> TaskModel:
    """Return a copy whose layers' matrices have a share of their parameters.

    Args:
        model: in evaluation mode, not refused.
        share: between 0 and 1.
        batches: of training rows, for what the matrices read.
    """
    student = copy.deepcopy(model)
    matrices = _matrices(student)
    found = moments(student, batches)
    cuts = {name: cut(matrix.weight.detach(), found[name]) for name, matrix in matrices.items()}
    for name, rank in ranks(cuts, share).items():
        student.set_submodule(name, _product(matrices[name], cuts[name], rank))
    return student


def moments(model: TaskModel, batches: Sequence[Batch]) -> dict[str, Tensor]:
    """Return the second moment of what each matrix of the layers reads, (in, in), over the real tokens of batches."""
    found: dict[str, Tensor] = {}
    with torch.inference_mode():
        for batch in batches:
            given = to_torch(batch, torch.device("cpu"))
            real = given[MASK].bool()
            hooks = [
                matrix.register_forward_pre_hook(_adding(found, name, real))
                for name, matrix in _matrices(model).items()
            ]
            try:
                model(given)
            finally:
                for hook in hooks:
                    hook.remove()
    return found


def cut(weight: Tensor, moment: Tensor) -> Cut:
    """Return a matrix as a product, by what it makes of inputs.

    Args:
        weight: (out, in).
        moment: (in, in) of its inputs, not zero.
    """
    moment = moment + RIDGE * moment.diagonal().mean() * torch.eye(len(moment), dtype=moment.dtype)
    values, vectors = torch.linalg.eigh(moment)
    roots = values.clamp(min=0).sqrt().clamp(min=values.max().sqrt() * RIDGE)
    root, inverse = vectors * roots @ vectors.T, vectors / roots @ vectors.T
    left, sizes, right = torch.linalg.svd(weight.double() @ root, full_matrices=False)
    half = sizes.sqrt()
    energy = sizes.square() / sizes.square().sum().clamp(min=1e-30)
    return Cut((left * half).float(), (half[:, None] * right @ inverse).float(), energy)


def ranks(cuts: Mapping[str, Cut], share: float) -> dict[str, int]:
    """Return the rank of each matrix that becomes a product; the others stay whole.

    Args:
        cuts: `{matrix: its product}`.
        share: of all parameters that may stay.
    """
    budget = share * sum(one.left.shape[0] * one.right.shape[1] for one in cuts.values())
    order = sorted(
        ((float(energy) / one.price, name) for name, one in cuts.items() for energy in one.energy), reverse=True
    )
    kept = dict.fromkeys(cuts, 0)
    for _, name in order:
        budget -= cuts[name].price
        if budget < 0:
            break
        kept[name] += 1
    rounded = {name: max(STEP, round(rank / STEP) * STEP) for name, rank in kept.items()}
    return {name: rank for name, rank in rounded.items() if rank <= cuts[name].most}


def fit_factors(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Make products of those matrices of a model that are products in some tensors, in place; values stay to be loaded.

    Args:
        model: with whole matrices.
        state: tensors under the model's own names.
    """
    for name, matrix in list(model.named_modules()):
        first = state.get(f"{name}.0.weight")
        if first is not None and isinstance(matrix, nn.Linear):
            model.set_submodule(name, _empty_product(matrix, len(first)))


def _matrices(model: TaskModel) -> dict[str, nn.Linear]:
    """Return the matrices of all layers, under the model's own names."""
    backbone: Any = model.backbone
    layout = layout_of(backbone)
    names = [
        f"backbone.{layout.layers}.{number}.{name}"
        for number in range(len(backbone.get_submodule(layout.layers)))
        for name in (*layout.attention, *layout.feed_forward)
    ]
    found = {name: model.get_submodule(name) for name in names}
    return {name: one for name, one in found.items() if isinstance(one, nn.Linear)}


def _adding(found: dict[str, Tensor], name: str, real: Tensor) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    def hook(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        values = given[0]
        rows = (values[real] if values.shape[:2] == real.shape else values.flatten(0, -2)).double()
        moment = rows.T @ rows
        found[name] = found[name] + moment if name in found else moment

    return hook


def _product(matrix: nn.Linear, parts: Cut, rank: int) -> nn.Sequential:
    found = _empty_product(matrix, rank)
    state = {"0.weight": parts.right[:rank], "1.weight": parts.left[:, :rank]}
    found.load_state_dict(state if matrix.bias is None else {**state, "1.bias": matrix.bias.detach()})
    return found


def _empty_product(matrix: nn.Linear, rank: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(matrix.in_features, rank, bias=False),
        nn.Linear(rank, matrix.out_features, bias=matrix.bias is not None),
    )
