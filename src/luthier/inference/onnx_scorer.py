"""A bundle's ONNX graph in ONNX Runtime, on the processor. Loads no torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier.artifacts.bundle import BundleManifest
from luthier.errors import ArtifactError
from luthier.inference.graphs import (
    available_threads,
    check_names,
    graph_file,
    graph_outputs,
    named_inputs,
    not_installed,
    writes_no_text,
)
from luthier.inference.tokens import Generator

ERRORS_ONLY = 3


class OnnxScorer:
    """The bundle's graph in ONNX Runtime.

    Args:
        folder: the bundle.
        manifest: its manifest, whose first runtime is this one.

    Raises:
        ArtifactError: the graph cannot be read or has other inputs or outputs than the manifest says.
        ModelError: ONNX Runtime is not installed.
    """

    def __init__(self, folder: Path, manifest: BundleManifest) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise not_installed("onnxruntime", "onnx") from None
        self._runtime = manifest.runtimes[0]
        path = graph_file(folder, manifest)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = available_threads()
        options.inter_op_num_threads = 1
        options.log_severity_level = ERRORS_ONLY
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions share no base class
            raise ArtifactError(f"cannot be read by ONNX Runtime: {error}", where=str(path)) from None
        inputs = [one.name for one in self._session.get_inputs()]
        outputs = [one.name for one in self._session.get_outputs()]
        check_names(self._runtime, inputs, outputs, where=str(path))

    def score(self, batch: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float64]]:
        """Return the graph's outputs for a collated batch."""
        inputs = named_inputs(self._runtime, batch)
        try:
            values = self._session.run(graph_outputs(self._runtime.outputs), inputs)
        except Exception as error:  # its exceptions share no base class
            raise ArtifactError(f"cannot be computed by ONNX Runtime: {error}") from None
        return {name: value.astype(np.float64) for name, value in zip(self._runtime.outputs, values, strict=True)}

    def scores(self, batches: Iterator[Mapping[str, NDArray[Any]]]) -> Iterable[dict[str, NDArray[np.float64]]]:
        """Return the outputs of several batches."""
        return map(self.score, batches)

    def generator(self) -> Generator:
        """Refuse: only language models write, and they are not exported."""
        writes_no_text(self._runtime)
