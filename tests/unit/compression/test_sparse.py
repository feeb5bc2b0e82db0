"""Matrices half of whose numbers are zero: which half, what learning leaves of it, and what is stored."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.contracts.test_families import able, batch, louder
from tests.tiny_families import build_backbone
from tests.unit.models.test_tuning import task_model
from torch import Tensor

from luthier.compression.search.candidates import Variant, read_variant, write_variant
from luthier.compression.search.sparse import STORED, KeepsZeros, _weights, halved
from luthier.models.assembly import TaskModel, assemble
from luthier.models.folder import manifest_parts, write_folder
from luthier.models.packed import BF16
from luthier.models.packed_folder import Scheme, read_packed, write_packed
from luthier.models.source import locate
from luthier.tasks.base import HeadSpec

GIVEN = [{name: values.numpy() for name, values in batch().items()}]


def zeros(model: TaskModel) -> dict[str, Tensor]:
    return {name: weight == 0 for name, weight in _weights(model)}


@pytest.mark.parametrize("model_type", ["bert", "gpt2", "llama"])
def test_two_of_every_four_are_kept_and_the_whole_model_is_left_alone(model_type: str) -> None:
    model = task_model(model_type).eval()
    before = {name: values.clone() for name, values in model.state_dict().items()}
    found = zeros(halved(model, "2:4", GIVEN))
    assert found
    for name, gone in found.items():
        assert gone.unflatten(1, (-1, 4)).sum(-1).eq(2).all(), name
    assert all(torch.equal(values, before[name]) for name, values in model.state_dict().items())


def test_numbers_of_larger_inputs_are_kept() -> None:
    model = task_model("bert").eval()
    layer = model.backbone.encoder.layer[0]  # type: ignore[union-attr, index]
    with torch.no_grad():  # the first layer's queries read states of which every other one is silent
        norm = model.backbone.embeddings.LayerNorm  # type: ignore[union-attr]
        norm.weight[::2], norm.bias[::2] = 0.0, 0.0  # type: ignore[index, operator]
    student = halved(model, "2:4", GIVEN)
    kept = student.backbone.encoder.layer[0].attention.self.query.weight != 0  # type: ignore[union-attr, index]
    assert kept[:, 1::2].all()
    assert not kept[:, ::2].any()
    assert (layer.attention.self.query.weight != 0).all()


@pytest.mark.parametrize("pattern", STORED)
def test_zeros_stay_zero_through_steps_that_move_the_rest(pattern: str) -> None:
    model = halved(task_model("bert").eval(), pattern, GIVEN)
    before, method = zeros(model), KeepsZeros()
    start = {name: weight.clone() for name, weight in _weights(model)}
    method.set_up(model, 3)
    groups = method.parameter_groups(model, learning_rate=0.1, weight_decay=0.1)
    optimiser = torch.optim.AdamW(groups, fused=True)
    for step in range(3):
        method.before_step(model, step)
        optimiser.zero_grad()
        model(batch())["logits"].square().sum().backward()
        assert any(bool((gradient[before[name]] != 0).any()) for name, gradient in _weights(model, gradients=True))
        method.after_backward(model, step)
        optimiser.step()
    for name, weight in _weights(model):
        assert torch.equal(weight == 0, before[name]), name
        assert not torch.equal(weight, start[name]), name


def test_a_sparse_variant_comes_back_from_its_folder(tmp_path: Path) -> None:
    whole = task_model("bert").eval()
    made = halved(whole, "1/2", GIVEN).eval()
    write_variant(Variant(made, [0, 1]), tmp_path / "variant")
    found = read_variant(whole, tmp_path / "variant").model
    assert all(torch.equal(values, found.state_dict()[name]) for name, values in made.state_dict().items())


@pytest.mark.parametrize("pattern", STORED)
@pytest.mark.parametrize("family", able("classification"))
def test_what_is_stored_are_the_numbers_that_are_not_zero(family: str, pattern: str, tmp_path: Path) -> None:
    """In bf16, bit for bit, whatever the inputs are when it is written."""
    source = locate(str(build_backbone(tmp_path / "from", family, spread=0.1)))
    head = HeadSpec("classification", {"outputs": 3})
    assembled = louder(assemble(source, head, pooling="auto", attention="eager", dropout=0.0, seed=5))
    (tmp_path / "model").mkdir()
    write_folder(assembled, tmp_path / "model", labels=["a", "b", "c"])
    made = halved(assembled.model, pattern, GIVEN).eval()
    whole = write_packed(made, tmp_path / "model", Scheme(16), {}).stat().st_size
    path = STORED[pattern].write(made, tmp_path / "model", GIVEN)
    numbers = sum(weight.numel() for _, weight in _weights(made))
    assert whole - path.stat().st_size == pytest.approx((2 - 1.125) * numbers, abs=300 * len(zeros(made)))
    backbone, entry = manifest_parts(assembled, source="tiny")
    found = read_packed(path, backbone, [entry])
    for name, values in found.state_dict().items():
        assert torch.equal(values, made.state_dict()[name].to(BF16)), name
    with torch.no_grad():
        wanted = made(batch())["logits"]
        assert float((found(batch())["logits"].float() - wanted).norm() / wanted.norm()) < 0.1
