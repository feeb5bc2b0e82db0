"""Cross-entropy over the tokens of a row: at which one an answer starts, and at which one it ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from luthier.errors import TrainingError


class SpanObjective:
    r"""Mean of the cross-entropies of start and end over the tokens that are allowed; the weight is the number of rows.

    Args:
        class_weights: must be absent: a row has no class.
        label_smoothing: must be 0: a token beside the answer is not a little right.

    Raises:
        TrainingError: one of them is set.

    References:
        Devlin et al. 2019, BERT, section 4.2. Deviation: tokens of the question are left out of the softmax.
    """

    whole_batch: ClassVar[bool] = False

    def __init__(self, *, class_weights: Sequence[float] | None = None, label_smoothing: float = 0.0) -> None:
        if class_weights is not None:
            raise TrainingError("train.class_weights must be none for extracted answers.", fix="Take it out.")
        if label_smoothing:
            raise TrainingError("train.label_smoothing must be 0 for extracted answers.", fix="Take it out.")

    def step(self, model: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
        """Return `{"loss": (sum over rows, their number)}`.

        Args:
            model: gives `logits` (B, T, 2).
            batch: `start` and `end` (B,) tokens, `allowed` (B, T), and what the model reads.
        """
        logits = model(batch)["logits"].float()
        logits = logits.masked_fill(batch["allowed"].unsqueeze(-1) == 0, torch.finfo(logits.dtype).min)
        start = F.cross_entropy(logits[..., 0], batch["start"].long(), reduction="sum")
        end = F.cross_entropy(logits[..., 1], batch["end"].long(), reduction="sum")
        return {"loss": ((start + end) / 2, torch.tensor(float(len(logits)), device=logits.device))}
