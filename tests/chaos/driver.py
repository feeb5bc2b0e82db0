"""Starts `luthier run` again and again in forked processes, kills them or lets their disk fail, says how each ended.

    python driver.py < ORDERS > ANSWERS        one JSON object per line each way

An order: `{"arguments": [...], "home": FOLDER, "log": FILE}` and one of
    "moment": NAME, "number": N       SIGKILL from inside at the N-th time that a moment (see MOMENTS) comes
    "after_s": SECONDS                SIGKILL from outside, so long after training began
    "fault": {...}                    see `faults.py`
    "plant": NAME                     see PLANTS; the same for each attempt of a run

Torch is imported once; each attempt is a real process with a real SIGKILL. Nothing computes before the fork.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

Wrapper = Callable[[Any, str, int], None]


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def before(owner: Any, name: str, number: int, condition: Callable[..., bool] = lambda *a, **k: True) -> None:
    """Kill the process at the start of the `number`-th call of a function that fits the condition."""
    _wrap(owner, name, number, condition, early=True)


def after(owner: Any, name: str, number: int, condition: Callable[..., bool] = lambda *a, **k: True) -> None:
    """Kill the process at the end of that call."""
    _wrap(owner, name, number, condition, early=False)


def _wrap(owner: Any, name: str, number: int, condition: Callable[..., bool], *, early: bool) -> None:
    original = getattr(owner, name)
    left = {"calls": number}

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        fits = condition(*args, **kwargs)
        left["calls"] -= fits
        hit = fits and left["calls"] <= 0
        if hit and early:
            die()
        result = original(*args, **kwargs)
        if hit:
            die()
        return result

    setattr(owner, name, wrapped)


def arm(moment: str, number: int) -> None:
    """Set the trap of a moment."""
    from luthier.artifacts import checkpoint, manifest, run
    from luthier.evaluation.classification import ClassificationEvaluation
    from luthier.pipeline import bundling, checking, training
    from luthier.reporting import report
    from luthier.training import history, loop
    from luthier.training.events import StepDone

    def named(start: str) -> Callable[..., bool]:
        return lambda path, *a, **k: Path(path).name.startswith(start)

    def step(_: Any, event: Any) -> bool:
        return isinstance(event, StepDone)

    traps: dict[str, tuple[Any, Any, str, Callable[..., bool] | None]] = {
        "data check": (before, checking, "data_check", None),
        "step check": (before, checking, "step_check", None),
        "gradients": (before, loop.Fit, "_reduced", None),  # summed, no weight moved yet
        "step": (before, history.History, "add", step),  # weights moved, the log does not know
        "logged": (after, history.History, "add", step),
        "validation": (before, training.TrainJob, "_validate", None),
        "best": (before, loop.Fit, "_save", None),  # best weights written, the checkpoint that names them not
        "tensors": (before, checkpoint, "seal", None),  # tensors written, the manifest not
        "sealed": (after, checkpoint, "seal", None),  # whole, not yet renamed
        "renamed": (before, checkpoint, "verify_files", None),  # renamed, not yet verified
        "prune": (before, checkpoint.shutil, "rmtree", named("step-")),
        "load": (before, loop, "load_optimiser", None),  # in the middle of a resume
        "rewind": (before, history, "write_bytes_atomic", None),
        "model": (before, training, "manifest_parts", None),
        "record": (before, run, "write_json_atomic", None),
        "evaluate": (before, ClassificationEvaluation, "report", None),
        "bundle": (before, bundling, "model_card", None),
        "bundled": (before, manifest, "fsync_folder", named("bundle")),
        "report": (before, report, "write_report", None),
    }
    how, owner, name, condition = traps[moment]
    how(owner, name, number, *([condition] if condition else []))


def plant_non_finite() -> None:
    """Make the loss of about one step in eight not finite, as a function of its rows."""
    from luthier.objectives.classification import Classification

    original = Classification.step

    def step(self: Any, model: Any, batch: Any) -> Any:
        terms = original(self, model, batch)
        if int(batch["input_ids"].sum()) % 8 == 0:
            return {name: (loss * float("nan"), weight) for name, (loss, weight) in terms.items()}
        return terms

    Classification.step = step  # type: ignore[method-assign]


def plant_clock() -> None:
    """Make the wall clock jump back by a day at every look."""
    now = {"time": time.time()}

    def jumping() -> float:
        now["time"] -= 86_400
        return now["time"]

    time.time = jumping


PLANTS = {"non-finite": plant_non_finite, "clock": plant_clock}


def child(order: dict[str, Any]) -> int:
    """Run the command in a forked process; return its exit code."""
    os.environ["LUTHIER_HOME"] = order["home"]
    stream = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(stream, 1)
    os.dup2(stream, 2)
    if order.get("plant"):
        PLANTS[order["plant"]]()
    if order.get("moment"):
        arm(order["moment"], order["number"])
    if order.get("fault"):
        from tests.chaos.faults import install

        install(**order["fault"])
    from luthier.cli import main

    try:
        code = main(order["arguments"])
    except SystemExit as error:
        code = int(error.code or 0)
    sys.stdout.flush()
    sys.stderr.flush()
    if order.get("modules"):
        Path(order["modules"]).write_text("\n".join(sorted(sys.modules)), encoding="utf-8")
    return code


def attempt(order: dict[str, Any]) -> int:
    """Fork, wait, and return the exit code, or minus the signal."""
    began = time.monotonic()
    process = os.fork()
    if process == 0:
        code = 1
        try:
            code = child(order)
        finally:
            os._exit(code)
    if order.get("after_s") is not None:
        started = Path(order["run"]) / "train"
        while not started.exists() and time.monotonic() - began < 60 and os.waitpid(process, os.WNOHANG)[0] == 0:
            time.sleep(0.002)
        until = time.monotonic() + order["after_s"]
        while time.monotonic() < until:
            done, status = os.waitpid(process, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.002)
        os.kill(process, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def import_all(path: Path) -> None:
    """Import what a whole run imported, so that no later attempt pays for it."""
    for name in path.read_text(encoding="utf-8").splitlines():
        try:
            importlib.import_module(name)
        except Exception:
            continue
    gc.freeze()  # a collection of all that was imported would take most of a short run


def main() -> None:
    """Answer orders until there are none."""
    import torch
    import transformers

    assert torch.get_num_threads() == 1, "OMP_NUM_THREADS must be 1"
    assert transformers
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    for line in sys.stdin:
        order = json.loads(line)
        code = attempt(order)
        if order.get("modules") and Path(order["modules"]).exists():
            import_all(Path(order["modules"]))
        answers.write(f"{json.dumps({'code': code})}\n")
        answers.flush()


if __name__ == "__main__":
    main()
