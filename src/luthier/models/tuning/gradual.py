"""Gradual unfreezing: the top layers move first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import annotated_types as at

from luthier.models.tuning.base import SHARED_LAYERS, Method, setting

if TYPE_CHECKING:
    from luthier.models.assembly import TaskModel


@dataclass(frozen=True)
class GradualSettings:
    """How fast layers are set free."""

    until: Annotated[float, at.Gt(0), at.Le(1)] = setting(
        0.5,
        "Share of the optimiser steps after which everything moves; layers are set free in equal intervals up to "
        "it, from the top down, the embeddings last.",
    )


class Gradual(Method):
    """The heads move first; then, in equal intervals, one more layer from the top, and at last the embeddings.

    Which parts move is a function of the step's number and the run's length alone, so a killed run goes on as it was.
    A parameter that does not move yet has no gradient and no optimiser state: AdamW passes it by, weight decay
    included, and counts its steps from the first one that moves it.

    Deviation: the paper sets one layer free per epoch; with few epochs that never reaches the lower ones, so here the
    interval is a share of the run.

    References:
        Howard and Ruder 2018, "Universal Language Model Fine-tuning for Text Classification".
    """

    settings = GradualSettings
    refused: ClassVar[Mapping[str, str]] = SHARED_LAYERS
    needs_layout = True
    _free = -1

    def set_up(self, model: TaskModel, total_steps: int) -> None:
        """Make every parameter trainable, for the optimiser to know it; `before_step` holds still what must wait."""
        from luthier.models.tuning.layouts import parts

        model.requires_grad_(True)
        self._parts = [part for part in reversed(parts(model.backbone)) if part]
        self._total = total_steps
        self._least = 0 if any(True for _ in model.heads.parameters()) else 1  # a tied head has nothing of its own

    def before_step(self, model: TaskModel, step: int) -> None:
        """Let the parts move whose turn has come."""
        free = parts_free(step, total=self._total, parts=len(self._parts), until=self.chosen.until)
        free = max(free, self._least)
        if free == self._free:
            return
        self._free = free
        moving = {name for part in self._parts[:free] for name in part}
        for name, parameter in model.backbone.named_parameters():
            parameter.requires_grad_(name in moving)


def parts_free(step: int, *, total: int, parts: int, until: float) -> int:
    """Return how many parts of the backbone move at a step.

    None at step 0, all from step `until * total` on, one more after each of `parts` equal intervals between.

    Args:
        step: counted from 0.
        total: steps of the run.
        parts: of the backbone.
        until: share of the steps, in (0, 1].
    """
    return min(parts, int(step * parts / max(1.0, until * total)))
