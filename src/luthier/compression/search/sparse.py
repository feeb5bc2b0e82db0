"""Sparsity: half of the numbers of a model's matrices become zero, and stay zero while what is left learns.

Which half is as in the sparse forms of models that write (`models.packed.heaviest`): the lesser one of each row, or two
of every four, by a number's size times that of its input on training rows. The file leaves the zeros out.

Reference: Sun et al. 2024, A Simple and Effective Pruning Approach for Large Language Models (Wanda). Deviation: the
whole model teaches what is left, which Wanda does without.

Covered: every linear layer of the backbone, GPT-2's own kind among them. Not covered: heads, tables of embeddings, and
speed: in memory the matrices are whole.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from luthier.compression.export.traceable import Batch
from luthier.compression.search.weight_only import WeightForm, seen_inputs
from luthier.models.assembly import TaskModel
from luthier.models.packed import heaviest
from luthier.models.packed_folder import HEADS, Scheme, matrices
from luthier.models.tuning.full import Full

STORED: Mapping[str, WeightForm] = {
    "1/2": WeightForm("torch bf16", "bf16", Scheme(16, sparse=True)),
    "2:4": WeightForm("torch bf16", "bf16", Scheme(16, 4, sparse=True)),
}
"""How a model is stored half of whose numbers are zero: in each row, or in every four of it."""


def halved(model: TaskModel, pattern: str, batches: Sequence[Batch]) -> TaskModel:
    """Return a copy with half of each matrix's numbers at zero.

    Args:
        model: in evaluation mode.
        pattern: which half, a key of `STORED`.
        batches: of training rows, for how large the inputs are.
    """
    student = copy.deepcopy(model)
    seen = seen_inputs(student, batches)
    with torch.no_grad():
        for name, weight in _weights(student):
            weight.mul_(heaviest(weight, STORED[pattern].scheme.group, seen.get(name)))
    return student


class KeepsZeros(Full):
    """Full fine-tuning in which numbers of the backbone's matrices that are zero before the first step stay zero.

    They have no gradient. AdamW leaves such a number where it is, since its moments and the decay of it are zero too.
    """

    def __init__(self) -> None:
        super().__init__()
        self._others: dict[str, Tensor] = {}

    def before_step(self, model: TaskModel, step: int) -> None:
        """See what is zero; a checkpoint that training goes on from has been read by then."""
        if not self._others:
            self._others = {name: weight != 0 for name, weight in _weights(model)}

    def after_backward(self, model: TaskModel, step: int) -> None:
        """Take the gradient from what is zero."""
        for name, weight in _weights(model, gradients=True):
            weight.mul_(self._others[name])


def _weights(model: TaskModel, *, gradients: bool = False) -> Iterator[tuple[str, Tensor]]:
    """Yield the backbone's matrices, (O, I) each, or the gradients that there are of them, to be changed in place."""
    for name, layer in matrices(model):
        weight = layer.weight.grad if gradients else layer.weight
        if isinstance(weight, Tensor) and not name.startswith(HEADS):
            yield name, weight.detach() if isinstance(layer, nn.Linear) else weight.detach().T
