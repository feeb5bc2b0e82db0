"""Distillation against plain formulas."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from torch import Tensor, nn

from luthier.objectives.distillation import Distillation, TokenDistillation


class Given(nn.Module):
    """Gives outputs that were made before."""

    def __init__(self, **outputs: Any) -> None:
        super().__init__()
        self.outputs = nn.ParameterDict(
            {name: nn.Parameter(torch.tensor(value, dtype=torch.float32)) for name, value in outputs.items()}
        )

    def forward(self, batch: Any) -> dict[str, Tensor]:
        return dict(self.outputs.items())


BATCH = {"attention_mask": torch.tensor([[1, 1, 0], [1, 1, 1]])}


def test_classes_are_matched_by_their_divergence_at_a_temperature() -> None:
    draw = np.random.default_rng(0)
    wanted, given = draw.normal(size=(2, 4)), draw.normal(size=(2, 4))
    loss, weight = Distillation(Given(logits=wanted), temperature=3.0).step(Given(logits=given), BATCH)["loss"]
    p, q = log_softmax(wanted / 3, axis=1), log_softmax(given / 3, axis=1)
    assert loss.item() == pytest.approx(9 * (np.exp(p) * (p - q)).sum(), rel=1e-5)
    assert weight.item() == 2


def test_only_real_tokens_count() -> None:
    draw = np.random.default_rng(1)
    wanted, given = draw.normal(size=(2, 3, 4)), draw.normal(size=(2, 3, 4))
    objective = Distillation(Given(logits=wanted), per_token=("logits",), temperature=1.0)
    loss, weight = objective.step(Given(logits=given), BATCH)["loss"]
    kept = BATCH["attention_mask"].numpy().astype(bool)
    p, q = log_softmax(wanted[kept], axis=1), log_softmax(given[kept], axis=1)
    assert loss.item() == pytest.approx((np.exp(p) * (p - q)).sum(), rel=1e-5)
    assert weight.item() == 5


def test_other_outputs_are_matched_by_their_distance_at_any_scale() -> None:
    draw = np.random.default_rng(2)
    wanted, given = draw.normal(size=(2, 8)), draw.normal(size=(2, 8))
    one, _ = Distillation(Given(embedding=wanted)).step(Given(embedding=given), BATCH)["loss"]
    assert one.item() == pytest.approx(((given - wanted) ** 2).sum() / (wanted**2).mean() / 8, rel=1e-5)
    large, _ = Distillation(Given(embedding=100 * wanted)).step(Given(embedding=100 * given), BATCH)["loss"]
    assert large.item() == pytest.approx(one.item(), rel=1e-5)


def test_the_teacher_learns_nothing_and_its_own_answer_is_the_minimum() -> None:
    values = np.random.default_rng(3).normal(size=(2, 4))
    teacher, student = Given(logits=values), Given(logits=values)
    loss, _ = Distillation(teacher).step(student, BATCH)["loss"]
    loss.backward()
    assert loss.item() == pytest.approx(0.0, abs=1e-6)
    assert student.outputs["logits"].grad.abs().max() < 1e-6
    assert all(not one.requires_grad and one.grad is None for one in teacher.parameters())


def test_a_teacher_whose_outputs_come_with_the_batch_is_not_asked() -> None:
    class Silent(nn.Module):
        def forward(self, batch: Any) -> dict[str, Tensor]:
            raise AssertionError("asked")

    draw = np.random.default_rng(3)
    wanted, given = draw.normal(size=(2, 4)), Given(logits=draw.normal(size=(2, 4)))
    taught = {**BATCH, "taught.logits": torch.tensor(wanted, dtype=torch.float32)}
    found, weight = Distillation(Silent()).step(given, taught)["loss"]
    asked, _ = Distillation(Given(logits=wanted)).step(given, BATCH)["loss"]
    assert found.item() == asked.item()
    assert weight.item() == 2


class Written(nn.Module):
    """Gives logits before labelled tokens that were made before."""

    def __init__(self, logits: Any) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits, dtype=torch.float32))

    def labelled_logits(self, batch: Any) -> Tensor:
        return self.logits


def test_tokens_are_matched_by_the_divergence_over_the_vocabulary() -> None:
    draw = np.random.default_rng(3)
    wanted, given = draw.normal(size=(5, 7)), draw.normal(size=(5, 7))
    teacher, student = Written(wanted), Written(given)
    loss, weight = TokenDistillation(teacher).step(student, BATCH)["loss"]
    p, q = log_softmax(wanted, axis=1), log_softmax(given, axis=1)
    assert loss.item() == pytest.approx((np.exp(p) * (p - q)).sum(), rel=1e-5)
    assert weight.item() == 5
    loss.backward()
    slope = np.exp(q) - np.exp(p)
    np.testing.assert_allclose(student.logits.grad, slope, atol=1e-6)
    assert teacher.logits.grad is None
