"""Distillation: a model learns to answer as another one does."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LOGITS = "logits"
TAUGHT = "taught."
"""Begins the names of a teacher's outputs in a batch that brings them."""


class Distillation:
    r"""The distance of a model's outputs from those of a teacher on the same batch; no label is read.

    Where `logits` has two classes or more it is \(T^2 \sum_c p_c (\log p_c - \log q_c)\), with the teacher's
    probabilities \(p\) and the model's \(q\) at temperature T. Of any other output it is the squared distance, summed
    over its numbers, divided by the teacher's mean square, so that outputs of any scale weigh alike.

    Args:
        teacher: gives the outputs to be matched; it is put into evaluation mode and not changed.
        per_token: outputs that a row has for each of its tokens.
        temperature: above 1 the smaller probabilities weigh more.

    References:
        Hinton et al. 2015, Distilling the Knowledge in a Neural Network.
    """

    whole_batch: ClassVar[bool] = False

    def __init__(self, teacher: nn.Module, *, per_token: Collection[str] = (), temperature: float = 2.0) -> None:
        self.teacher = teacher.eval().requires_grad_(False)
        self.per_token = frozenset(per_token)
        self.temperature = temperature

    def step(self, model: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
        """Return `{"loss": (sum over rows or tokens, how many)}`.

        Args:
            model: gives the teacher's outputs, (B, ...) each.
            batch: what both read; `attention_mask` (B, T) tells the tokens of an output per token. Where it holds the
                teacher's outputs, as `taught.NAME`, the teacher is not asked again.
        """
        wanted = {name.removeprefix(TAUGHT): values for name, values in batch.items() if name.startswith(TAUGHT)}
        if not wanted:
            with torch.no_grad():
                wanted = self.teacher(batch)
        given = model(batch)
        losses = [self._of(name, given[name], wanted[name], batch["attention_mask"]) for name in wanted]
        weight = torch.tensor(float(max(number for _, number in losses)), device=losses[0][0].device)
        return {"loss": (torch.stack([loss for loss, _ in losses]).sum(), weight)}

    def _of(self, name: str, given: Tensor, wanted: Tensor, mask: Tensor) -> tuple[Tensor, int]:
        """Return an output's summed loss, and over how many rows or tokens."""
        if name in self.per_token:
            kept = mask.bool()
            given, wanted = given[kept], wanted[kept]
        given, wanted = given.float(), wanted.float()
        if name == LOGITS and wanted.ndim > 1 and wanted.shape[-1] > 1:
            t = self.temperature
            loss = F.kl_div((given / t).log_softmax(-1), (wanted / t).log_softmax(-1), reduction="sum", log_target=True)
            return t * t * loss, len(wanted)
        finite = torch.isfinite(wanted)
        gap = torch.where(finite, given - wanted, 0.0).square().sum()
        scale = torch.where(finite, wanted, 0.0).square().mean().clamp(min=1e-6)
        return gap / scale / max(1, wanted[0].numel()), len(wanted)
