"""Which layers go first, and what is left of the model. Tiny random models."""

from __future__ import annotations

import pytest
import torch
from tests.contracts.test_families import batch
from tests.unit.models.test_tuning import task_model
from transformers import AutoModel

from luthier.compression.search.layers import depth, order_of_removal, refusal, without_layers
from luthier.models.families import FAMILIES
from luthier.models.tuning.layouts import LAYOUTS
from luthier.training.sharding import TYPES


@pytest.mark.parametrize("model_type", TYPES)
def test_what_is_left_is_a_model_of_its_configuration(model_type: str) -> None:
    model = task_model(model_type)
    whole = {name: values.clone() for name, values in model.state_dict().items()}
    student = without_layers(model, [0])
    assert (depth(model), depth(student)) == (2, 1)
    options = dict(FAMILIES[model_type].backbone_options)
    backbone = AutoModel.from_config(student.backbone.config, attn_implementation="eager", **options)
    backbone.load_state_dict(student.backbone.state_dict())
    layers = LAYOUTS[model_type].layers
    for name, values in student.backbone.state_dict().items():
        assert torch.equal(values, whole["backbone." + name.replace(f"{layers}.0.", f"{layers}.1.")])
    assert all(torch.equal(values, whole[name]) for name, values in model.state_dict().items())
    with torch.no_grad():
        assert torch.isfinite(student(batch())["logits"]).all()


def test_the_layer_that_does_nothing_goes_first() -> None:
    for idle in (0, 1):
        model = task_model("bert")
        layer = model.backbone.get_submodule("encoder.layer")[idle]  # type: ignore[index]
        with torch.no_grad():
            for part in (layer.attention.output, layer.output):  # what is left of it is a norm of what is normed
                part.dense.weight.zero_()
                part.dense.bias.zero_()
                part.LayerNorm.weight.fill_(1.0)
                part.LayerNorm.bias.zero_()
        given = {name: values.numpy() for name, values in batch().items()}
        before = model(batch())["logits"]
        assert order_of_removal(model, [given]) == [idle, 1 - idle]
        assert torch.equal(model(batch())["logits"], before)


def test_layers_that_are_no_plain_list_stay() -> None:
    assert refusal(task_model("bert")) is None
    assert "xlnet" in str(refusal(task_model("xlnet")))
    assert "t5" in str(refusal(task_model("t5")))
