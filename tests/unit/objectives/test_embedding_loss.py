"""Losses of vectors against plain NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from luthier.errors import TrainingError
from luthier.objectives.embedding import EmbeddingLoss, known_answers

ROWS, WIDTH = 5, 4


class Given(nn.Module):
    """Gives vectors that were made before."""

    def __init__(self, vectors: Tensor) -> None:
        super().__init__()
        self.vectors = nn.Parameter(vectors)

    def forward(self, batch: Any) -> dict[str, Tensor]:
        return {"embedding": self.vectors}


def made(parts: int, **more: Any) -> tuple[Given, dict[str, Tensor], list[np.ndarray]]:
    """Return a model, a batch of rows with so many texts, and the vectors of each part."""
    rng = np.random.default_rng(parts)
    vectors = rng.normal(size=(ROWS, parts, WIDTH)).astype(np.float32)
    batch = {"part": torch.arange(parts).repeat(ROWS), "key": torch.arange(ROWS * parts)}
    batch |= {name: torch.as_tensor(values).repeat_interleave(parts) for name, values in more.items()}
    return Given(torch.from_numpy(vectors.reshape(-1, WIDTH))), batch, [vectors[:, part] for part in range(parts)]


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.sum(a * b, -1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)


def loss_of(model: Given, batch: dict[str, Tensor], **settings: Any) -> float:
    total, weight = EmbeddingLoss(**settings).step(model, batch)["loss"]
    assert weight.item() == ROWS
    total.backward()
    assert torch.isfinite(model.vectors.grad).all()
    assert model.vectors.grad.abs().sum() > 0
    return total.item()


@pytest.mark.parametrize("parts", [2, 3])
def test_multiple_negatives(parts: int) -> None:
    model, batch, (text, *others) = made(parts)
    candidates = np.concatenate(others)
    expected = 0.0
    for row in range(ROWS):
        scores = 20 * np.array([cosine(text[row], one) for one in candidates])
        expected -= scores[row] - np.log(np.exp(scores).sum())
    assert loss_of(model, batch, loss="auto") == pytest.approx(expected, rel=1e-5)


def test_what_is_known_to_be_right_is_no_wrong_answer() -> None:
    """Rows 0 and 1 ask the same, rows 2 and 3 have the same answer, and row 4's negative is row 0's answer."""
    text, positive = torch.tensor([1, 1, 2, 3, 4]), torch.tensor([10, 11, 12, 12, 13])
    known = known_answers(text, positive, torch.tensor([20, 21, 22, 23, 10]))
    expected = {(0, 1), (0, 9), (1, 0), (1, 9), (2, 3), (3, 2)}
    assert {(int(i), int(j)) for i, j in known.nonzero()} == expected


def test_equal_answers_do_not_push_each_other_away() -> None:
    """With one answer for all rows nothing is wrong, so the loss is 0."""
    model, batch, _ = made(2)
    batch["key"] = torch.tensor([0, 99] * ROWS) + torch.tensor([[row, 0] for row in range(ROWS)]).ravel()
    total, _ = EmbeddingLoss(loss="multiple-negatives").step(model, batch)["loss"]
    assert total.item() == pytest.approx(0.0, abs=1e-6)


def test_cosine() -> None:
    score = np.linspace(-1, 1, ROWS)
    model, batch, (text, positive) = made(2, score=score)
    expected = ((cosine(text, positive) - score) ** 2).sum()
    assert loss_of(model, batch, loss="auto") == pytest.approx(expected, rel=1e-5)


def test_contrastive() -> None:
    label = np.array([1.0, 0.0, 1.0, 0.0, 0.0])
    model, batch, (text, positive) = made(2, score=label)
    distance = 1 - cosine(text, positive)
    expected = np.where(label == 1, distance**2, np.maximum(0, 1.5 - distance) ** 2).sum()
    assert loss_of(model, batch, loss="contrastive", margin=1.5) == pytest.approx(expected, rel=1e-5)


def test_triplet() -> None:
    model, batch, (text, positive, negative) = made(3)
    expected = np.maximum(0, cosine(text, negative) - cosine(text, positive) + 0.7).sum()
    assert loss_of(model, batch, loss="triplet", margin=0.7) == pytest.approx(expected, rel=1e-5)


def test_triplet_takes_the_mean_of_a_rows_negatives() -> None:
    """Row 0 has two negatives, row 1 has one."""
    vectors = np.random.default_rng(3).normal(size=(7, 4))
    model = Given(torch.tensor(vectors, dtype=torch.float32))
    batch = {"part": torch.tensor([0, 1, 2, 2, 0, 1, 2]), "key": torch.arange(7)}
    short = [
        max(0.0, cosine(vectors[[text]], vectors[[negative]])[0] - cosine(vectors[[text]], vectors[[right]])[0] + 0.7)
        for text, right, negative in ((0, 1, 2), (0, 1, 3), (4, 5, 6))
    ]
    expected = (short[0] + short[1]) / 2 + short[2]
    total, weight = EmbeddingLoss(loss="triplet", margin=0.7).step(model, batch)["loss"]
    assert total.item() == pytest.approx(expected, rel=1e-5)
    assert weight.item() == 2


def test_settings_of_classes_are_refused() -> None:
    with pytest.raises(TrainingError, match=r"train\.class_weights must be absent for embeddings"):
        EmbeddingLoss(class_weights=[1.0, 1.0])
    with pytest.raises(TrainingError, match=r"train\.label_smoothing must be absent for embeddings"):
        EmbeddingLoss(label_smoothing=0.1)
