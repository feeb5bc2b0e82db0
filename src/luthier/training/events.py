"""What the loop tells whoever drives it. The loop prints nothing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Resumed:
    """A checkpoint was found; training goes on after `step`. `notes` name damaged ones that were set aside."""

    step: int
    total: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class StepDone:
    """One optimiser step.

    Attributes:
        step: steps done, from 1.
        total: steps of the run.
        epoch: from 0.
        loss: mean loss of the step's rows.
        lr: learning rate of the first group.
        grad_norm: of the mean gradient, before clipping.
        rows: rows of the step over all ranks.
        tokens: their cost, padding excluded.
        rows_per_second: over the whole run so far, validation excluded.
        seconds_left: estimate, validation excluded.
    """

    step: int
    total: int
    epoch: int
    loss: float
    lr: float
    grad_norm: float
    rows: int
    tokens: int
    rows_per_second: float
    seconds_left: float


@dataclass(frozen=True)
class Skipped:
    """A step whose loss or gradient was not finite; no weight moved, and the run went past it.

    Attributes:
        step: steps done, this one included.
        total: steps of the run.
        epoch: from 0.
        what: what was not finite, such as `the loss is nan`.
        rows: row numbers of the step in the training source.
        skipped: steps skipped so far in the run.
    """

    step: int
    total: int
    epoch: int
    what: str
    rows: tuple[int, ...]
    skipped: int


@dataclass(frozen=True)
class Validated:
    """A look at the validation split. `best` says whether these weights are the best so far."""

    step: int
    epoch: int
    metrics: dict[str, float]
    best: bool


@dataclass(frozen=True)
class Saved:
    """A checkpoint was written and verified."""

    step: int
    seconds: float


@dataclass(frozen=True)
class Stopped:
    """The driver asked to stop; a checkpoint stands at `step`."""

    step: int


@dataclass(frozen=True)
class Finished:
    """Training is over and the model holds the chosen weights.

    Attributes:
        steps: done in all.
        best_step: whose weights were chosen.
        rows: trained in all, repeats after a kill left out.
        tokens: their cost, padding excluded.
        seconds: from the first batch to the last step, checkpoints included and validation excluded.
        stopped_early: whether early stopping ended it.
    """

    steps: int
    best_step: int
    rows: int
    tokens: int
    seconds: float
    stopped_early: bool


Event = Resumed | StepDone | Skipped | Validated | Saved | Stopped | Finished
