"""Full fine-tuning: every parameter moves, at one learning rate or at one that falls from layer to layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import annotated_types as at

from luthier.models.tuning.base import SHARED_LAYERS, Method, setting

if TYPE_CHECKING:
    from luthier.models.assembly import TaskModel


class Full(Method):
    """Every parameter of backbone and heads moves, at one learning rate."""

    def set_up(self, model: TaskModel, total_steps: int) -> None:
        """Make every parameter trainable."""
        model.requires_grad_(True)


@dataclass(frozen=True)
class LayerDecaySettings:
    """How the learning rate falls from the head down to the embeddings."""

    decay: Annotated[float, at.Gt(0), at.Le(1)] = setting(
        0.9,
        "What the learning rate is multiplied by from each layer to the one below it; smaller keeps more of the "
        "pretrained lower layers, 1 is full fine-tuning.",
    )


class LayerDecay(Method):
    """Every parameter moves; lower layers move less.

    With L layers the heads learn at the full rate, layer l (from 1) at `rate * decay^(L + 1 - l)`, the embeddings at
    `rate * decay^(L + 1)`.

    References:
        Howard and Ruder 2018, "Universal Language Model Fine-tuning for Text Classification" (discriminative rates).
        Clark et al. 2020, "ELECTRA" (the form used here).
    """

    settings = LayerDecaySettings
    refused: ClassVar[Mapping[str, str]] = SHARED_LAYERS
    needs_layout = True

    def set_up(self, model: TaskModel, total_steps: int) -> None:
        """Make every parameter trainable."""
        model.requires_grad_(True)

    def parameter_groups(self, model: TaskModel, *, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
        """Return groups by height, heads first."""
        from luthier.models.tuning.groups import decay_groups
        from luthier.models.tuning.layouts import parts

        found = parts(model.backbone)
        height = {f"backbone.{name}": number for number, part in enumerate(found) for name in part}
        top = len(found) - 1

        def scale(name: str) -> float:
            return float(self.chosen.decay ** (top - height.get(name, top)))

        return decay_groups(model, learning_rate=learning_rate, weight_decay=weight_decay, scale=scale)
