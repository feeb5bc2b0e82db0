r"""Losses on the scores of a list of candidates.

With scores \(s_i\) and relevances \(y_i\) of the candidates of one list:

- pointwise: the binary cross-entropy of each \(\sigma(s_i)\) against \(y_i\), weighing each candidate alike.
- pairwise: the mean over pairs with \(y_i > y_j\) of \(\log(1 + e^{s_j - s_i})\) (RankNet, Burges et al. 2005).
- listwise: \(-\sum_i \frac{y_i}{\sum_j y_j} \log \mathrm{softmax}(s)_i\) (ListNet's top-one loss, Cao et al. 2007).
  Deviation: the target is the relevance over its sum, not its softmax, so that what is not relevant has no share.

Pairwise and listwise weigh each list alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from luthier.errors import TrainingError


class RankingLoss:
    """One of the losses above.

    Args:
        loss: `pointwise`, `pairwise` or `listwise`.
        class_weights: must be absent: relevance is no class.
        label_smoothing: must be 0.

    Raises:
        TrainingError: one of the last two is set.
    """

    whole_batch: ClassVar[bool] = True

    def __init__(
        self,
        *,
        loss: str = "pointwise",
        class_weights: Sequence[float] | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        if class_weights is not None or label_smoothing:
            key = "label_smoothing" if class_weights is None else "class_weights"
            raise TrainingError(f"train.{key} must be absent for reranking.", fix="Take it out.")
        self.loss = loss

    def step(self, model: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
        """Return `{"loss": (sum over candidates or lists, their number)}`.

        Args:
            model: gives `logits` (N, 1).
            batch: `relevance` and `list` (N,); the candidates of a list stand together.
        """
        scores, relevance = model(batch)["logits"][:, 0].float(), batch["relevance"].float()
        if self.loss == "pointwise":
            values = F.binary_cross_entropy_with_logits(scores, relevance, reduction="none")
        else:
            values = (pairwise if self.loss == "pairwise" else listwise)(*in_lists(scores, relevance, batch["list"]))
        return {"loss": (values.sum(), torch.tensor(float(len(values)), device=scores.device))}


def in_lists(scores: Tensor, relevance: Tensor, number: Tensor) -> tuple[Tensor, Tensor]:
    """Return scores and relevances as (L, C), filled up with -inf and 0.

    Args:
        scores: (N,).
        relevance: (N,).
        number: (N,) of the list; those of a list stand together.
    """
    _, place, sizes = torch.unique_consecutive(number, return_inverse=True, return_counts=True)
    column = torch.arange(len(number), device=number.device) - (sizes.cumsum(0) - sizes)[place]
    shape = (len(sizes), int(sizes.max()))
    filled = scores.new_full(shape, float("-inf")).index_put((place, column), scores)
    return filled, relevance.new_zeros(shape).index_put((place, column), relevance)


def pairwise(scores: Tensor, relevance: Tensor) -> Tensor:
    """Return (L,) the mean loss of each list's pairs (L, C) of different relevance."""
    there = torch.isfinite(scores)
    better = (relevance[:, :, None] > relevance[:, None, :]) & there[:, :, None] & there[:, None, :]
    finite = scores.masked_fill(~there, 0.0)
    loss = F.softplus(finite[:, None, :] - finite[:, :, None])  # of i over j at (i, j)
    return (loss * better).sum(dim=(1, 2)) / better.sum(dim=(1, 2)).clamp(min=1)


def listwise(scores: Tensor, relevance: Tensor) -> Tensor:
    """Return (L,) the cross-entropy of the softmax of scores (L, C) against the shares of relevance."""
    share = relevance / relevance.sum(dim=1, keepdim=True).clamp(min=1e-12)
    log_probability = F.log_softmax(scores, dim=1).masked_fill(~torch.isfinite(scores), 0.0)
    return -(share * log_probability).sum(dim=1)
