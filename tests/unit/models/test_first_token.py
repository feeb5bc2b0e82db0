"""The first token's state equals that of the whole backbone, is really computed alone, and gives way elsewhere."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.contracts.test_families import batch
from tests.tiny_families import config_of
from tests.unit.models.test_tuning import FEW
from transformers import AutoModel

from luthier.models.assembly import TaskModel, seeded
from luthier.models.families import FAMILIES
from luthier.models.first_token import FIRST, first_only
from luthier.models.heads import build_head
from luthier.models.tuning.layouts import layout_of
from luthier.models.tuning.table import build_method
from luthier.models.views import lower, upper
from luthier.training.dropout import KeyedDropout

TYPES = ("bert", "distilbert", "electra", "roberta", "xlm-roberta")
# Methods whose layers stand inside the last one in different ways: plain, beside a matrix, around it, behind it.
METHODS: dict[str, dict[str, Any]] = {
    "full": {},
    "bitfit": {},
    "lora": {"targets": "all"},
    "dora": {},
    "adalora": {},
    "ia3": {},
    "adapter-houlsby": {"width": 3},
}
Answer = tuple[torch.Tensor, dict[str, torch.Tensor]]


def model_of(model_type: str, attention: str = "eager", pooling: str = "first", **changed: Any) -> TaskModel:
    with seeded(1):
        config = config_of(model_type, **changed)
        options = dict(FAMILIES[model_type].backbone_options)
        backbone = AutoModel.from_config(config, attn_implementation=attention, **options)
        for parameter in backbone.parameters():
            parameter.data.add_(0.1 * torch.randn_like(parameter))
        head = build_head("classification", {"hidden": config.hidden_size, "outputs": 2, "pooling": pooling})
    return TaskModel(backbone, {"main": head}).eval()


def inputs_of(model_type: str) -> dict[str, torch.Tensor]:
    return batch()


def answer(model: TaskModel, inputs: dict[str, torch.Tensor]) -> Answer:
    model.zero_grad()
    logits = model(inputs)["logits"]
    (logits * torch.tensor([1.0, -0.5])).sum().backward()
    return logits.detach(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def both(model: TaskModel, inputs: dict[str, torch.Tensor]) -> tuple[Answer, Answer]:
    """Return the answers with the first token alone and with the whole backbone."""
    assert model.reads_first
    alone = answer(model, inputs)
    model.reads_first = False
    whole = answer(model, inputs)
    model.reads_first = True
    return alone, whole


def last_layer(model: TaskModel) -> Any:
    backbone: Any = model.backbone
    return backbone.get_submodule(layout_of(backbone).layers)[-1]


def widths(model: TaskModel, inputs: dict[str, torch.Tensor]) -> list[int]:
    """Return how many tokens the last layer's feed-forward part sees in a pass."""
    layer, seen = last_layer(model), []
    part = layer.get_submodule(layout_of(model.backbone).feed_forward[0])
    hook = part.register_forward_pre_hook(lambda module, args: seen.append(args[0].shape[1]))
    with torch.no_grad():
        model(inputs)
    hook.remove()
    return seen


def test_every_known_class_is_tried() -> None:
    assert {type(model_of(name).backbone).__name__ for name in TYPES} == {name.split(".")[-1] for name in FIRST}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("model_type", TYPES)
def test_answers_and_gradients_are_those_of_the_whole_backbone(model_type: str, attention: str, method: str) -> None:
    model, inputs = model_of(model_type, attention), inputs_of(model_type)
    with seeded(2):
        build_method(method, METHODS[method]).set_up(model, 10)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data.add_(0.05 * torch.randn_like(parameter))
    model.eval()
    (logits, gradients), (expected, every) = both(model, inputs)
    assert widths(model, inputs) == [1]
    assert expected.std() > 1e-3
    assert torch.allclose(logits, expected, atol=1e-6)
    assert gradients.keys() == every.keys()
    assert any(name.startswith("backbone.") for name in every)
    for name, gradient in every.items():
        assert torch.allclose(gradients[name], gradient, atol=1e-6, rtol=1e-4), name


@pytest.mark.parametrize("model_type", TYPES)
def test_kept_states_go_on_to_the_first_token_alone(model_type: str) -> None:
    model, inputs = model_of(model_type), inputs_of(model_type)
    expected = model(inputs)["logits"]
    states = lower(model.backbone, 1)(**inputs).last_hidden_state
    model.upper = [upper(model.backbone, 1)]
    kept = {"states": states.detach(), "attention_mask": inputs["attention_mask"]}
    assert widths(model, kept) == [1]
    assert torch.allclose(model(kept)["logits"], expected, atol=1e-6)


