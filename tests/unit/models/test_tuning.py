"""The methods' maths against independent references, and which of them go with which models. Tiny random models."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.contracts.test_families import batch
from tests.contracts.test_methods import fit
from tests.tiny import project
from tests.tiny_families import SIZES, config_of
from tests.unit.training.test_loop import features
from transformers import AutoModel

from luthier.cli import main
from luthier.errors import ModelError
from luthier.models.assembly import TaskModel, seeded
from luthier.models.families import FAMILIES
from luthier.models.heads import build_head
from luthier.models.tuning import table
from luthier.models.tuning.adalora import orthogonality
from luthier.models.tuning.base import layers_of
from luthier.models.tuning.bottleneck_layers import Bottleneck
from luthier.models.tuning.gradual import parts_free
from luthier.models.tuning.layouts import LAYOUTS, parts
from luthier.models.tuning.table import METHODS, build_method, check_method, refusal
from luthier.objectives.classification import Classification
from luthier.training.events import StepDone
from luthier.training.loop import Fit, Optimisation
from luthier.training.world import LocalWorld

WITHOUT_TYPES = ("seg_embed", "r_s_bias")  # XLNet's, of no use to a text without token types
FEW = {"prefix": {"tokens": 3}, "prompt": {"tokens": 3}, "p-tuning": {"tokens": 3, "hidden": 8}}


def task_model(model_type: str, attention: str = "eager") -> TaskModel:
    with seeded(1):
        config = config_of(model_type)
        options = dict(FAMILIES[model_type].backbone_options)
        backbone = AutoModel.from_config(config, attn_implementation=attention, **options)
        for parameter in backbone.parameters():
            parameter.data.add_(0.05 * torch.randn_like(parameter))
        head = build_head("classification", {"hidden": config.hidden_size, "outputs": 2, "pooling": "last"})
    plain = FAMILIES[model_type].plain.get("classification")
    reading = "echo" if plain is None else plain.reading
    return TaskModel(backbone, {"main": head}, reading=reading).eval()


def test_every_layout_is_covered() -> None:
    assert LAYOUTS.keys() == SIZES.keys()


@pytest.mark.parametrize("model_type", LAYOUTS)
def test_every_parameter_has_one_height(model_type: str) -> None:
    backbone = task_model(model_type).backbone
    found = parts(backbone)
    assert sorted(name for part in found for name in part) == sorted(name for name, _ in backbone.named_parameters())
    layers = 1 if model_type == "albert" else 2 * len(LAYOUTS[model_type].lists)
    assert len(found) == layers + 2
    assert all(found[: layers + 1])
    if model_type != "albert":
        assert layers_of(backbone.config.to_dict()) == layers  # type: ignore[union-attr, operator]


@pytest.mark.parametrize("model_type", ["bart", "marian", "t5"])
def test_an_encoder_lies_below_its_decoder(model_type: str) -> None:
    embeddings, *layers, above = parts(task_model(model_type).backbone)
    assert any("shared" in name for name in embeddings)
    assert [sorted({name.split(".")[0] for name in layer}) for layer in layers] == [["encoder"]] * 2 + [["decoder"]] * 2
    assert all(name.startswith("decoder.") for name in above)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("model_type", LAYOUTS)
def test_a_method_works_with_a_model_or_is_refused(model_type: str, name: str) -> None:
    """It answers like the pretrained model or near it, padding changes nothing, and what trains gets a gradient."""
    inputs = batch()
    if reason := refusal(name, model_type):
        with pytest.raises(ModelError, match=f"got {name}: {re.escape(reason)}"):
            check_method(name, {}, {"model_type": model_type}, where="here")
        return
    short = {key: value[1:, :3] for key, value in inputs.items()}
    answers = []
    for attention in FAMILIES[model_type].attention:
        model = task_model(model_type, attention)
        plain = model(inputs)["logits"].detach()
        method = build_method(name, {"bits": 8} if name == "qlora" else FEW.get(name, {}))  # 4 are further away
        with seeded(2):
            method.set_up(model, 10)
        model.eval()
        answers.append(model(inputs)["logits"])
        assert torch.allclose(answers[-1][1:], model(short)["logits"], atol=1e-5)
        assert (answers[-1] - plain).abs().max() < 0.02 or name in FEW
    assert all(torch.allclose(answers[0], one, atol=1e-5) for one in answers)
    groups = method.parameter_groups(model, learning_rate=1.0, weight_decay=0.1)
    method.before_step(model, 9)
    model(inputs)["logits"].square().sum().backward()
    moving = [(key, value) for group in groups for key, value in zip(group["names"], group["params"], strict=True)]
    without = {key for key, value in moving if value.grad is None and not key.endswith(WITHOUT_TYPES)}
    assert not any("heads" not in key and name not in {"full", "layer-decay", "gradual"} for key in without), without
    assert any(key.startswith("backbone.") for key, _ in moving) or name == "head"


@pytest.mark.parametrize("name", METHODS)
def test_every_setting_is_read(name: str) -> None:
    if METHODS[name].settings is None:
        return
    source = "".join(path.read_text(encoding="utf-8") for path in Path(table.__file__).parent.glob("*.py"))
    for item in fields(METHODS[name].settings):  # type: ignore[arg-type]
        assert f"chosen.{item.name}" in source
        assert len(item.metadata["description"]) > 20


def test_gradual_unfreezing_follows_from_step_and_length() -> None:
    found = [parts_free(step, total=100, parts=4, until=0.5) for step in range(100)]
    assert found[0] == 0
    assert [found.index(number) for number in range(1, 5)] == [13, 25, 38, 50]
    assert found == sorted(found)
    assert parts_free(0, total=1, parts=4, until=0.5) == 0


def test_a_waiting_parameter_has_no_gradient_and_no_optimiser_state(tiny_model: Path) -> None:
    run = fit("gradual", tiny_model, epochs=12)
    states = []
    for event in run:
        if isinstance(event, StepDone):
            known = run.optimiser.state
            states.append({key: int(known[p]["step"]) for key, p in run.model.named_parameters() if p in known})
    assert all(key.startswith("heads.") for key in states[0])
    top, bottom = "backbone.encoder.layer.1.output.dense.weight", "backbone.embeddings.word_embeddings.weight"
    assert (states[-1]["heads.main.output.weight"], states[-1][top], states[-1][bottom]) == (12, 10, 6)


def test_layer_decay_lowers_the_rate_from_the_head_down() -> None:
    model = task_model("bert")
    method = build_method("layer-decay", {"decay": 0.5})
    method.set_up(model, 10)
    groups = method.parameter_groups(model, learning_rate=8.0, weight_decay=0.1)
    rates = {name: group["lr"] for group in groups for name in group["names"]}
    assert groups[0]["lr"] == 8.0
    assert rates["heads.main.output.weight"] == 8.0
    assert rates["backbone.encoder.layer.1.output.dense.bias"] == 4.0
    assert rates["backbone.encoder.layer.0.output.dense.bias"] == 2.0
    assert rates["backbone.embeddings.word_embeddings.weight"] == 1.0
    decayed = {name for group in groups if group["weight_decay"] for name in group["names"]}
    assert not any(name.endswith("bias") or "LayerNorm" in name for name in decayed)


@pytest.mark.parametrize(("name", "scale"), [("lora", 6 / 4), ("rslora", 6 / 2)])
def test_a_merged_update_is_the_formula(name: str, scale: float) -> None:
    model = task_model("bert")
    backbone: Any = model.backbone
    before = backbone.encoder.layer[0].attention.self.query.weight.detach().double().numpy().copy()
    method = build_method(name, {"rank": 4, "alpha": 6})
    method.set_up(model, 10)
    layer = backbone.encoder.layer[0].attention.self.query
    torch.nn.init.normal_(layer.lora_B["main"].weight)
    a, b = (part["main"].weight.detach().double().numpy() for part in (layer.lora_A, layer.lora_B))
    method.unload(model)
    after = backbone.encoder.layer[0].attention.self.query.weight.detach().double().numpy()
    assert np.allclose(after, before + scale * b @ a, atol=1e-6)
    assert np.abs(after - before).max() > 0.1


def test_orthogonality_is_the_numpy_formula() -> None:
    model = task_model("bert")
    build_method("adalora", {"rank": 2, "start_rank": 3}).set_up(model, 10)
    norms = []
    for name, parameter in model.backbone.named_parameters():
        values = parameter.detach().double().numpy()
        if "lora_A" in name:
            norms.append(np.linalg.norm(values @ values.T - np.eye(3)))
        if "lora_B" in name:
            norms.append(np.linalg.norm(values.T @ values - np.eye(3)))
    assert len(norms) == 2 * 2 * 4
    assert float(orthogonality(model.backbone).detach()) == pytest.approx(np.mean(norms), abs=1e-5)


def test_the_penalty_is_added_once_whatever_the_micro_batches(tiny_model: Path) -> None:
    first = []
    for parts_of_step, weight in ((1, 0.5), (4, 0.5), (1, 0.0)):
        run = fit("adalora", tiny_model, dropout=0.0, accumulate=parts_of_step)
        object.__setattr__(run.method.chosen, "orthogonality", weight)
        first.append(next(event for event in run if isinstance(event, StepDone)).loss)
    expected = 0.5 * float(orthogonality(fit("adalora", tiny_model).model.backbone).detach())
    assert first[0] - first[2] == pytest.approx(expected, rel=1e-4)
    assert first[0] == pytest.approx(first[1], abs=1e-5)


def test_adalora_ends_at_its_budget_and_needs_its_averages(tiny_model: Path) -> None:
    run = fit("adalora", tiny_model, epochs=12)
    list(run)
    entries = torch.cat([p.flatten() for name, p in run.model.backbone.named_parameters() if "lora_E" in name])
    assert len(entries) == 2 * 4 * 6
    assert int((entries != 0).sum()) == 2 * 4 * 2


def test_lost_averages_would_be_noticed(tiny_model: Path) -> None:
    runs = [fit("adalora", tiny_model, epochs=40) for _ in range(2)]
    for number, run in enumerate(runs):
        for event in run:
            if number and isinstance(event, StepDone) and event.step == 9:
                run.method._tuner.rankallocator.reset_ipt()
    pairs = zip(*(run.model.state_dict().values() for run in runs), strict=True)
    assert not all(torch.equal(a, b) for a, b in pairs)


def test_an_adapter_starts_near_the_identity() -> None:
    with seeded(3):
        states = torch.randn(50, 32)
        change = Bottleneck(32, 16)(states) - states
    assert 0 < float(change.detach().std()) < 0.01


def test_a_refused_pair_is_named_with_the_reason_and_what_works(tiny_model: Path) -> None:
    with pytest.raises(
        ModelError, match=r"here: method must be one that goes with llama .*lora.*got bitfit: its layers"
    ):
        check_method("bitfit", {}, {"model_type": "llama"}, where="here")
    with pytest.raises(ModelError, match=r"mpnet models \(full, head, bitfit\); got lora: where its layers lie is not"):
        check_method("lora", {}, {"model_type": "mpnet"}, where="here")


@pytest.mark.parametrize(
    "model_type", ["albert", "bart", "deberta-v2", "distilbert", "marian", "modernbert", "t5", "xlnet"]
)
def test_a_refused_prefix_could_not_be_computed(model_type: str) -> None:
    model = task_model(model_type)
    build_method("prefix", {"tokens": 3}).set_up(model, 10)
    with pytest.raises(RuntimeError, match="size of tensor"):
        model(batch())


@pytest.mark.parametrize("model_type", ["bert", "xlnet"])
@pytest.mark.parametrize("name", ["prefix", "prompt", "p-tuning"])
def test_virtual_tokens_leave_token_types_as_they_are(name: str, model_type: str) -> None:
    if refusal(name, model_type):
        return
    model, inputs = task_model(model_type), batch()
    types = torch.where(torch.arange(5) < 2, 0, 1).expand(2, 5)
    method = build_method(name, FEW[name])
    method.set_up(model, 10)
    with torch.no_grad():
        without, zeros, given = (
            model({**inputs, **more})["logits"]
            for more in ({}, {"token_type_ids": 0 * types}, {"token_type_ids": types})
        )
    assert (given - zeros).abs().max() > 1e-5
    assert model_type == "xlnet" or torch.allclose(without, zeros, atol=1e-6)
    backbone = model.backbone
    method.unload(model)
    assert model.backbone is not backbone
    assert not model.backbone._forward_pre_hooks
    with torch.no_grad():
        plain = model({**inputs, "token_type_ids": types})["logits"]
        assert torch.allclose(plain, task_model(model_type)({**inputs, "token_type_ids": types})["logits"], atol=1e-6)


def test_sines_of_positions_do_not_move() -> None:
    run = Fit(
        model=task_model("marian"),
        method=build_method("full", {}),
        objective=Classification(),
        features=features(),
        order=lambda epoch: [np.arange(4)],
        numbers=Optimisation(epochs=1, learning_rate=1e-3),
        world=LocalWorld(),
    )
    assert "backbone.shared.weight" in run.kept
    assert not any("embed_positions" in name for name in run.kept)


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("{freeze: {layers: 3}}", "method.freeze.layers must be at most 2, the layers of this model; got 3."),
        ("{adalora: {rank: 12}}", "rank must be below start_rank; got 12 and 12."),
        ("{lora: {rank: 0}}", "method.lora.rank: must be at least 1; got 0."),
        ("{lora: {target: all}}", 'Did you mean "targets"?'),
    ],
)
def test_mistakes_are_named_before_weights_load(
    method: str, words: str, tiny_model: Path, tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = project(tmp_path, tiny_model)
    assert main(["check", str(path), "--set", f"method={method}"]) == 2
    assert words in capsys.readouterr().err


def test_virtual_tokens_take_positions_from_the_text(tiny_model: Path, tmp_path: Path, home: Path) -> None:
    from luthier.pipeline.run import open_project

    path = project(tmp_path, tiny_model)
    for method, length in (("full", 64), ("prompt", 44), ("{prefix: {tokens: 10}}", 54)):
        assert open_project(path, [f"method={method}"])[1].max_length == length
    with pytest.raises(ModelError, match=r"max_length must be at most 44, .* that method prompt leaves; got 64"):
        _ = open_project(path, ["method=prompt", "model={id: " + str(tiny_model) + ", max_length: 64}"])[1].max_length
