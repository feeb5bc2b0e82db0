"""AdaLoRA: low-rank updates whose ranks are shared out anew while training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import annotated_types as at

from luthier.models.tuning.base import Method, setting
from luthier.models.tuning.layouts import Targets, layout_of
from luthier.models.tuning.low_rank import MERGE, NO_LINEAR_ATTENTION, TARGETS

if TYPE_CHECKING:
    from torch import Tensor, nn

    from luthier.models.assembly import TaskModel

AVERAGES = ("exp_avg_ipt", "exp_avg_unc")


@dataclass(frozen=True)
class AdaLoraSettings:
    """Size and place of the updates, and the schedule by which their ranks shrink."""

    rank: Annotated[int, at.Ge(1), at.Le(512)] = setting(
        8, "Mean rank of an update at the end; matrices that matter more keep more of it."
    )
    start_rank: Annotated[int, at.Ge(2), at.Le(1024)] = setting(12, "Rank of every update at the start; above rank.")
    alpha: Annotated[float, at.Gt(0)] = setting(32.0, "The update is multiplied by alpha / start_rank.")
    dropout: Annotated[float, at.Ge(0), at.Lt(1)] = setting(0.0, "Share of the update's inputs zeroed in training.")
    targets: Targets = setting("attention", TARGETS)  # noqa: RUF009  # a dataclass field
    keep_first: Annotated[float, at.Ge(0), at.Lt(1)] = setting(
        0.1, "Share of the optimiser steps before ranks begin to shrink."
    )
    keep_last: Annotated[float, at.Ge(0), at.Lt(1)] = setting(
        0.3, "Share of the optimiser steps at the end in which ranks no longer change."
    )
    every: Annotated[int, at.Ge(1)] = setting(10, "Ranks are shared out anew after this many optimiser steps.")
    orthogonality: Annotated[float, at.Ge(0)] = setting(
        0.5, "Weight of the penalty that keeps the update's directions apart, added to the loss."
    )
    merge: bool = setting(True, MERGE)

    def __post_init__(self) -> None:
        """Refuse schedules that leave nothing to shrink or no time for it."""
        if self.rank >= self.start_rank:
            raise ValueError(f"rank must be below start_rank; got {self.rank} and {self.start_rank}.")
        if self.keep_first + self.keep_last >= 1:
            raise ValueError(
                f"keep_first and keep_last must be below 1 together; got {self.keep_first} and {self.keep_last}."
            )


class AdaLora(Method):
    """The backbone stays still; matrices W become W + (alpha / rank) B E A, and entries of E become zero on the way.

    The importance of an entry is a moving average of |parameter x gradient| times that of its uncertainty. The budget
    of entries falls from `start_rank` to `rank` per matrix along a cubic curve between the two shares of the steps.
    `orthogonality` times the mean Frobenius norm of A Aᵀ - I and Bᵀ B - I is added to the step's mean loss once,
    whatever the number of micro-batches.

    Deviation: the penalty is the norm, as in PEFT, where the paper squares it. Gradients are taken after clipping.

    References:
        Zhang et al. 2023, "AdaLoRA: Adaptive Budget Allocation for Parameter-Efficient Fine-Tuning".
    """

    settings = AdaLoraSettings
    refused: ClassVar[Mapping[str, str]] = NO_LINEAR_ATTENTION
    needs_layout = True

    def set_up(self, model: TaskModel, total_steps: int) -> None:
        """Put the updates beside the matrices, and freeze the rest."""
        from peft import AdaLoraConfig

        from luthier.models.tuning.injected import inject

        layout, chosen = layout_of(model.backbone), self.chosen
        config = AdaLoraConfig(
            target_r=chosen.rank,
            init_r=chosen.start_rank,
            lora_alpha=chosen.alpha,
            lora_dropout=chosen.dropout,
            target_modules=layout.pattern(layout.matrices(chosen.targets)),
            fan_in_fan_out=layout.transposed,
            total_step=max(1, total_steps),
            tinit=int(chosen.keep_first * total_steps),
            tfinal=int(chosen.keep_last * total_steps),
            deltaT=chosen.every,
            orth_reg_weight=chosen.orthogonality,
            task_type="FEATURE_EXTRACTION",
        )
        self._tuner: Any = inject(model, "AdaLoraModel", config)
        self._config = config

    def penalty(self, model: TaskModel) -> Tensor | None:
        """Return how far the update's directions are from orthogonal, weighted."""
        if self.chosen.orthogonality == 0:
            return None
        weight: float = self.chosen.orthogonality
        return weight * orthogonality(model.backbone)

    def after_step(self, model: TaskModel, step: int) -> None:
        """Update the averages of importance and, when it is time, set the least important entries to zero."""
        self._tuner.update_and_allocate(step + 1)

    def state(self) -> dict[str, Any]:
        """Return which entries are kept."""
        return {"kept": self._config.rank_pattern}

    def tensors(self) -> dict[str, Tensor]:
        """Return the averages of importance, which PEFT keeps outside the module."""
        allocator = self._tuner.rankallocator
        return {f"{kind}/{name}": value for kind in AVERAGES for name, value in getattr(allocator, kind).items()}

    def load_state(self, state: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Take back averages and kept entries."""
        import torch

        self._config.rank_pattern = state["kept"]
        allocator = self._tuner.rankallocator
        device = next(self._tuner.model.parameters()).device
        for key, value in tensors.items():
            kind, _, name = key.partition("/")
            getattr(allocator, kind)[name] = value.to(device)
            allocator.ipt[name] = torch.zeros_like(value, device=device)  # computed anew before it is read

    def unload(self, model: TaskModel) -> dict[str, Tensor]:
        """Add the updates to the matrices, or take them off."""
        from luthier.models.tuning.injected import take_out

        return take_out(model, self._tuner, merge=self.chosen.merge)


def orthogonality(backbone: nn.Module) -> Tensor:
    """Return the mean over all A (r, in) and B (out, r) of the Frobenius norm of A Aᵀ - I and Bᵀ B - I; a scalar."""
    import torch

    norms = []
    for name, parameter in backbone.named_parameters():
        if ".lora_A." in name or ".lora_B." in name:
            product = parameter @ parameter.T if ".lora_A." in name else parameter.T @ parameter  # (r, r)
            norms.append(torch.linalg.norm(product - torch.eye(len(product), device=product.device)))
    return torch.stack(norms).mean()