@pytest.mark.parametrize("model_type", TYPES)
def test_dropout_is_drawn_from_the_key(model_type: str) -> None:
    names = ("dropout", "attention_dropout") if model_type == "distilbert" else ()
    names = names or ("hidden_dropout_prob", "attention_probs_dropout_prob")
    model, inputs = model_of(model_type, **dict.fromkeys(names, 0.4)), inputs_of(model_type)
    model.train()
    found = []
    for key in (1, 1, 2):
        with KeyedDropout(key, alone=False):
            found.append(model(inputs)["logits"].detach())
    assert torch.equal(found[0], found[1])
    assert not torch.allclose(found[0], found[2], atol=1e-3)


def test_dropout_of_attention_has_the_mean_of_none() -> None:
    model = model_of("bert", attention_probs_dropout_prob=0.3, hidden_dropout_prob=0.0)
    layer = last_layer(model).train()
    states = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(3))
    below = first_only(model.backbone).encoder.layer[-1]  # type: ignore[union-attr, index]
    draws = []
    with torch.no_grad():
        for key in range(2000):
            with KeyedDropout(key):
                draws.append(below.compute(layer, states, None))
        mean = torch.stack(draws).mean(0)
        plain = below.compute(layer.eval(), states, None)
    assert torch.stack(draws).std(0).mean() > 0.01
    assert (mean - plain).abs().max() < 0.25 * torch.stack(draws).std(0).mean()


@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_other_pooling_reads_every_token(pooling: str) -> None:
    assert widths(model_of("bert", pooling=pooling), inputs_of("bert")) == [5]


@pytest.mark.parametrize("method", ["prefix", "prompt", "p-tuning"])
def test_virtual_tokens_take_the_whole_backbone(method: str) -> None:
    model = model_of("bert")
    build_method(method, FEW[method]).set_up(model, 10)
    assert first_only(model.backbone) is model.backbone
    assert model.eval()(inputs_of("bert"))["logits"].shape == (2, 2)


def test_what_is_not_known_takes_the_whole_backbone() -> None:
    for other in (torch.nn.Linear(2, 2), AutoModel.from_config(config_of("llama"))):
        assert first_only(other) is other

    class Changed(type(model_of("bert").backbone)):  # type: ignore[misc]
        """A backbone that may do anything after its layers."""

    model = model_of("bert")
    model.backbone.__class__ = Changed
    assert widths(model, inputs_of("bert")) == [5]


@pytest.mark.parametrize("path", ["", "attention", "attention.self"])
def test_a_layer_of_another_class_takes_the_whole_backbone(path: str) -> None:
    model = model_of("bert")
    part = last_layer(model).get_submodule(path)
    kind = type(part)
    part.__class__ = type(f"FSDP{kind.__name__}", (kind,), {"__module__": kind.__module__})  # as sharding does
    assert widths(model, inputs_of("bert")) == [5]


@pytest.mark.parametrize("path", ["", "attention", "attention.self"])
def test_a_listener_hears_the_whole_layer(path: str) -> None:
    model, seen = model_of("bert"), []
    last_layer(model).get_submodule(path).register_forward_hook(lambda module, args, output: seen.append(path))
    assert widths(model, inputs_of("bert")) == [5]
    assert seen == [path]


def test_a_listener_to_a_projection_hears_it() -> None:
    model, seen = model_of("bert"), []
    key = last_layer(model).attention.self.key
    key.register_forward_hook(lambda module, args, output: seen.append(output.shape[1]))
    assert widths(model, inputs_of("bert")) == [1]
    assert seen == [5]


def test_settings_that_are_not_known_take_the_whole_backbone() -> None:
    for changed in ({"is_decoder": True}, {"chunk_size_feed_forward": 5}):
        assert first_only(model_of("bert", **changed).backbone).__class__.__name__ == "BertModel"
        assert widths(model_of("bert", **changed), inputs_of("bert")) == [5]
    model = model_of("bert")
    model.backbone.activation_checkpointing_enable()  # type: ignore[operator]
    assert widths(model, inputs_of("bert")) == [5]


def test_the_backbone_is_left_as_it_was() -> None:
    model = model_of("roberta")
    names, layers = list(model.state_dict()), [id(one) for one in model.modules()]
    view = first_only(model.backbone)
    assert view is not model.backbone
    assert list(model.state_dict()) == names
    assert [id(one) for one in model.modules()] == layers
    assert view.get_submodule("encoder.layer.0") is model.backbone.get_submodule("encoder.layer.0")
