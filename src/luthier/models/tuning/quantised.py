"""QLoRA: LoRA on a frozen base in 4 or 8 bits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import annotated_types as at

from luthier.errors import ModelError
from luthier.models.tuning.base import setting
from luthier.models.tuning.layouts import Targets, layout_of
from luthier.models.tuning.low_rank import MERGE, TARGETS, Lora

if TYPE_CHECKING:
    from torch import Tensor

    from luthier.models.assembly import TaskModel


@dataclass(frozen=True)
class QloraSettings:
    """Number format of the frozen base; size and place of the updates."""

    bits: Literal[4, 8] = setting(4, "Bits of each frozen weight: 4 (NF4) takes least memory, 8 is nearer.")
    rank: Annotated[int, at.Ge(1), at.Le(1024)] = setting(16, "Columns of the thin matrices.")
    alpha: Annotated[float, at.Gt(0)] = setting(16.0, "The update is multiplied by alpha / rank.")
    dropout: Annotated[float, at.Ge(0), at.Lt(1)] = setting(0.0, "Share of the update's inputs zeroed in training.")
    targets: Targets = setting("all", TARGETS)  # noqa: RUF009  # a dataclass field
    merge: bool = setting(True, MERGE)


class Qlora(Lora):
    """LoRA beside matrices that are kept in 4 or 8 bits, by bitsandbytes.

    Embeddings, norms, biases and heads stay as they are. The bundle holds the values of the few bits as plain numbers,
    with the updates added or beside them: what was evaluated. Where bitsandbytes is absent this method is refused.

    References:
        Dettmers et al. 2023, "QLoRA: Efficient Finetuning of Quantized LLMs".
        Dettmers et al. 2022, "LLM.int8(): 8-bit Matrix Multiplication for Transformers at Scale".
    """

    settings: ClassVar[type | None] = QloraSettings
    keeps_matrices = False

    def check(self, config: Mapping[str, Any]) -> None:
        """Refuse where bitsandbytes is absent."""
        if find_spec("bitsandbytes") is None:
            raise ModelError(
                "method must be one that runs here; got qlora, which needs the bitsandbytes package.",
                fix="Install it (pip install bitsandbytes, or luthier[qlora]) where the platform has it, or use lora.",
            )

    def set_up(self, model: TaskModel, total_steps: int) -> None:
        """Quantise the layers' matrices, then put the updates beside them."""
        from luthier.models.tuning.quantised_layers import quantise

        layout = layout_of(model.backbone)
        quantise(model.backbone, layout.pattern(layout.matrices("all")), self.chosen.bits)
        super().set_up(model, total_steps)

    def unload(self, model: TaskModel) -> dict[str, Tensor]:
        """Add the updates to the dequantised matrices, or take them off, and leave plain layers."""
        from luthier.models.tuning.injected import adapter_tensors
        from luthier.models.tuning.quantised_layers import dequantise

        own = {} if self.chosen.merge else adapter_tensors(model.backbone)
        dequantise(model.backbone, merge=self.chosen.merge)
        return own
