"""The formats that a bundle can be exported to: one line each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from luthier.compression.export.onnx_graph import write_onnx
from luthier.compression.export.openvino_graph import write_openvino
from luthier.compression.export.traceable import Traceable


@dataclass(frozen=True)
class Format:
    """A kind of graph.

    Attributes:
        runtime: what runs it, a key of `inference.runtimes.RUNTIMES`.
        file: where it lies in the bundle.
        weights: the file that holds the weights; the same one where the graph holds them itself.
        write: a model and the path of its graph; returns how many fused attention nodes the graph has.
    """

    runtime: str
    file: str
    weights: str
    write: Callable[[Traceable, Path], int]


FORMATS: Mapping[str, Format] = {
    "onnx": Format("onnxruntime", "runtimes/onnx/model.onnx", "runtimes/onnx/model.onnx", write_onnx),
    "openvino": Format("openvino", "runtimes/openvino/model.xml", "runtimes/openvino/model.bin", write_openvino),
}
