"""OpenVINO: the ONNX graph, read by OpenVINO and written in its own format in fp32.

The graph is read by `Core.read_model` and not by OpenVINO's converter, which has telemetry.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from luthier.compression.export.onnx_graph import write_onnx
from luthier.compression.export.traceable import Traceable
from luthier.errors import ModelError
from luthier.inference.graphs import not_installed

ATTENTION = "ScaledDotProductAttention"


def write_openvino(model: Traceable, path: Path) -> int:
    """Write a model for OpenVINO: a graph (.xml) and its weights (.bin).

    Args:
        model: what to export.
        path: of the graph; its folder must exist.

    Returns:
        How many fused attention nodes the graph has. OpenVINO may fuse more when it compiles the graph.

    Raises:
        ModelError: the model cannot be exported, or a package is not installed.
    """
    _package()
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        graph = Path(folder) / "model.onnx"
        write_onnx(model, graph)
        return convert_openvino(graph, path, half=False)


def convert_openvino(graph: Path, path: Path, *, half: bool) -> int:
    """Write an ONNX graph for OpenVINO, and return how many fused attention nodes it has.

    Args:
        graph: the ONNX file.
        path: of the new graph; its folder must exist.
        half: whether weights are kept as fp16; what they compute with is decided when the graph is loaded.

    Raises:
        ModelError: OpenVINO cannot read the graph, or is not installed.
    """
    found = read_openvino(graph)
    _package().save_model(found, str(path), compress_to_fp16=half)
    return [node.get_type_name() for node in found.get_ops()].count(ATTENTION)


def read_openvino(graph: Path) -> Any:
    """Return an ONNX file as OpenVINO's model."""
    try:
        return _package().Core().read_model(str(graph))
    except RuntimeError as error:
        raise ModelError(f"cannot be exported to OpenVINO: {error}") from error


def _package() -> Any:
    try:
        import openvino
    except ImportError:
        raise not_installed("openvino", "openvino") from None
    return openvino
