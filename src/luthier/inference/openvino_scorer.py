"""A bundle's graph in OpenVINO, on the processor. Loads no torch and reports to nobody.

OpenVINO computes in bf16 by itself on processors that have it. Here the manifest's `precision` decides, always.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from threading import Lock
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

PRECISIONS = {"fp32": "f32", "bf16": "bf16", "int8": "f32", "int8-bf16": "bf16"}
"""OpenVINO's words for ours: what computes that is not quantised in the graph."""


class OpenVinoScorer:
    """The bundle's graph in OpenVINO.

    Args:
        folder: the bundle.
        manifest: its manifest, whose first runtime is this one.

    Raises:
        ArtifactError: the graph cannot be read, has other inputs or outputs than the manifest says, or an unknown
            precision.
        ModelError: OpenVINO is not installed.
    """

    def __init__(self, folder: Path, manifest: BundleManifest) -> None:
        try:
            import openvino
        except ImportError:
            raise not_installed("openvino", "openvino") from None
        self._runtime = runtime = manifest.runtimes[0]
        path = graph_file(folder, manifest)
        if runtime.precision not in PRECISIONS:
            raise ArtifactError(
                f"precision must be one of {', '.join(PRECISIONS)}; got {runtime.precision}.", where=str(folder)
            )
        settings = {
            "INFERENCE_PRECISION_HINT": PRECISIONS[runtime.precision],
            "INFERENCE_NUM_THREADS": available_threads(),
            "PERFORMANCE_HINT": "LATENCY",
        }
        try:
            compiled = openvino.Core().compile_model(str(path), "CPU", settings)
        except RuntimeError as error:
            raise ArtifactError(f"cannot be read by OpenVINO: {error}", where=str(path)) from None
        inputs = [one.get_any_name() for one in compiled.inputs]
        check_names(runtime, inputs, [one.get_any_name() for one in compiled.outputs], where=str(path))
        self._request: Any = compiled.create_infer_request()
        self._lock = Lock()  # a request holds one batch at a time

    def score(self, batch: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float64]]:
        """Return the graph's outputs for a collated batch."""
        with self._lock:
            self._request.infer(named_inputs(self._runtime, batch))
            names = zip(self._runtime.outputs, graph_outputs(self._runtime.outputs), strict=True)
            return {name: self._request.get_tensor(inner).data.astype(np.float64) for name, inner in names}

    def generator(self) -> Generator:
        """Refuse: only language models write, and they are not exported."""
        writes_no_text(self._runtime)
