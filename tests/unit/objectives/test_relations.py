"""Relation distillation against plain formulas. Tiny random models."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import log_softmax
from tests.contracts.test_families import batch as model_batch
from tests.unit.models.test_tuning import task_model
from torch import Tensor, nn

from luthier.compression.search.width import TYPES, narrowed, projections
from luthier.objectives.distillation import Distillation
from luthier.objectives.relations import RelationDistillation, divergence, relation_heads

MASK = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]]).bool()


class Reader(nn.Module):
    """Gives the mean of a row's tokens by a matrix, and queries, keys and values on the way."""

    def __init__(self, width: int, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.parts = nn.ModuleList([nn.Linear(6, width) for _ in range(3)])
        self.last = nn.Linear(width, 3)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"logits": self.last(sum(part(batch["values"]) for part in self.parts).mean(1))}  # type: ignore[union-attr]


def batch(seed: int) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return {"values": torch.randn(2, 4, 6, generator=draw), "attention_mask": MASK.long()}


def relations(values: Tensor, heads: int, row: int) -> NDArray[np.float64]:
    """Return log relations of a row's real tokens, (A, T, T)."""
    real = values[row][MASK[row]].detach().double().numpy()
    cut = np.split(real, heads, axis=1)
    return np.stack([log_softmax(head @ head.T / np.sqrt(head.shape[1]), axis=1) for head in cut])


@pytest.mark.parametrize("widths", [(32, 32), (64, 32), (48, 16)])
def test_the_divergence_is_the_plain_formula(widths: tuple[int, int]) -> None:
    torch.manual_seed(0)
    wanted, given = (torch.randn(2, 4, width) for width in widths)
    heads = relation_heads(*widths)
    found = divergence(wanted, given, MASK)
    for row in range(2):
        p, q = relations(wanted, heads, row), relations(given, heads, row)
        assert found[row].item() == pytest.approx((np.exp(p) * (p - q)).sum(2).mean(), rel=1e-5)


@pytest.mark.parametrize(
    ("wanted", "given", "heads"), [(384, 384, 24), (384, 288, 16), (768, 384, 24), (32, 32, 2), (8, 12, 1), (30, 20, 1)]
)
def test_two_widths_are_cut_into_as_many_heads_as_stay_wide(wanted: int, given: int, heads: int) -> None:
    assert relation_heads(wanted, given) == heads
    assert wanted % heads == given % heads == 0


def test_padding_does_not_count() -> None:
    torch.manual_seed(1)
    wanted, given = torch.randn(2, 4, 32), torch.randn(2, 4, 32)
    before = divergence(wanted, given, MASK)
    given[0, 3] += 5.0
    assert torch.equal(divergence(wanted, given, MASK), before)


@pytest.mark.parametrize("per_token", [False, True])
def test_it_is_added_to_the_loss_of_the_outputs(per_token: bool) -> None:
    teacher, model, given = Reader(64, 0), Reader(32, 1), batch(0)
    outputs = Distillation(teacher)
    alone, number = outputs.step(model, given)["loss"]
    outputs.per_token = frozenset({"tokens"} if per_token else ())
    both = RelationDistillation(outputs, taught=teacher.parts, learning=model.parts, weight=2.0)
    loss, weight = both.step(model, given)["loss"]
    parts = zip(teacher.parts, model.parts, strict=True)
    rows = torch.stack([divergence(a(given["values"]), b(given["values"]), MASK) for a, b in parts]).mean(0)
    wanted = alone + 2.0 * (rows * (MASK.sum(1) if per_token else 1)).sum()
    torch.testing.assert_close(loss, wanted)
    assert weight == number
    loss.backward()  # type: ignore[no-untyped-call]
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_a_teacher_matches_itself() -> None:
    teacher = Reader(32, 0)
    other = Reader(32, 0)
    loss, _ = RelationDistillation(Distillation(teacher), taught=teacher.parts, learning=other.parts).step(
        other, batch(0)
    )["loss"]
    assert loss.item() == pytest.approx(0.0, abs=1e-6)


def test_threads_keep_to_themselves_and_nothing_stays_on_the_models() -> None:
    teacher, model = Reader(32, 0), Reader(32, 1)
    objective = RelationDistillation(Distillation(teacher), taught=teacher.parts, learning=model.parts)
    alone = [objective.step(model, batch(seed))["loss"][0].item() for seed in range(40)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda seed: objective.step(model, batch(seed))["loss"][0].item(), range(40)))
    assert together == alone
    objective.close()
    assert not any(part._forward_hooks for part in (*teacher.parts, *model.parts))


@pytest.mark.parametrize("model_type", TYPES)
@pytest.mark.parametrize("pooling", ["mean", "first"])
def test_models_of_each_type_learn_the_relations_of_their_last_layer(model_type: str, pooling: str) -> None:
    teacher = task_model(model_type).eval()
    teacher.heads["main"].pooling = pooling  # type: ignore[assignment]
    teacher.reads_first = pooling == "first"
    given = model_batch()
    student = narrowed(teacher, 0.5, [{name: values.numpy() for name, values in given.items()}])
    taught, learning = projections(teacher), projections(student)
    assert len(taught) == len(learning) == 3
    objective = RelationDistillation(Distillation(teacher), taught=taught, learning=learning)
    alone, _ = Distillation(teacher).step(student, given)["loss"]
    loss, _ = objective.step(student, given)["loss"]
    assert loss.item() > alone.item()
