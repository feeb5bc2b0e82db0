"""MLflow's model format: the bundle as it is, Luthier's own code, exact versions, and what MLflow reads of them.

No pickle: `MLmodel` names a module that opens the bundle (`loader_module`), where MLflow's other way keeps a pickled
object. The golden examples are answered through `mlflow.pyfunc` before the folder gets its name.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from luthier.artifacts.bundle import BundleManifest, open_bundle
from luthier.compression.derived import refuse_several
from luthier.compression.export.container import OF_RUNTIME, PACKAGE, closure
from luthier.inference import mlflow_model
from luthier.inference.goldens import answered, compare, difference, record
from luthier.inference.graphs import not_installed
from luthier.inference.loading import goldens_of, load
from luthier.inference.predictor import Predictor

NEEDED = ("mlflow-skinny", "numpy", "pandas", "pydantic", "tokenizers")
"""What the folder imports whatever runs its bundle."""
OF_TORCH = ("peft", "safetensors", "torch", "transformers")
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOCK_MODEL_DEPENDENCIES": "false",  # would ask an index for versions
    "MLFLOW_UV_AUTO_DETECT": "false",  # would copy the project file that lies where the command was started
}


def write_mlflow(source: Path, folder: Path) -> float:
    """Write a bundle as a folder that `mlflow.pyfunc.load_model` opens.

    Args:
        source: a bundle.
        folder: an empty one.

    Returns:
        The largest difference in any decoded number when MLflow answers the golden examples.

    Raises:
        ArtifactError: the bundle is damaged, combined, or answered otherwise through MLflow.
        ModelError: MLflow or pandas is not installed.
    """
    refuse_several(open_bundle(source), source)
    with _apart():
        pyfunc = _pyfunc()
        before = load(source)
        pyfunc.save_model(
            folder,
            loader_module=mlflow_model.__name__,
            data_path=str(source.resolve()),
            code_paths=[str(PACKAGE)],
            pip_requirements=_pins(before.manifest),
            signature=_signature(before),
        )
        return _replay(pyfunc.load_model(str(folder)), before)


@contextmanager
def _apart() -> Iterator[None]:
    """Keep MLflow from reporting, from asking an index, from its hints, and its folder off Python's path."""
    variables, path = {name: os.environ.get(name) for name in QUIET}, sys.path
    os.environ.update(QUIET)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        sys.path = path
        for name, value in variables.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _pyfunc() -> Any:
    try:
        import pandas  # noqa: F401  # MLflow needs it, and says so less clearly
    except ImportError:
        raise not_installed("pandas", "mlflow") from None
    try:
        from mlflow import pyfunc
    except ImportError:
        raise not_installed("mlflow", "mlflow") from None
    return pyfunc


def _pins(manifest: BundleManifest) -> list[str]:
    roots = [*NEEDED, *(name for one in manifest.runtimes for name in OF_RUNTIME.get(one.name, OF_TORCH))]
    return [f"{name}=={number}" for name, number in sorted(closure(list(dict.fromkeys(roots))).items())]


def _signature(before: Predictor) -> Any:
    """Return the columns that the bundle reads. All are text: lists and objects are read from their JSON text."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    columns = before.entry.preprocess.columns
    found: list[Any] = [ColSpec("string", columns.get(role, role), role in before.required) for role in before.inputs]
    return ModelSignature(inputs=Schema(found))


def _replay(model: Any, before: Predictor) -> float:
    """Answer the golden examples through MLflow; they must be answered as the bundle answers them by itself."""
    import pandas as pd

    goldens, columns = goldens_of(before.folder, before.manifest), before.entry.preprocess.columns
    rows = [{columns.get(role, role): _text(cell) for role, cell in golden.inputs.items()} for golden in goldens]
    found = model.predict(pd.DataFrame(rows)).to_dict("records")
    own = record(before, [(golden.origin, golden.inputs) for golden in goldens])
    compare(before.folder, own, answered(own, found), before.manifest.runtimes[0])
    return difference(goldens, answered(goldens, found))[1]


def _text(cell: Any) -> str:
    return cell if isinstance(cell, str) else json.dumps(cell, ensure_ascii=False)
