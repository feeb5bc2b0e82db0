"""A user's own metrics by Python path: from the project's folder, or from what is installed.

They run code that the user named in the project file, and no other: a name is `module:function`, a module is a file
beside the project file or an importable one, never a path or an address.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from luthier.config import EvaluateStage
from luthier.errors import DataError
from luthier.pipeline.prepared import Prepared

TextMetric = Callable[[Sequence[str], Sequence[str]], float]
NAME = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([A-Za-z_]\w*)")


def custom_metrics(prepared: Prepared) -> dict[str, TextMetric]:
    """Return the functions that `evaluate.metrics` names, by name.

    Raises:
        DataError: the task writes no text, or a name leads to no function.
    """
    names = prepared.plan.only(EvaluateStage).spec.metrics
    if names and prepared.task.decoding(prepared.encoder) is None:
        raise DataError(
            f"evaluate.metrics must be empty for {prepared.task.name}, which writes no text; got {', '.join(names)}.",
            fix="Take it out.",
        )
    return {name: load_metric(name, prepared.folder) for name in names}


def load_metric(name: str, folder: Path) -> TextMetric:
    """Return a function by `module:function`.

    Args:
        name: of it.
        folder: that the project file lies in; its modules come before installed ones.

    Raises:
        DataError: there is no such module or function, or the module fails.
    """
    found = NAME.fullmatch(name)
    if found is None:
        raise DataError(
            f'evaluate.metrics must be module:function; got "{name}".', fix="Such as my_metrics:length_ratio."
        )
    module, function = found.groups()
    try:
        loaded = _module(module, folder)
    except Exception as error:  # whatever a stranger's module raises
        raise DataError(
            f"evaluate.metrics {name}: the module cannot be imported: {type(error).__name__}: {error}.",
            fix=f"It is looked for as {module.replace('.', '/')}.py in {folder}, and among what is installed.",
        ) from error
    value: Any = getattr(loaded, function, None)
    if not callable(value):
        raise DataError(f"evaluate.metrics {name}: {module} has no function {function}.", where=str(loaded.__file__))
    return value  # type: ignore[no-any-return]  # a function is what was looked for


def _module(name: str, folder: Path) -> ModuleType:
    """Return a module beside the project file, else an installed one."""
    path = folder / f"{name.replace('.', '/')}.py"
    spec = importlib.util.spec_from_file_location(f"luthier_custom_{name.replace('.', '_')}", path)
    if not path.is_file() or spec is None or spec.loader is None:
        return importlib.import_module(name)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and the like look their module up
    spec.loader.exec_module(module)
    return module
