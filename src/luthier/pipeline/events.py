"""What a run tells whoever drives it, besides the loop's own events."""

from __future__ import annotations

from dataclasses import dataclass

from luthier.training.events import Event


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
