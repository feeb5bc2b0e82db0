"""Cross-entropy over classes, for each token that carries a label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from luthier.errors import TrainingError

IGNORED = -100


class TokenClassification:
    """Cross-entropy of `logits` (B, T, C) against `labels` (B, T); the weight is the number of labelled tokens.

    Args:
        class_weights: must be absent: a row has no class.
        label_smoothing: share of the target spread over all classes, in [0, 1).

    Raises:
        TrainingError: class weights are set.
    """

    whole_batch: ClassVar[bool] = False

    def __init__(self, *, class_weights: Sequence[float] | None = None, label_smoothing: float = 0.0) -> None:
        if class_weights is not None:
            raise TrainingError("train.class_weights must be none where tokens are classified.", fix="Take it out.")
        self.label_smoothing = label_smoothing

    def step(self, model: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
        """Return `{"loss": (sum over labelled tokens, their number)}`.

        Args:
            model: gives `logits` (B, T, C).
            batch: `labels` (B, T), -100 where nothing is learnt, and what the model reads.
        """
        logits, labels = model(batch)["logits"], batch["labels"].long()
        picked = labels != IGNORED
        loss = F.cross_entropy(
            logits[picked].float(), labels[picked], label_smoothing=self.label_smoothing, reduction="sum"
        )
        return {"loss": (loss, picked.sum().float())}
