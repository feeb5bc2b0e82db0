"""A bundle's model as an exporter takes it: tensors in a fixed order in, tensors in a fixed order out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from luthier.data.outputs import MASK

Batch = Mapping[str, NDArray[Any]]


class Positional(nn.Module):
    """A model of named batches that takes and returns tuples.

    Args:
        model: maps `{name: (B, ...)}` to `{name: (B, ...)}`.
        inputs: names in the order of the arguments.
    """

    def __init__(self, model: nn.Module, inputs: Sequence[str]) -> None:
        super().__init__()
        self.model = model
        self.inputs = tuple(inputs)

    def forward(self, *arrays: Tensor) -> tuple[Tensor, ...]:
        """Return the model's outputs in the order of their names in its answer."""
        return tuple(self.model(dict(zip(self.inputs, arrays, strict=True))).values())


@dataclass(frozen=True)
class Traceable:
    """What is needed to export a model.

    Attributes:
        module: takes and returns tuples.
        inputs: names of its arguments.
        outputs: names of what it returns.
        example: one argument each, of two rows or more.
        axes: per argument the axes whose size may change.
    """

    module: Positional
    inputs: list[str]
    outputs: list[str]
    example: tuple[Tensor, ...]
    axes: tuple[tuple[int, ...], ...]

    @property
    def sizes(self) -> tuple[dict[int, Any], ...]:
        """The axes as torch.export takes them."""
        return tuple(dict.fromkeys(axes, torch.export.Dim.DYNAMIC) for axes in self.axes)


def traceable(model: nn.Module, batch: Batch) -> Traceable:
    """Return a model as an exporter takes it.

    Args:
        model: in evaluation mode.
        batch: collated, two rows or more. What is as long as the tokens, (B, T), may change its length.
    """
    given = _Read({name: torch.from_numpy(array) for name, array in batch.items()})
    with torch.inference_mode():
        outputs = list(model(given))
    arrays = {name: array for name, array in given.items() if name in given.read}
    tokens = arrays[MASK].shape
    axes = tuple((0, 1) if array.shape == tokens else (0,) for array in arrays.values())
    return Traceable(Positional(model, list(arrays)), list(arrays), outputs, tuple(arrays.values()), axes)


def reason(error: BaseException) -> str:
    """Return the first line of the innermost error."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


class _Read(dict[str, Tensor]):
    """A batch that remembers what was read of it: the check's counts, say, are no input of a graph."""

    def __init__(self, batch: Mapping[str, Tensor]) -> None:
        super().__init__(batch)
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> Tensor:
        self.read.add(name)
        return super().__getitem__(name)
