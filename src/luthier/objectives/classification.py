"""Cross-entropy over classes, with label smoothing and class weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Classification:
    r"""Cross-entropy of `logits` against `label`.

    With weights \(w\), smoothing \(s\) and C classes, a row with label y and log-probabilities \(l\) has the loss
    \(w_y (1 - s) (-l_y) + \frac{s}{C} \sum_c w_c (-l_c)\), and the weight \(w_y\), as in PyTorch's `cross_entropy`.

    Args:
        class_weights: (C,) positive weights, or None for equal ones.
        label_smoothing: share of the target spread over all classes, in [0, 1).

    References:
        Szegedy et al. 2016, Rethinking the Inception Architecture, section 7.
    """

    whole_batch: ClassVar[bool] = False

    def __init__(self, *, class_weights: Sequence[float] | None = None, label_smoothing: float = 0.0) -> None:
        self.class_weights = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32)
        self.label_smoothing = label_smoothing

    def step(self, model: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
        """Return `{"loss": (sum over rows, sum of the rows' weights)}`.

        Args:
            model: gives `logits` (B, C).
            batch: `label` (B,) and what the model reads.
        """
        logits, label = model(batch)["logits"].float(), batch["label"]
        weights = None if self.class_weights is None else self.class_weights.to(logits.device)
        loss = F.cross_entropy(logits, label, weight=weights, label_smoothing=self.label_smoothing, reduction="sum")
        total = torch.tensor(float(len(label))) if weights is None else weights[label].sum()
        return {"loss": (loss, total.to(logits.device))}
