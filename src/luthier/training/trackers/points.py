"""What trackers draw: a line of the log as named numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from luthier.training.events import Event, Skipped, StepDone, Validated
from luthier.training.history import Line, as_line

STEP = ("loss", "lr", "grad_norm", "rows", "tokens")
NOT_METRICS = frozenset({"kind", "step", "epoch", "best"})


def points(line: Line) -> dict[str, float]:
    """Return a log line's numbers: `train/loss` and the like, or `validation/<metric>`."""
    if line["kind"] == "step":
        return {**{f"train/{name}": float(line[name]) for name in STEP}, "train/epoch": float(line["epoch"])}
    if line["kind"] == "skipped":
        return {"train/skipped": float(line["skipped"])}
    return {f"validation/{name}": float(value) for name, value in line.items() if name not in NOT_METRICS}


def of_event(event: Event) -> Line | None:
    """Return the log line of an event; None for one that has none."""
    return as_line(event) if isinstance(event, StepDone | Skipped | Validated) else None


def of_result(result: Mapping[str, Any]) -> dict[str, float]:
    """Return the test metrics of a run's closing values as `test/<metric>`."""
    return {
        f"test/{name}": float(value)
        for name, value in result.get("test", {}).items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
