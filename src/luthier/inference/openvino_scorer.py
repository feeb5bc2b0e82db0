"""A bundle's graph in OpenVINO, on the processor. Loads no torch and reports to nobody.

OpenVINO computes in bf16 by itself on processors that have it. Here the manifest's `precision` decides, always.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
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


STREAMS = 2
"""How many batches are computed at a time where several come at once."""


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
        self._path, self._queue_of = path, openvino.AsyncInferQueue
        self._compile = openvino.Core().compile_model
        self._threads = available_threads()
        compiled = self._compiled(PERFORMANCE_HINT="LATENCY")
        inputs = [one.get_any_name() for one in compiled.inputs]
        check_names(runtime, inputs, [one.get_any_name() for one in compiled.outputs], where=str(path))
        self._queue: Any = None  # made when several batches come at once
        self._request: Any = compiled.create_infer_request()
        self._lock = Lock()  # a request holds one batch at a time

    def score(self, batch: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float64]]:
        """Return the graph's outputs for a collated batch."""
        with self._lock:
            self._request.infer(named_inputs(self._runtime, batch))
            names = zip(self._runtime.outputs, graph_outputs(self._runtime.outputs), strict=True)
            return {name: self._request.get_tensor(inner).data.astype(np.float64) for name, inner in names}

    def scores(self, batches: Iterator[Mapping[str, NDArray[Any]]]) -> Iterable[dict[str, NDArray[np.float64]]]:
        """Return the outputs of several batches, two at a time, each on half of the threads.

        On two threads that was done a tenth sooner than one after another.
        """
        first = next(batches, None)
        second = next(batches, None)
        if first is None:
            return []
        if second is None or self._threads == 1:
            return map(self.score, chain([first], [] if second is None else [second], batches))
        return self._side_by_side(chain([first, second], batches))

    def _side_by_side(self, batches: Iterator[Mapping[str, NDArray[Any]]]) -> list[dict[str, NDArray[np.float64]]]:
        with self._lock:
            if self._queue is None:
                self._queue = self._queue_of(self._compiled(NUM_STREAMS=STREAMS), STREAMS)
            found: dict[int, dict[str, NDArray[np.float64]]] = {}
            names = list(zip(self._runtime.outputs, graph_outputs(self._runtime.outputs), strict=True))

            def keep(request: Any, number: int) -> None:
                found[number] = {name: request.get_tensor(inner).data.astype(np.float64) for name, inner in names}

            self._queue.set_callback(keep)
            for number, batch in enumerate(batches):
                self._queue.start_async(named_inputs(self._runtime, batch), number)
            self._queue.wait_all()
        return [found[number] for number in range(len(found))]

    def _compiled(self, **settings: Any) -> Any:
        """Return the graph, compiled for the manifest's precision.

        Raises:
            ArtifactError: OpenVINO cannot read it.
        """
        fixed = {
            "INFERENCE_PRECISION_HINT": PRECISIONS[self._runtime.precision],
            "INFERENCE_NUM_THREADS": self._threads,
        }
        try:
            return self._compile(str(self._path), "CPU", {**fixed, **settings})
        except RuntimeError as error:
            raise ArtifactError(f"cannot be read by OpenVINO: {error}", where=str(self._path)) from None

    def generator(self) -> Generator:
        """Refuse: only language models write, and they are not exported."""
        writes_no_text(self._runtime)
