r"""Losses on the cosines between the texts of a step's rows.

With the text \(a_i\), its positive \(p_i\), its negatives \(n_{ij}\) where rows have some, cosine \(c\) and distance
\(d = 1 - c\):

- multiple-negatives: cross-entropy of \(s\,c(a_i, \cdot)\) over all positives and negatives of the step, the right one
  being \(p_i\) (Henderson et al. 2017). Relation: InfoNCE with in-batch and hard negatives. Deviation: what is known to
  be right for \(a_i\), a positive equal to its own or that of an equal text, is no wrong answer and is left out.
- cosine: \((c(a_i, p_i) - y_i)^2\) for a score \(y_i\).
- contrastive: \(y d^2 + (1 - y) \max(0, m - d)^2\) for \(y_i\) of 0 or 1 (Hadsell et al. 2006).
- triplet: the mean over \(j\) of \(\max(0, d(a_i, p_i) - d(a_i, n_{ij}) + m)\) (Schroff et al. 2015). Deviation: cosine
  distance.

References: Henderson et al. 2017, Efficient Natural Language Response Suggestion for Smart Reply; Hadsell, Chopra and
LeCun 2006, Dimensionality Reduction by Learning an Invariant Mapping; Schroff, Kalenichenko and Philbin 2015, FaceNet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from luthier.errors import TrainingError

TEXT, POSITIVE, NEGATIVE = 0, 1, 2  # values of `part`


class EmbeddingLoss:
    """One of the losses above, the weight being the number of rows.

    Args:
        loss: its name; `auto` takes cosine where the batch has a score, else multiple-negatives.
        scale: of the cosines in multiple-negatives.
        margin: of contrastive and triplet, in cosine distance.
        class_weights: must be absent: vectors are not classes.
        label_smoothing: must be 0.

    Raises:
        TrainingError: one of the last two is set.
    """

    whole_batch: ClassVar[bool] = True

    def __init__(
        self,
        *,
        loss: str = "auto",
        scale: float = 20.0,
        margin: float = 0.5,
        class_weights: Sequence[float] | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        if class_weights is not None or label_smoothing:
            key = "label_smoothing" if class_weights is None else "class_weights"
            raise TrainingError(f"train.{key} must be absent for embeddings.", fix="Take it out.")
        self.loss, self.scale, self.margin = loss, scale, margin

    def step(self, model: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
        """Return `{"loss": (sum over rows, their number)}`.

        Args:
            model: gives `embedding` (N, H), a vector for each text.
            batch: `part` and `key` (N,), `score` (N,) where rows have one; the texts of a row stand together.
        """
        vectors, part = model(batch)["embedding"].float(), batch["part"]
        text, positive, negative = (vectors[part == which] for which in (TEXT, POSITIVE, NEGATIVE))
        loss = self.loss
        if loss == "auto":
            loss = "cosine" if "score" in batch else "multiple-negatives"
        if loss == "multiple-negatives":
            keys = [batch["key"][part == which] for which in (TEXT, POSITIVE, NEGATIVE)]
            known = known_answers(*keys)
            values = multiple_negatives(text, torch.cat((positive, negative)), known, self.scale)
        elif loss == "triplet":
            row = (part == TEXT).cumsum(dim=0)[part == NEGATIVE] - 1
            values = triplet(text, positive, negative, row, self.margin)
        else:
            score = batch["score"][part == TEXT].float()
            near = F.cosine_similarity(text, positive)
            values = (near - score) ** 2 if loss == "cosine" else contrastive(near, score, self.margin)
        return {"loss": (values.sum(), torch.tensor(float(len(text)), device=vectors.device))}


def known_answers(text: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """Return (B, B + K) which candidates are known to be right for a text without being its row's own positive.

    Args:
        text: (B,) keys of the texts.
        positive: (B,) keys of their positives.
        negative: (K,) keys of negatives.
    """
    candidates = torch.cat((positive, negative))
    same_text = (text[:, None] == text[None, :]).float()  # (B, B)
    same_answer = (positive[:, None] == candidates[None, :]).float()  # (B, B + K)
    known = same_text @ same_answer > 0
    known[:, : len(text)].fill_diagonal_(False)
    return known


def multiple_negatives(text: Tensor, candidates: Tensor, left_out: Tensor, scale: float) -> Tensor:
    """Return (B,) the cross-entropy of each text's own candidate among all.

    Args:
        text: (B, H).
        candidates: (B + K, H), the right one of text i at place i.
        left_out: (B, B + K) those that do not count.
        scale: of the cosines.
    """
    cosine = F.normalize(text, dim=-1) @ F.normalize(candidates, dim=-1).T
    logits = (scale * cosine).masked_fill(left_out, float("-inf"))
    return F.cross_entropy(logits, torch.arange(len(text), device=text.device), reduction="none")


def contrastive(cosine: Tensor, label: Tensor, margin: float) -> Tensor:
    """Return (B,) the loss of pairs whose label says whether they belong together."""
    distance = 1 - cosine
    return label * distance**2 + (1 - label) * F.relu(margin - distance) ** 2


def triplet(text: Tensor, positive: Tensor, negative: Tensor, row: Tensor, margin: float) -> Tensor:
    """Return (B,) by how much the positive is not nearer than the negatives by a margin, the mean of a row's.

    Args:
        text: (B, H).
        positive: (B, H).
        negative: (K, H), at least one for each text.
        row: (K,) whose negative each is.
        margin: in cosine distance.
    """
    near = F.cosine_similarity(text, positive)
    short = F.relu(F.cosine_similarity(text[row], negative) - near[row] + margin)
    return short.new_zeros(len(text)).index_add(0, row, short) / torch.bincount(row, minlength=len(text))
