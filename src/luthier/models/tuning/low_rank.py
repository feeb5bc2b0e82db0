"""LoRA and its variants: a frozen matrix plus the product of two thin ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import annotated_types as at

from luthier.models.tuning.base import Method, setting
from luthier.models.tuning.layouts import Targets, layout_of

if TYPE_CHECKING:
    from torch import Tensor

    from luthier.models.assembly import TaskModel

TARGETS = (
    "Which matrices of each layer get an update: those that make queries and values, all of the attention, or all "
    "of the layer."
)
NO_LINEAR_ATTENTION = {"xlnet": "its attention is made of tensors that no update can stand beside"}
MERGE = "Fold the update into the weights of the bundle, so it is a plain model; false keeps it apart as an adapter."


@dataclass(frozen=True)
class LoraSettings:
    """Size and place of the low-rank updates."""

    rank: Annotated[int, at.Ge(1), at.Le(1024)] = setting(
        8, "Columns of the thin matrices: more learn more, cost more and overfit sooner."
    )
    alpha: Annotated[float, at.Gt(0)] = setting(
        16.0, "The update is multiplied by alpha / rank (rslora: alpha / square root of rank)."
    )
    dropout: Annotated[float, at.Ge(0), at.Lt(1)] = setting(
        0.0, "Share of the update's inputs zeroed in training; helps where rows are few."
    )
    targets: Targets = setting("query-value", TARGETS)  # noqa: RUF009  # a dataclass field
    merge: bool = setting(True, MERGE)


class Lora(Method):
    """The backbone stays still; chosen matrices W become W + (alpha / rank) B A, and B, A and the heads move.

    B starts at zero, so training starts at the pretrained model.

    References:
        Hu et al. 2022, "LoRA: Low-Rank Adaptation of Large Language Models".
    """

    settings: ClassVar[type | None] = LoraSettings
    refused: ClassVar[Mapping[str, str]] = NO_LINEAR_ATTENTION
    needs_layout = True
    rank_stabilised: ClassVar[bool] = False
    decomposed: ClassVar[bool] = False
    keeps_matrices: ClassVar[bool] = True  # the other way round where the layout says so

    def set_up(self, model: TaskModel, total_steps: int) -> None:
        """Put the updates beside the matrices, and freeze the rest."""
        from peft import LoraConfig

        from luthier.models.tuning.injected import inject

        layout, chosen = layout_of(model.backbone), self.chosen
        config = LoraConfig(
            r=chosen.rank,
            lora_alpha=chosen.alpha,
            lora_dropout=chosen.dropout,
            target_modules=layout.pattern(layout.matrices(chosen.targets)),
            fan_in_fan_out=layout.transposed and self.keeps_matrices,
            task_type="FEATURE_EXTRACTION",
            use_rslora=self.rank_stabilised,
            use_dora=self.decomposed,
        )
        self._tuner: Any = inject(model, "LoraModel", config)

    def unload(self, model: TaskModel) -> dict[str, Tensor]:
        """Add the updates to the matrices, or take them off."""
        from luthier.models.tuning.injected import take_out

        return take_out(model, self._tuner, merge=self.chosen.merge)


class RankStabilisedLora(Lora):
    """LoRA with the update scaled by alpha / sqrt(rank), so that large ranks learn as fast as small ones.

    References:
        Kalajdzievski 2023, "A Rank Stabilization Scaling Factor for Fine-Tuning with LoRA".
    """

    rank_stabilised = True


class Dora(Lora):
    """LoRA that moves direction and length apart: W becomes m (W + (alpha / rank) B A) / its norm per output.

    A step costs more than LoRA's; the merged model costs the same.

    References:
        Liu et al. 2024, "DoRA: Weight-Decomposed Low-Rank Adaptation".
    """

    decomposed = True
