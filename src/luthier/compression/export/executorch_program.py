"""ExecuTorch, for phones: one `.pte` program with a method for each of some lengths, lowered to XNNPACK in fp32.

A method takes one row, padded to its length. All methods share their weights.

The package executorch brings others that change what torch's libraries do (torchao, coremltools), so it belongs into an
environment of its own. Nothing imports it until this format is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from luthier.compression.export.program import FAILED
from luthier.compression.export.traceable import Traceable, reason
from luthier.data.outputs import MASK
from luthier.errors import ArtifactError, ModelError
from luthier.inference.graphs import not_installed
from luthier.inference.tokens import Generator

FILE = "model.pte"
LENGTHS = (16, 32, 64, 128, 256, 512)
METHOD = "tokens_{}"


def lengths_below(longest: int) -> list[int]:
    """Return the lengths that get a method, in tokens: powers of two, and the limit."""
    return [*(length for length in LENGTHS if length < longest), longest]


def write_executorch(model: Traceable, lengths: Sequence[int], path: Path) -> None:
    """Write a model as a program of ExecuTorch.

    Args:
        model: what to export.
        lengths: in tokens; each gets a method `tokens_LENGTH`.
        path: of the new file.

    Raises:
        ModelError: torch.export or ExecuTorch cannot follow the model, or the package executorch is not installed.
    """
    try:
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower
    except ImportError:
        raise not_installed("executorch", "executorch") from None
    try:
        with torch.no_grad():
            programs = {
                METHOD.format(length): torch.export.export(model.module, _row(model, length), strict=False)
                for length in lengths
            }
            lowered = to_edge_transform_and_lower(programs, partitioner=[XnnpackPartitioner()]).to_executorch()
    except Exception as error:  # their exceptions share no base class
        raise ModelError(f"{FAILED} for ExecuTorch: {reason(error)}") from error
    path.write_bytes(lowered.buffer)


def _row(model: Traceable, length: int) -> tuple[torch.Tensor, ...]:
    """Return one made-up row of a length."""
    found = []
    for values, axes in zip(model.example, model.axes, strict=True):
        shape = (1, length) if 1 in axes else (1, *values.shape[1:])
        found.append(torch.ones(shape, dtype=values.dtype))
    return tuple(found)


class ExecutorchScorer:
    """A `.pte` program as a scorer, row by row.

    Args:
        path: of the program.
        model: that it was made of, for names and axes.
        lengths: that have a method, rising.
        pads: `{input: what fills a row up}`; 0 for any other.
        per_token: outputs that are (B, T, ...).
    """

    def __init__(
        self,
        path: Path,
        model: Traceable,
        lengths: Sequence[int],
        pads: Mapping[str, int],
        per_token: Sequence[str],
    ) -> None:
        from executorch.runtime import Runtime

        program = Runtime.get().load_program(path)
        self.methods = {length: program.load_method(METHOD.format(length)) for length in lengths}
        self.inputs, self.outputs = model.inputs, model.outputs
        self.long = {name for name, axes in zip(model.inputs, model.axes, strict=True) if 1 in axes}
        self.pads, self.per_token = pads, per_token

    def score(self, batch: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float64]]:
        """Return the outputs of a collated batch."""
        rows = [self._row({name: batch[name][row] for name in self.inputs}) for row in range(len(batch[MASK]))]
        width = batch[MASK].shape[1]
        return {
            name: np.stack([_fitted(values, width) if name in self.per_token else values for values in column])
            for name, *column in zip(self.outputs, *rows, strict=True)
        }

    def scores(self, batches: Iterator[Mapping[str, NDArray[Any]]]) -> Iterable[dict[str, NDArray[np.float64]]]:
        """Return the outputs of several batches."""
        return map(self.score, batches)

    def generator(self) -> Generator:
        """Refuse: a program scores."""
        raise ArtifactError("a .pte program writes no text.", fix="Serve the bundle as it is, with torch.")

    def _row(self, row: Mapping[str, NDArray[Any]]) -> list[NDArray[np.float64]]:
        """Return the outputs of one row, in the shortest method that holds its real tokens."""
        real = int(row[MASK].sum())
        length = next(one for one in self.methods if one >= real)
        given = []
        for name in self.inputs:
            values = row[name]
            if name in self.long:
                values = np.full(length, self.pads.get(name, 0), values.dtype)
                values[:real] = row[name][:real]
            given.append(torch.from_numpy(np.ascontiguousarray(values[None])))
        return [values[0].double().numpy() for values in self.methods[length].execute(tuple(given))]


def _fitted(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Return (T, ...) values cut or filled up to a width."""
    found = np.zeros((width, *values.shape[1:]))
    found[: len(values)] = values[:width]
    return found
