"""Luthier: from a pretrained model and a table of examples to a tested, guarded service.

    import luthier
    result = luthier.run("project.yaml")
    luthier.load(result.bundle).predict(["a fine film"])

Importing the package is cheap: torch and Transformers are imported when they are first needed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from luthier.errors import LuthierError
from luthier.version import __version__

if TYPE_CHECKING:
    from luthier.artifacts.check import CheckReport
    from luthier.config import Project
    from luthier.evaluation.compare import Comparison, compare
    from luthier.inference.combining import combine
    from luthier.inference.loading import Verified, load, verify
    from luthier.inference.predictor import Predictions, Predictor
    from luthier.pipeline.api import RunResult, check, run
    from luthier.reporting.live import LivePlot

_HOMES = {
    "CheckReport": "luthier.artifacts.check",
    "Comparison": "luthier.evaluation.compare",
    "LivePlot": "luthier.reporting.live",
    "Predictions": "luthier.inference.predictor",
    "Predictor": "luthier.inference.predictor",
    "Project": "luthier.config",
    "RunResult": "luthier.pipeline.api",
    "Verified": "luthier.inference.loading",
    "check": "luthier.pipeline.api",
    "combine": "luthier.inference.combining",
    "compare": "luthier.evaluation.compare",
    "load": "luthier.inference.loading",
    "run": "luthier.pipeline.api",
    "verify": "luthier.inference.loading",
}

__all__ = [
    "CheckReport",
    "Comparison",
    "LivePlot",
    "LuthierError",
    "Predictions",
    "Predictor",
    "Project",
    "RunResult",
    "Verified",
    "__version__",
    "check",
    "combine",
    "compare",
    "load",
    "run",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
