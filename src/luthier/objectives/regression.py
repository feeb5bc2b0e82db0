"""Squared or Huber loss of a standardised number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from luthier.errors import TrainingError


class RegressionObjective:
    r"""Loss of one output against `value`.

    With the error \(e\): `squared` is \(e^2\); `huber` is \(e^2 / 2\) up to \(\delta\) and
    \(\delta (|e| - \delta / 2)\) beyond, as in PyTorch. A row's weight is 1.

    Args:
        loss: `squared` or `huber`.
        delta: of Huber's loss, in standard deviations of the training values.
        class_weights: must be absent.
        label_smoothing: must be 0.

    Raises:
        TrainingError: one of the last two is set.

    References:
        Huber 1964, "Robust Estimation of a Location Parameter".
    """

    whole_batch: ClassVar[bool] = False

    def __init__(
        self,
        *,
        loss: str = "squared",
        delta: float = 1.0,
        class_weights: Sequence[float] | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        if class_weights is not None:
            raise TrainingError("train.class_weights must be none for regression.", fix="Take it out.")
        if label_smoothing:
            raise TrainingError("train.label_smoothing must be 0 for regression.", fix="Take it out.")
        self.loss, self.delta = loss, delta

    def step(self, model: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
        """Return `{"loss": (sum over rows, their number)}`.

        Args:
            model: gives `logits` (B, 1).
            batch: `value` (B,) and what the model reads.
        """
        found, value = model(batch)["logits"][:, 0].float(), batch["value"].float()
        if self.loss == "huber":
            loss = F.huber_loss(found, value, delta=self.delta, reduction="sum")
        else:
            loss = F.mse_loss(found, value, reduction="sum")
        return {"loss": (loss, torch.tensor(float(len(value)), device=loss.device))}
