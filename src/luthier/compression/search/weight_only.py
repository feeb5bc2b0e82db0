"""Ways to store the weights of a model that writes text, which runs on torch. One line per form in the table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from luthier.compression.export.traceable import Batch
from luthier.compression.search.forms import computes_bf16
from luthier.models.assembly import TaskModel
from luthier.models.packed_folder import Scheme, matrices, write_packed
from luthier.training.gradients import to_torch

SEEN_BATCHES = 4
"""Batches of training rows from which it is read how large each layer's inputs are."""


@dataclass(frozen=True)
class WeightForm:
    """A way to store weights.

    Attributes:
        name: as points are named.
        precision: as the manifest says it.
        scheme: bits and groups.
    """

    name: str
    precision: str
    scheme: Scheme

    def refusal(self) -> str | None:
        """Return why it is left out on this machine; None where it is not."""
        if self.scheme.bits == 16 and not computes_bf16():
            return "the processor does not compute in bf16"
        return None

    def write(self, model: TaskModel, folder: Path, batches: Sequence[Batch]) -> Path:
        """Write a model's weights in this form; return the file.

        Args:
            model: in fp32 and evaluation mode.
            folder: holds the configuration already.
            batches: of training rows, spread over the lengths.
        """
        importance = {}
        if self.scheme.bits == 4 or self.scheme.sparse:
            importance = seen_inputs(model, batches[:: max(1, len(batches) // SEEN_BATCHES)][:SEEN_BATCHES])
        return write_packed(model, folder, self.scheme, importance)


def seen_inputs(model: TaskModel, batches: Sequence[Batch]) -> dict[str, Tensor]:
    """Return the mean square of each input of each linear layer, (I,), over all positions, padding included."""
    with _watched(model) as found, torch.inference_mode():
        for batch in batches:
            model(to_torch(batch, torch.device("cpu")))
    return {name: total / count for name, (total, count) in found.items()}


@contextmanager
def _watched(model: TaskModel) -> Iterator[dict[str, tuple[Tensor, int]]]:
    found: dict[str, tuple[Tensor, int]] = {}

    def watch(name: str) -> Any:
        def see(_: Any, inputs: tuple[Tensor, ...]) -> None:
            states = inputs[0].detach().float().flatten(0, -2)
            total, count = found.get(name, (torch.zeros(states.shape[1]), 0))
            found[name] = total + states.square().sum(dim=0), count + len(states)

        return see

    hooks = [module.register_forward_pre_hook(watch(name)) for name, module in matrices(model)]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


WEIGHT_FORMS: Mapping[str, WeightForm] = {
    form.name: form
    for form in (
        WeightForm("torch bf16", "bf16", Scheme(16)),
        WeightForm("torch int8", "int8", Scheme(8)),
        WeightForm("torch int4 of 32", "int4", Scheme(4, 32)),
        WeightForm("torch int4 of 128", "int4", Scheme(4, 128)),
        WeightForm("torch bf16 sparse", "bf16", Scheme(16, sparse=True)),
        WeightForm("torch bf16 sparse 2:4", "bf16", Scheme(16, 4, sparse=True)),
    )
}
