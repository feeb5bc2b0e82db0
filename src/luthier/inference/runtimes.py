"""Scorers: named arrays in, named arrays out. One line per runtime in the table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from luthier.artifacts.bundle import BundleManifest
from luthier.errors import ArtifactError
from luthier.inference.graphs import graph_file
from luthier.inference.onnx_scorer import OnnxScorer
from luthier.inference.openvino_scorer import OpenVinoScorer
from luthier.inference.tokens import Generator

if TYPE_CHECKING:
    from luthier.models.assembly import TaskModel


class Scorer(Protocol):
    """Runs the model on one padded batch."""

    def score(self, batch: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float64]]:
        """Return named outputs, (B, ...) each, for a collated batch."""

    def scores(self, batches: Iterator[Mapping[str, NDArray[Any]]]) -> Iterable[dict[str, NDArray[np.float64]]]:
        """Return the same for several batches in their order; some runtimes compute two at a time."""

    def generator(self) -> Generator:
        """Return the same model token by token; only language models can."""


class TorchScorer:
    """A bundle's modules in PyTorch: fp32, or packed weights where the runtime names a file of them.

    Args:
        model: in evaluation mode.
    """

    def __init__(self, model: TaskModel) -> None:
        self.model = model

    @classmethod
    def of(cls, folder: Path, manifest: BundleManifest) -> TorchScorer:
        """Return the scorer of a bundle.

        Args:
            folder: the bundle.
            manifest: its manifest.
        """
        from luthier.models.folder import read_folder

        if manifest.runtimes[0].file is not None:
            from luthier.models.packed_folder import read_packed

            return cls(read_packed(graph_file(folder, manifest), manifest.backbone, manifest.heads))
        model = read_folder(folder / manifest.backbone.folder, manifest.backbone, manifest.heads, root=folder)
        for adapter in manifest.adapters:
            from luthier.models.adapters import attach  # imports the tuning methods

            attach(model, folder / adapter.folder)
        return cls(model)

    def score(self, batch: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float64]]:
        """Return the heads' outputs for a collated batch."""
        import torch

        inputs = {name: torch.from_numpy(array) for name, array in batch.items()}
        with torch.inference_mode():
            outputs = self.model(inputs)
        return {name: value.double().numpy() for name, value in outputs.items()}

    def scores(self, batches: Iterator[Mapping[str, NDArray[Any]]]) -> Iterable[dict[str, NDArray[np.float64]]]:
        """Return the outputs of several batches."""
        return map(self.score, batches)

    def generator(self) -> Generator:
        """Return the model token by token."""
        from luthier.inference.torch_answers import AnswerGenerator
        from luthier.inference.torch_generator import TorchGenerator

        config: Any = self.model.backbone.config
        return AnswerGenerator(self.model) if config.is_encoder_decoder else TorchGenerator(self.model)


RUNTIMES: dict[str, Callable[[Path, BundleManifest], Scorer]] = {
    "torch": TorchScorer.of,
    "onnxruntime": OnnxScorer,
    "openvino": OpenVinoScorer,
}


def build_scorer(folder: Path, manifest: BundleManifest) -> Scorer:
    """Return what runs a bundle: its manifest's first runtime.

    Args:
        folder: the bundle.
        manifest: its manifest.

    Raises:
        ArtifactError: the runtime is not known here, or its graph is not the one that the manifest describes.
        ModelError: the runtime's package is not installed.
    """
    name = manifest.runtimes[0].name
    if name not in RUNTIMES:
        raise ArtifactError(f"runtime must be one of {', '.join(RUNTIMES)}; got {name}.", where=str(folder))
    return RUNTIMES[name](folder, manifest)
