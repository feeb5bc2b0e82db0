"""PyTorch's own graph, `.pt2`: written for those who load it with `torch.export.load`.

The file carries a pickle, so nothing here ever reads one: the program in memory is compared, before it is saved.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.export import ExportedProgram

from luthier.compression.export.traceable import Traceable, reason
from luthier.errors import ArtifactError, ModelError
from luthier.inference.tokens import Generator

PROGRAM = "model.pt2"
FAILED = "cannot be exported by torch.export"


class ProgramScorer:
    """An exported program as a scorer.

    Args:
        program: takes and returns tuples.
        inputs: names of its arguments.
        outputs: names of what it returns.
    """

    def __init__(self, program: ExportedProgram, inputs: list[str], outputs: list[str]) -> None:
        self.module = program.module()
        self.inputs, self.outputs = inputs, outputs

    def score(self, batch: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float64]]:
        """Return the outputs of a collated batch.

        Raises:
            ModelError: the program holds for other numbers of rows or tokens alone.
        """
        try:
            with torch.inference_mode():
                found = self.module(*(torch.from_numpy(batch[name]) for name in self.inputs))
        except (AssertionError, RuntimeError) as error:  # of the guards that a program begins with
            raise ModelError(f"{FAILED}: {reason(error)}") from error
        return {name: value.double().numpy() for name, value in zip(self.outputs, found, strict=True)}

    def scores(self, batches: Iterator[Mapping[str, NDArray[Any]]]) -> Iterable[dict[str, NDArray[np.float64]]]:
        """Return the outputs of several batches."""
        return map(self.score, batches)

    def generator(self) -> Generator:
        """Refuse: a program scores."""
        raise ArtifactError("a .pt2 program writes no text.", fix="Serve the bundle as it is, with torch.")


def programmed(model: Traceable) -> ExportedProgram:
    """Return a model as a program with batch and length left open.

    Raises:
        ModelError: torch.export cannot follow it, with its reason.
    """
    try:
        with torch.no_grad():
            return torch.export.export(model.module, model.example, dynamic_shapes=(model.sizes,), strict=False)
    except (RuntimeError, ValueError) as error:
        raise ModelError(f"{FAILED}: {reason(error)}") from error


def save(program: ExportedProgram, path: Path) -> None:
    """Write a program without the rows that it was made with."""
    program.example_inputs = None
    torch.export.save(program, path)
