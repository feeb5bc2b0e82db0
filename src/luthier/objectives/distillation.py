"""Distillation: a model learns to answer, or to write, as another one does."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LOGITS = "logits"
TAUGHT = "taught."
"""Begins the names of a teacher's outputs in a batch that brings them."""


class TokenDistillation:
    r"""The distance of a language model's next tokens from a teacher's, before each labelled token of a batch.

    It is \(\sum_v p_v (\log p_v - \log q_v)\) over the vocabulary, with the teacher's probabilities \(p\) and the
    model's \(q\). The labels say where, not what: the teacher's own text is not read.

    Args:
        teacher: a language model, whose `labelled_logits` are (M, V); it is put into evaluation mode and not changed.

    References:
        Hinton et al. 2015, Distilling the Knowledge in a Neural Network, token by token as in Kim and Rush 2016,
        Sequence-Level Knowledge Distillation.
    """

    whole_batch: ClassVar[bool] = False

    def __init__(self, teacher: nn.Module) -> None:
        self.teacher: Any = teacher.eval().requires_grad_(False)

    def step(self, model: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
        """Return `{"loss": (sum over labelled tokens, their number)}`.

        Args:
            model: a language model of the teacher's vocabulary.
            batch: what both read, with `label_mask` (B, T).
        """
        with torch.no_grad():
            wanted = self.teacher.labelled_logits(batch).float().log_softmax(-1)
        student: Any = model
        given = student.labelled_logits(batch).float().log_softmax(-1)
        loss = F.kl_div(given, wanted, reduction="sum", log_target=True)
        return {"loss": (loss, torch.tensor(float(len(wanted)), device=loss.device))}


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
