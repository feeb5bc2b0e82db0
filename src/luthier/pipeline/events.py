"""What a run tells whoever drives it, besides the loop's own events."""

from __future__ import annotations

from dataclasses import dataclass

from luthier.training.events import Event, Finished, Resumed, Skipped, Stopped, Validated

TITLES = {
    "check": "Check",
    "train": "Train",
    "evaluate": "Evaluate",
    "bundle": "Bundle",
    "report": "Report",
}


@dataclass(frozen=True)
class StageStarted:
    """A stage begins."""

    stage: str


@dataclass(frozen=True)
class StageSkipped:
    """A stage was finished before, from the same inputs."""

    stage: str


@dataclass(frozen=True)
class StageDone:
    """A stage is finished."""

    stage: str
    seconds: float


@dataclass(frozen=True)
class Noted:
    """Something worth a line: a repair, a finding, a choice."""

    text: str


RunEvent = StageStarted | StageSkipped | StageDone | Noted | Event


def as_line(event: RunEvent) -> str:
    """Return an event as a line of text; empty for one that is not worth a line."""
    match event:
        case StageStarted(stage=stage):
            return TITLES.get(stage, stage)
        case StageSkipped(stage=stage):
            return f"{TITLES.get(stage, stage)}: done before, from the same inputs"
        case StageDone(stage=stage, seconds=seconds):
            return f"  {stage} took {duration(seconds)}"
        case Noted(text=text):
            return f"  {text}"
        case Resumed(step=step, total=total, notes=notes):
            return "\n".join([f"  continued from step {step} of {total}", *(f"  {note}" for note in notes)])
        case Validated(step=step, metrics=metrics, best=best):
            listed = "  ".join(f"{name} {value:.4f}" for name, value in metrics.items())
            return f"  validation after step {step}: {listed}{'  (best so far)' if best else ''}"
        case Skipped(step=step, what=what, skipped=skipped):
            return f"  step {step} was skipped, {skipped} so far: {what}"
        case Stopped(step=step):
            return f"  stopped after step {step}"
        case Finished(steps=steps, seconds=seconds, rows=rows, best_step=best_step):
            rate = rows / max(seconds, 1e-9)
            return f"  {steps} steps, {rate:.0f} rows/s; the weights of step {best_step} were kept"
    return ""


def duration(seconds: float) -> str:
    """Return a time in words."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
