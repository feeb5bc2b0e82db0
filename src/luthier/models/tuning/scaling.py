"""(IA)³: learnt scales on keys, values and feed-forward activations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from luthier.models.tuning.base import Method, setting
from luthier.models.tuning.layouts import layout_of
from luthier.models.tuning.low_rank import MERGE, NO_LINEAR_ATTENTION

if TYPE_CHECKING:
    from torch import Tensor

    from luthier.models.assembly import TaskModel


@dataclass(frozen=True)
class Ia3Settings:
    """What becomes of the scales."""

    merge: bool = setting(True, MERGE)


class Ia3(Method):
    """The backbone stays still; keys, values and the inputs of each layer's last matrix are scaled by learnt vectors.

    The vectors start at one, so training starts at the pretrained model. They have no weight decay, which would pull
    them to zero. Where one matrix makes queries, keys and values (GPT-2), queries are scaled too.

    References:
        Liu et al. 2022, "Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context Learning".
    """

    settings = Ia3Settings
    refused: ClassVar[Mapping[str, str]] = NO_LINEAR_ATTENTION
    needs_layout = True

    def set_up(self, model: TaskModel, total_steps: int) -> None:
        """Put the scales into the layers, and freeze the rest."""
        from peft import IA3Config

        from luthier.models.tuning.injected import inject

        layout = layout_of(model.backbone)
        last = layout.outputs_of_feed_forward
        config = IA3Config(
            target_modules=layout.pattern((*layout.key_value, *last)),
            feedforward_modules=layout.pattern(last),
            fan_in_fan_out=layout.transposed,
            task_type="FEATURE_EXTRACTION",
        )
        self._tuner: Any = inject(model, "IA3Model", config)

    def unload(self, model: TaskModel) -> dict[str, Tensor]:
        """Scale the matrices, or take the scales off."""
        from luthier.models.tuning.injected import take_out

        return take_out(model, self._tuner, merge=self.chosen.merge)
