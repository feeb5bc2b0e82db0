"""Binary cross-entropy of every label by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from luthier.errors import TrainingError


class MultiLabelObjective:
    r"""Binary cross-entropy of `logits` against the labels that a row has, the mean over labels.

    With smoothing \(s\) a label's target is \(y (1 - s) + s / 2\). A row's loss is the sum over its C labels, its
    weight is C, so the mean is PyTorch's `binary_cross_entropy_with_logits`.

    Args:
        class_weights: must be absent: a row has no one class.
        label_smoothing: share of the target spread over yes and no, in [0, 1).

    Raises:
        TrainingError: class weights are set.
    """

    whole_batch: ClassVar[bool] = False

    def __init__(self, *, class_weights: Sequence[float] | None = None, label_smoothing: float = 0.0) -> None:
        if class_weights is not None:
            raise TrainingError("train.class_weights must be none for multi-label.", fix="Take it out.")
        self.label_smoothing = label_smoothing

    def step(self, model: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
        """Return `{"loss": (sum over rows and labels, their number)}`.

        Args:
            model: gives `logits` (B, C).
            batch: `classes` (B, L), the numbers of each row's labels, padded with -1, and what the model reads.
        """
        logits = model(batch)["logits"].float()
        target = multi_hot(batch["classes"], logits.shape[1])
        target = target * (1 - self.label_smoothing) + self.label_smoothing / 2
        loss = F.binary_cross_entropy_with_logits(logits, target, reduction="sum")
        return {"loss": (loss, torch.tensor(float(logits.numel()), device=logits.device))}


def multi_hot(numbers: Tensor, classes: int) -> Tensor:
    """Return (B, C) ones where a row has a label, from (B, L) numbers padded with -1."""
    found = torch.zeros(len(numbers), classes + 1, device=numbers.device)
    return found.scatter(1, numbers % (classes + 1), 1.0)[:, :classes]  # -1 is the last place, which is cut off
