"""Bottleneck adapters: small networks inside each layer. PEFT 0.21 has none, so these are ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import annotated_types as at

from luthier.models.tuning.base import Method, setting
from luthier.models.tuning.layouts import Layout, layout_of

if TYPE_CHECKING:
    from torch import Tensor

    from luthier.models.assembly import TaskModel


@dataclass(frozen=True)
class BottleneckSettings:
    """Size of the adapters."""

    width: Annotated[int, at.Ge(1), at.Le(4096)] = setting(
        48, "Width of the bottleneck: more learns more and costs more."
    )


class Houlsby(Method):
    """The backbone stays still; two adapters per layer move: after the attention and after the feed-forward part.

    Each is h + up(gelu(down(h))) on the part's output before the residual connection, and starts near the identity.

    Deviation: the paper also trains the LayerNorms; here they stay still, so that one base can carry several adapters.

    References:
        Houlsby et al. 2019, "Parameter-Efficient Transfer Learning for NLP".
    """

    settings = BottleneckSettings
    refused: ClassVar[Mapping[str, str]] = {
        "xlnet": "its attention is no linear layer that an adapter could stand behind"
    }
    needs_layout = True

    def places(self, layout: Layout) -> tuple[str, ...]:
        """Return the matrices of a layer behind which an adapter stands."""
        return (*layout.outputs_of_attention, *layout.outputs_of_feed_forward)

    def set_up(self, model: TaskModel, total_steps: int) -> None:
        """Put the adapters in, and freeze the rest."""
        from luthier.models.tuning.bottleneck_layers import insert

        layout = layout_of(model.backbone)
        insert(model.backbone, layout.pattern(self.places(layout)), self.chosen.width)
        model.heads.requires_grad_(True)

    def unload(self, model: TaskModel) -> dict[str, Tensor]:
        """Take the adapters off."""
        from luthier.models.tuning.bottleneck_layers import remove
        from luthier.models.tuning.injected import adapter_tensors

        tensors = adapter_tensors(model.backbone)
        remove(model.backbone)
        return tensors


class Pfeiffer(Houlsby):
    """The backbone stays still; one adapter per layer moves, after the feed-forward part.

    Deviation: the adapter stands on the part's output before the residual connection, as Houlsby's do.

    References:
        Pfeiffer et al. 2021, "AdapterFusion: Non-Destructive Task Composition for Transfer Learning".
    """

    refused: ClassVar[Mapping[str, str]] = {}

    def places(self, layout: Layout) -> tuple[str, ...]:
        """Return the last matrix of a layer."""
        return layout.outputs_of_feed_forward
