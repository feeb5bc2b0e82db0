"""Losses of lists against plain NumPy, list by list."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from luthier.errors import TrainingError
from luthier.objectives.ranking import RankingLoss

SIZES = (3, 1, 5, 2)
RELEVANCE = ([0, 1, 0], [1], [0, 2, 1, 0, 0], [1, 0])


class Given(nn.Module):
    """Gives scores that were made before."""

    def __init__(self, scores: np.ndarray) -> None:
        super().__init__()
        self.scores = nn.Parameter(torch.from_numpy(scores))

    def forward(self, batch: Any) -> dict[str, Tensor]:
        return {"logits": self.scores[:, None]}


def made(scale: float = 1.0) -> tuple[Given, dict[str, Tensor], list[tuple[np.ndarray, np.ndarray]]]:
    rng = np.random.default_rng(0)
    scores = [scale * rng.normal(size=size) for size in SIZES]
    relevance = [np.asarray(one, np.float64) for one in RELEVANCE]
    batch = {
        "relevance": torch.from_numpy(np.concatenate(relevance)),
        "list": torch.tensor(np.repeat([9, 2, 4, 3], SIZES)),
    }
    return Given(np.concatenate(scores)), batch, list(zip(scores, relevance, strict=True))


def step(model: Given, batch: dict[str, Tensor], loss: str) -> tuple[float, float]:
    total, weight = RankingLoss(loss=loss).step(model, batch)["loss"]
    total.backward()
    assert torch.isfinite(model.scores.grad).all()
    return total.item(), weight.item()


def test_pointwise() -> None:
    model, batch, lists = made()
    batch["relevance"] = batch["relevance"].clamp(max=1)
    total, weight = step(model, batch, "pointwise")
    probability = [(1 / (1 + np.exp(-scores)), np.minimum(truth, 1)) for scores, truth in lists]
    expected = -sum((y * np.log(p) + (1 - y) * np.log(1 - p)).sum() for p, y in probability)
    assert total == pytest.approx(expected, rel=1e-5)
    assert weight == sum(SIZES)


def test_pairwise() -> None:
    model, batch, lists = made()
    total, weight = step(model, batch, "pairwise")
    expected = 0.0
    for scores, truth in lists:
        found = [
            np.log1p(np.exp(scores[j] - scores[i]))
            for i in range(len(truth))
            for j in range(len(truth))
            if truth[i] > truth[j]
        ]
        expected += np.mean(found) if found else 0.0
    assert total == pytest.approx(expected, rel=1e-5)
    assert weight == len(SIZES)


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_listwise(scale: float) -> None:
    model, batch, lists = made(scale)
    total, weight = step(model, batch, "listwise")
    expected = 0.0
    for scores, truth in lists:
        log_softmax = scores - scores.max() - np.log(np.exp(scores - scores.max()).sum())
        expected -= (truth / truth.sum() * log_softmax).sum()
    assert total == pytest.approx(expected, rel=1e-5)
    assert weight == len(SIZES)


@pytest.mark.parametrize("loss", ["pairwise", "listwise"])
def test_a_list_is_worth_the_same_whatever_stands_beside_it(loss: str) -> None:
    model, batch, _ = made()
    together, _ = step(model, batch, loss)
    alone = 0.0
    for number in batch["list"].unique_consecutive():
        own = batch["list"] == number
        part = {name: values[own] for name, values in batch.items()}
        alone += step(Given(model.scores.detach().numpy()[own.numpy()]), part, loss)[0]
    assert together == pytest.approx(alone, rel=1e-6)


def test_settings_of_classes_are_refused() -> None:
    with pytest.raises(TrainingError, match=r"train\.label_smoothing must be absent for reranking"):
        RankingLoss(label_smoothing=0.1)
