"""ONNX: the graph that torch.export sees, with batch and length left open."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from luthier.compression.export.traceable import Traceable, reason
from luthier.errors import ModelError
from luthier.inference.graphs import graph_outputs, not_installed

FUSED = frozenset({"Attention", "GroupQueryAttention", "MultiHeadAttention"})
"""Operators that hold a whole attention."""


def write_onnx(model: Traceable, path: Path) -> int:
    """Write a model as ONNX; weights above 2 GB lie in a file beside it.

    Args:
        model: what to export.
        path: of the graph; its folder must exist.

    Returns:
        How many fused attention nodes the graph has.

    Raises:
        ModelError: the model cannot be exported, with the exporter's reason, or a package is not installed.
    """
    try:
        import onnxscript  # noqa: F401  # the exporter needs it, and says so less clearly
    except ImportError:
        raise not_installed("onnxscript", "onnx") from None
    try:
        with _quiet(), _plain_attention(_backbone(model)):
            program: Any = torch.onnx.export(
                model.module,
                model.example,
                dynamo=True,
                input_names=model.inputs,
                output_names=graph_outputs(model.outputs),
                dynamic_shapes=(model.sizes,),
                verbose=False,
            )
            program.save(path)
    except (torch.onnx.errors.OnnxExporterError, RuntimeError, ValueError) as error:
        raise ModelError(
            f"cannot be exported to ONNX: {reason(error)}", where=type(_backbone(model)).__name__
        ) from error
    return sum(node.op_type in FUSED for node in program.model.graph.all_nodes())


def _backbone(model: Traceable) -> Any:
    return getattr(model.module.model, "backbone", model.module.model)


@contextmanager
def _plain_attention(backbone: Any) -> Iterator[None]:
    """Let a backbone write its attention as two products and a softmax, which runtimes find and quantise.

    PyTorch's fused attention is written with steps of its own, for rows that see nothing among others, which cost time.
    """
    before = backbone.config._attn_implementation
    backbone.set_attn_implementation("eager")
    try:
        yield
    finally:
        backbone.set_attn_implementation(before)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's notes about itself and about packages that are not needed from the user."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
