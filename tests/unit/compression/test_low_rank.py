"""Matrices as products of two thinner ones. Tiny random models."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.contracts.test_families import batch
from tests.unit.models.test_tuning import task_model
from torch import nn

from luthier.compression.search.candidates import Variant, read_variant, write_variant
from luthier.compression.search.low_rank import Cut, _matrices, cut, factored, moments, ranks
from luthier.compression.search.width import TYPES

GIVEN = [{name: values.numpy() for name, values in batch().items()}]


def test_all_ranks_together_are_the_matrix() -> None:
    torch.manual_seed(0)
    weight, inputs = torch.randn(12, 8), torch.randn(100, 8)
    found = cut(weight, (inputs.T @ inputs).double())
    torch.testing.assert_close(found.left @ found.right, weight, rtol=1e-4, atol=1e-4)
    assert found.energy.sum().item() == pytest.approx(1.0)
    assert found.energy.tolist() == sorted(found.energy.tolist(), reverse=True)


def test_what_the_inputs_are_decides_what_is_cut() -> None:
    torch.manual_seed(1)
    weight = torch.randn(32, 32)
    inputs = torch.randn(400, 32) * torch.logspace(0, -3, 32) @ torch.linalg.qr(torch.randn(32, 32)).Q
    plain = torch.linalg.svd(weight)
    near = plain.U[:, :8] * plain.S[:8] @ plain.Vh[:8]
    own = cut(weight, (inputs.T @ inputs).double())
    mine = own.left[:, :8] @ own.right[:8]
    gaps = [((inputs @ (weight - one).T) ** 2).sum().item() for one in (mine, near)]
    assert gaps[0] < 0.2 * gaps[1]
    whole = ((inputs @ weight.T) ** 2).sum().item()
    assert gaps[0] / whole == pytest.approx(1 - own.energy[:8].sum().item(), rel=1e-2)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
def test_ranks_keep_the_budget_and_follow_the_energy(share: float) -> None:
    flat, steep = torch.full((64,), 1 / 64), torch.softmax(-torch.arange(64) / 2.0, 0)
    cuts = {
        name: Cut(torch.zeros(64, 64), torch.zeros(64, 64), one) for name, one in (("flat", flat), ("steep", steep))
    }
    found = ranks(cuts, share)
    spent = sum(found[name] * 128 if name in found else 64 * 64 for name in cuts)
    assert spent <= share * 2 * 64 * 64 + 2 * 8 * 128  # ranks are rounded
    assert found.get("flat", 64) > found["steep"]


@pytest.mark.parametrize("model_type", TYPES)
def test_a_thinner_model_answers_and_has_fewer_parameters(model_type: str) -> None:
    model = task_model(model_type).eval()
    before = sum(one.numel() for one in model.parameters())
    for name, matrix in _matrices(model).items():  # of rank 4 by themselves, so that little is lost
        with torch.no_grad():
            parts = torch.linalg.svd(matrix.weight, full_matrices=False)
            matrix.weight.copy_(parts.U[:, :4] * parts.S[:4] @ parts.Vh[:4])
        assert name
    student = factored(model, 0.5, GIVEN)
    products = [one for one in student.modules() if isinstance(one, nn.Sequential) and len(one) == 2]
    with torch.no_grad():
        wanted, found = model(batch())["logits"], student(batch())["logits"]
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)
    assert products
    assert sum(one.numel() for one in student.parameters()) < before


def test_padding_is_no_input() -> None:
    model = task_model("bert").eval()
    given = batch()
    assert not given["attention_mask"].all()
    changed = {**given, "input_ids": torch.where(given["attention_mask"].bool(), given["input_ids"], 7)}
    one = moments(model, GIVEN)
    other = moments(model, [{name: values.numpy() for name, values in changed.items()}])
    for name, moment in one.items():
        torch.testing.assert_close(moment, other[name])


@pytest.mark.parametrize("model_type", ["bert", "llama"])
def test_a_thinner_variant_comes_back_from_its_folder(model_type: str, tmp_path: Path) -> None:
    whole = task_model(model_type).eval()
    layers = list(range(len(whole.backbone.get_submodule("encoder.layer" if model_type == "bert" else "layers"))))
    made = factored(whole, 0.5, GIVEN).eval()
    write_variant(Variant(made, layers), tmp_path / "variant")
    found = read_variant(whole, tmp_path / "variant")
    assert found.layers == layers
    with torch.no_grad():
        assert torch.equal(found.model(batch())["logits"], made(batch())["logits"])
