"""Narrower layers, and variants in files. Tiny random models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.contracts.test_families import batch
from tests.unit.models.test_tuning import task_model
from torch import nn

from luthier.compression.search.candidates import Variant, read_variant, write_variant
from luthier.compression.search.layers import without_layers
from luthier.compression.search.shapes import shapes
from luthier.compression.search.width import TYPES, importance, narrowed, refusal
from luthier.models.assembly import TaskModel
from luthier.models.tuning.layouts import layout_of


def outputs(model: TaskModel) -> dict[str, nn.Linear]:
    backbone: Any = model.backbone
    layout = layout_of(backbone)
    ends = (layout.attention[-1], layout.feed_forward[-1])
    return {
        f"{number}.{name}": layer.get_submodule(name)
        for number, layer in enumerate(backbone.get_submodule(layout.layers))
        for name in ends
    }


@pytest.mark.parametrize("model_type", TYPES)
def test_what_is_left_answers_as_the_whole_with_the_other_groups_silent(model_type: str) -> None:
    model = task_model(model_type).eval()
    given = [{name: values.numpy() for name, values in batch().items()}]
    weights = importance(model, given)
    student = narrowed(model, 0.5, given)
    for (name, whole), left in zip(outputs(model).items(), outputs(student).values(), strict=True):
        groups = len(weights[name])
        size = whole.in_features // groups
        kept = left.in_features // size
        assert 0 < kept < groups or groups == 1, name
        gone = weights[name].argsort(descending=True, stable=True)[kept:]
        with torch.no_grad():
            whole.weight.unflatten(1, (groups, size))[:, gone] = 0.0
    with torch.no_grad():
        torch.testing.assert_close(student(batch())["logits"], model(batch())["logits"], rtol=1e-5, atol=1e-6)


def test_groups_that_move_nothing_are_the_least_important() -> None:
    model = task_model("bert").eval()
    given = [{name: values.numpy() for name, values in batch().items()}]
    silent = {}
    for name, matrix in outputs(model).items():
        groups = len(importance(model, given)[name])
        silent[name] = groups - 1
        with torch.no_grad():
            matrix.weight.unflatten(1, (groups, -1))[:, -1] = 0.0
    found = importance(model, given)
    for name, last in silent.items():
        assert found[name][last] == 0.0
        assert (found[name][:last] > 0.0).all()


@pytest.mark.parametrize("model_type", ["bert", "llama"])
def test_a_variant_comes_back_from_its_folder(model_type: str, tmp_path: Path) -> None:
    whole = task_model(model_type).eval()
    given = [{name: values.numpy() for name, values in batch().items()}]
    made = narrowed(without_layers(whole, [0]), 0.5, given)
    write_variant(Variant(made, [1]), tmp_path / "new")
    found = read_variant(whole, tmp_path / "new")
    assert found.layers == [1]
    with torch.no_grad():
        assert torch.equal(found.model(batch())["logits"], made(batch())["logits"])


def test_types_whose_heads_share_a_matrix_keep_their_width() -> None:
    assert refusal(task_model("bert")) is None
    assert "gpt2" in str(refusal(task_model("gpt2")))


def test_each_shape_begins_as_one_that_was_made_before_it() -> None:
    found = shapes(6, layers_may_go=True, may_be_narrow=True, may_be_thin=True)
    assert [one.name for one in found] == [
        "3/4 as wide",
        "4 layers",
        "3 layers",
        "4 layers, 3/4 as wide",
        "2 layers",
        "1/2 as wide",
        "low rank 1/2",
        "sparse 1/2",
        "sparse 2:4",
    ]
    for place, one in enumerate(found):
        assert one.larger is None or one.larger in found[:place]
    plain = shapes(2, layers_may_go=True, may_be_narrow=False, may_be_thin=False)
    assert [one.name for one in plain] == ["1 layers", "sparse 1/2", "sparse 2:4"]
    single = shapes(1, layers_may_go=True, may_be_narrow=True, may_be_thin=True)
    assert [one.name for one in single] == ["3/4 as wide", "1/2 as wide", "low rank 1/2", "sparse 1/2", "sparse 2:4"]
