"""Runs a project and kills its own process with SIGKILL at a named moment.

    python driver.py PROJECT RUN_DIR MOMENT NUMBER

Moments: `step` (after that many optimiser steps of this process), `checkpoint` (with the tensors written and the
manifest not), `rename` (a whole checkpoint, not yet renamed), `prune` (a new checkpoint, the old one not pruned),
`best` (best weights written, the checkpoint that names them not), `model` (the model folder half written), `evaluate`
(the test split read, nothing written), `bundle` (the bundle's folder half written), `report` (before the report),
`none`.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))


def die(*_: Any, **__: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def on_call(owner: Any, name: str, number: int, condition: Callable[..., bool] = lambda *a, **k: True) -> None:
    """Kill the process at the `number`-th call of a function that fits the condition."""
    original = getattr(owner, name)
    calls = {"left": number}

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if condition(*args, **kwargs):
            calls["left"] -= 1
            if calls["left"] <= 0:
                die()
        return original(*args, **kwargs)

    setattr(owner, name, wrapped)


def arm(moment: str, number: int) -> Callable[[Any], None]:
    """Set the trap; return a listener for the run's events."""
    from luthier.artifacts import checkpoint, manifest
    from luthier.evaluation.classification import ClassificationEvaluation
    from luthier.pipeline import bundling, training
    from luthier.training import loop
    from luthier.training.events import StepDone

    seen = {"steps": 0}

    def listen(event: Any) -> None:
        if isinstance(event, StepDone):
            seen["steps"] += 1
            if moment == "step" and seen["steps"] >= number:
                die()

    if moment == "checkpoint":
        on_call(checkpoint, "seal", number)
    elif moment == "rename":
        original = manifest.seal

        def seal_then_die(*args: Any) -> Any:
            result = original(*args)
            die()
            return result

        checkpoint.seal = seal_then_die  # type: ignore[attr-defined]
    elif moment == "prune":
        on_call(checkpoint.shutil, "rmtree", number, lambda path, *a, **k: Path(path).name.startswith("step-"))
    elif moment == "best":
        on_call(loop.Fit, "_save", number)
    elif moment == "model":
        on_call(training, "manifest_parts", number)
    elif moment == "evaluate":
        on_call(ClassificationEvaluation, "report", number)
    elif moment == "bundle":
        on_call(bundling, "model_card", number)
    elif moment == "report":
        from luthier.reporting import report

        on_call(report, "write_report", number)
    return listen


if __name__ == "__main__":
    from luthier.pipeline.run import run

    project, run_dir, moment, number = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
    run(project, run_dir=run_dir, emit=arm(moment, number))
