"""The ways to compute a model, each made of its ONNX graph. One line per form in the table.

Dynamic int8: weights are int8, activations become int8 batch by batch. Static int8: activations have ranges that were
seen on training rows; in part: those that lose most by it stay as they are. The parts that are not quantised compute in
the precision that the form names second.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from luthier.compression.export.formats import FORMATS
from luthier.compression.export.openvino_graph import convert_openvino, read_openvino
from luthier.compression.export.traceable import Batch
from luthier.compression.search.sparing import spared
from luthier.errors import ModelError
from luthier.inference.graphs import PRECISIONS_OF_BF16, not_installed
from luthier.training.hardware import processor_flags

Write = Callable[[Path, Path, Sequence[Batch]], None]


@dataclass(frozen=True)
class Form:
    """A way to compute a model.

    Attributes:
        name: as points are named.
        format: whose runtime and place in the bundle it has, a key of `FORMATS`.
        precision: what it computes with, as the manifest says it.
        write: the ONNX graph, the path of the new graph, and batches of training rows.
        packages: that must be installed, beside those of the runtime.
    """

    name: str
    format: str
    precision: str
    write: Write
    packages: tuple[str, ...] = ()

    @property
    def runtime(self) -> str:
        """What runs it."""
        return FORMATS[self.format].runtime

    def refusal(self) -> str | None:
        """Return why it is left out on this machine; None where it is not."""
        for package in (self.runtime, *self.packages):
            if find_spec(package) is None:
                return f"{package} is not installed"
        if self.precision in PRECISIONS_OF_BF16 and not computes_bf16():
            return "the processor does not compute in bf16"
        return None


def computes_bf16() -> bool:
    """Return whether the processor has instructions for bf16."""
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(processor_flags())


def _same(graph: Path, path: Path, _: Sequence[Batch]) -> None:
    shutil.copyfile(graph, path)


def _dynamic_int8(graph: Path, path: Path, _: Sequence[Batch]) -> None:
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _silent():
        quantize_dynamic(
            graph,
            path,
            weight_type=QuantType.QInt8,
            per_channel=True,
            nodes_to_exclude=_of_several_matrices(onnx.load(graph)),
            extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
        )


def _of_several_matrices(model: Any) -> list[str]:
    """Return the names of products with a constant of three axes: ONNX Runtime (1.32) fails on them in int8."""
    deep = {tensor.name for tensor in model.graph.initializer if len(tensor.dims) > 2}
    return [node.name for node in model.graph.node if node.op_type == "MatMul" and deep & set(node.input)]


def _openvino(graph: Path, path: Path, _: Sequence[Batch]) -> None:
    convert_openvino(graph, path, half=False)


def _openvino_half(graph: Path, path: Path, _: Sequence[Batch]) -> None:
    convert_openvino(graph, path, half=True)


def _static_int8(graph: Path, path: Path, batches: Sequence[Batch]) -> None:
    _save_int8(_quantised(graph, batches), path)


def _spared_int8(graph: Path, path: Path, batches: Sequence[Batch]) -> None:
    _save_int8(spared(_quantised(graph, batches), read_openvino(graph), batches), path)


def _save_int8(model: Any, path: Path) -> None:
    import openvino

    openvino.save_model(model, str(path), compress_to_fp16=True)


def _quantised(graph: Path, batches: Sequence[Batch]) -> Any:
    """Return a graph as OpenVINO's model, its weights int8 and its activations with ranges seen on training rows."""
    nncf = _nncf()
    model = read_openvino(graph)
    names = [one.get_any_name() for one in model.inputs]
    rows = nncf.Dataset([{name: batch[name] for name in names} for batch in batches])
    try:
        with _silent():
            return nncf.quantize(
                model,
                rows,
                model_type=nncf.ModelType.TRANSFORMER,
                subset_size=len(batches),
                # smoothing fails on graphs that torch.export wrote (NNCF 3.4): it takes the size of a head for H
                advanced_parameters=nncf.AdvancedQuantizationParameters(
                    smooth_quant_alphas=nncf.AdvancedSmoothQuantParameters(matmul=-1)
                ),
            )
    except Exception as error:  # its exceptions share no base class
        raise ModelError(f"cannot be quantised: {error}", where=str(graph)) from error


def _nncf() -> Any:
    """Return NNCF. It reports its use by default; told that it runs in a test, it has nothing to report with."""
    before = os.environ.get("NNCF_CI")
    os.environ["NNCF_CI"] = "1"
    try:
        import nncf
    except ImportError:
        raise not_installed("nncf", "compress") from None
    finally:
        os.environ.pop("NNCF_CI") if before is None else os.environ.update(NNCF_CI=before)
    nncf.set_log_level(logging.ERROR)
    return nncf


@contextmanager
def _silent() -> Iterator[None]:
    """Keep the quantisers' notes and progress bars from the user."""
    import io
    from contextlib import redirect_stderr, redirect_stdout

    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)


FORMS: Mapping[str, Form] = {
    form.name: form
    for form in (
        Form("onnxruntime fp32", "onnx", "fp32", _same),
        Form("onnxruntime int8", "onnx", "int8", _dynamic_int8),
        Form("openvino fp32", "openvino", "fp32", _openvino),
        Form("openvino bf16", "openvino", "bf16", _openvino_half),
        Form("openvino int8", "openvino", "int8", _static_int8, ("nncf",)),
        Form("openvino int8 bf16", "openvino", "int8-bf16", _static_int8, ("nncf",)),
        Form("openvino int8 in part", "openvino", "int8", _spared_int8, ("nncf",)),
        Form("openvino int8 in part bf16", "openvino", "int8-bf16", _spared_int8, ("nncf",)),
    )
}
