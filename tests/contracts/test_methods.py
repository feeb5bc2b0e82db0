"""What every tuning method must do. A registered method that fails here is not done. Tiny random model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.tiny import build_decoder, chat_project, project, questions
from tests.unit.training.test_loop import equal, features, model, state
from transformers import AutoModel

import luthier
from luthier.artifacts.bundle import open_bundle
from luthier.artifacts.check import CheckReport
from luthier.artifacts.checkpoint import CheckpointStore
from luthier.cli import main
from luthier.models.assembly import TaskModel
from luthier.models.tuning.table import METHODS, build_method
from luthier.objectives.classification import Classification
from luthier.training.events import Finished, StepDone, Stopped
from luthier.training.gradients import to_torch
from luthier.training.loop import Fit, Optimisation
from luthier.training.tensors import MODEL
from luthier.training.world import LocalWorld


def base(name: str) -> bool:
    """Whether a tensor is the pretrained model's own."""
    return name.startswith("backbone.") and not any(f".{word}" in name for word in ADDED)


ADDED = ("lora_", "ia3_", "ranknum", "adapter.", "prompt_encoder.")

# What each method must leave still: a test of a tensor's name. A method without a line here fails the suite.
FROZEN: dict[str, Callable[[str], bool]] = {
    "full": lambda name: False,
    "layer-decay": lambda name: False,
    "gradual": lambda name: False,
    "freeze": lambda name: ".embeddings." in name or ".layer.0." in name,
    "head": base,
    "bitfit": lambda name: name.startswith("backbone.") and not name.endswith("bias"),
    "lora": base,
    "rslora": base,
    "dora": base,
    "adalora": base,
    "qlora": base,
    "ia3": base,
    "adapter-houlsby": base,
    "adapter-pfeiffer": base,
    "prefix": base,
    "prompt": base,
    "p-tuning": base,
}
RATES = {"bitfit": 2e-2, "head": 2e-2, "ia3": 2e-2, "prompt": 5e-2, "prefix": 2e-2}
SETTINGS: dict[str, dict[str, Any]] = {"adalora": {"rank": 2, "start_rank": 6, "every": 2}}


def spread(folder: Path, dropout: float = 0.1) -> TaskModel:
    """Return the tiny model with larger weights: as it is, its answers hardly depend on the text."""
    found = model(folder, dropout=dropout).model
    with torch.no_grad():
        for parameter in found.backbone.parameters():
            if parameter.ndim == 2:
                parameter.mul_(8)
    return found


def fit(
    name: str,
    folder: Path,
    *,
    store: Path | None = None,
    rows: int = 8,
    batches: int = 3,
    stop: Callable[[], bool] = lambda: False,
    **numbers: Any,
) -> Fit:
    found = features()
    return Fit(
        model=spread(folder, dropout=numbers.pop("dropout", 0.1)),
        method=build_method(name, SETTINGS.get(name, {})),
        objective=Classification(),
        features=found,
        order=lambda epoch: [np.arange(epoch % batches * rows, epoch % batches * rows + rows)],
        numbers=Optimisation(**{"epochs": 30, "learning_rate": RATES.get(name, 5e-3), **numbers}),
        world=LocalWorld(),
        store=None if store is None else CheckpointStore(store, run_fingerprint="r", keep=2),
        stop=stop,
    )


def outputs(run: Fit) -> torch.Tensor:
    batch = to_torch(run.features.collate(np.arange(40)), torch.device("cpu"))
    run.model.eval()
    with torch.no_grad():
        logits: torch.Tensor = run.model(batch)["logits"]
    return logits


def test_every_method_is_covered() -> None:
    assert FROZEN.keys() == METHODS.keys()


@pytest.mark.parametrize("name", METHODS)
def test_it_overfits_a_few_rows(name: str, tiny_model: Path) -> None:
    losses = [e.loss for e in fit(name, tiny_model, epochs=80, batches=1, dropout=0.0) if isinstance(e, StepDone)]
    assert np.mean(losses[-3:]) < 0.1 * np.mean(losses[:3])


@pytest.mark.parametrize("name", METHODS)
def test_frozen_parameters_stay_and_trainable_ones_move(name: str, tiny_model: Path) -> None:
    run = fit(name, tiny_model, epochs=12)
    before = {key: parameter.detach().clone() for key, parameter in run.model.named_parameters()}
    list(run)
    moved = {key for key, parameter in run.model.named_parameters() if not torch.equal(parameter, before[key])}
    assert moved == run.kept
    assert any(key.startswith("heads.") for key in moved)
    assert {key for key in before if FROZEN[name](key)} == {key for key in before.keys() - run.kept if base(key)}


@pytest.mark.parametrize("name", METHODS)
def test_accumulation_equals_one_batch(name: str, tiny_model: Path) -> None:
    runs = [fit(name, tiny_model, epochs=5, dropout=0.0, accumulate=parts) for parts in (1, 4)]
    losses = [[e.loss for e in run if isinstance(e, StepDone)] for run in runs]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)


@pytest.mark.parametrize("name", METHODS)
def test_a_resumed_run_equals_an_undisturbed_one(name: str, tiny_model: Path, tmp_path: Path) -> None:
    whole = fit(name, tiny_model, store=tmp_path / "a", epochs=12)
    list(whole)
    events: list[Any] = [Stopped(0)]
    states = []
    while isinstance(events[-1], Stopped):
        part = fit(name, tiny_model, store=tmp_path / "b", epochs=12, stop=iter([False] * 2 + [True]).__next__)
        events = list(part)
        states.append(state(part))
    assert len(states) == 5
    assert isinstance(events[-1], Finished)
    assert equal(state(whole), states[-1])
    assert not equal(states[0], states[-1])


@pytest.mark.parametrize("name", METHODS)
def test_a_checkpoint_holds_what_may_train_and_no_frozen_base(name: str, tiny_model: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    run = fit(name, tiny_model, store=tmp_path, epochs=4, stop=iter([False, True]).__next__)
    list(run)
    found = load_file(next(tmp_path.glob("step-*")) / MODEL)
    assert found.keys() == run.kept
    assert not any(base(key) and FROZEN[name](key) for key in found)


@pytest.mark.parametrize("name", METHODS)
def test_it_leaves_a_plain_backbone_that_answers_the_same(name: str, tiny_model: Path) -> None:
    plain = spread(tiny_model).backbone
    run = fit(name, tiny_model, epochs=12)
    list(run)
    before = outputs(run)
    kept = {key: value.clone() for key, value in run.model.backbone.state_dict().items()}
    taken_off = run.method.unload(run.model)
    assert run.model.backbone.state_dict().keys() == plain.state_dict().keys()
    assert type(run.model.backbone) is type(plain)
    if taken_off:
        assert equal(run.model.backbone.state_dict(), plain.state_dict())
        assert not torch.allclose(outputs(run), before, atol=1e-3)
        run.method.set_up(run.model, 1)
        run.model.backbone.load_state_dict(taken_off, strict=False)
        assert equal(run.model.backbone.state_dict(), kept)
    assert torch.allclose(outputs(run), before, atol=1e-5)


# Methods whose tensors cannot be folded into the backbone's weights, or were asked not to be.
APART = ["{lora: {merge: false}}", "{adalora: {merge: false}}", "{ia3: {merge: false}}"]
KEPT_APART = ["adapter-houlsby", "adapter-pfeiffer", "prefix", "prompt", "p-tuning"]


@pytest.mark.parametrize("method", [*METHODS, *APART])
def test_from_a_project_file_to_a_bundle(method: str, tiny_model: Path, tmp_path: Path, home: Path) -> None:
    path = project(tmp_path, tiny_model)
    overrides = [f"method={method}", "train.epochs=2", "train.learning_rate=0.02"]
    result = luthier.run(path, run_dir=tmp_path / "run", overrides=overrides)
    verified = luthier.verify(result.bundle)
    manifest = open_bundle(Path(result.bundle))
    apart = method in APART + KEPT_APART
    assert (verified.plain_difference is None) == apart
    assert [adapter.name for adapter in manifest.adapters] == (["main"] if apart else [])
    assert verified.largest_difference <= 1e-5
    assert result.test["accuracy"] >= 0
    check = CheckReport.read(tmp_path / "run" / "check" / "check.json")
    assert check.step is not None
    assert 0 < check.step.trainable_parameters <= check.step.parameters
    if apart:
        assert same_backbone(tiny_model, Path(result.bundle) / "model")


def same_backbone(a: Path, b: Path) -> bool:
    """Whether two folders hold the same backbone weights."""
    before, after = (AutoModel.from_pretrained(folder, add_pooling_layer=False).state_dict() for folder in (a, b))
    return equal(before, after)


@pytest.mark.parametrize("method", ["gradual", "dora", "adalora", "{lora: {merge: false}}", "adapter-houlsby"])
def test_text_generation_from_a_project_file_to_a_bundle(method: str, tmp_path: Path, home: Path) -> None:
    path = chat_project(tmp_path, build_decoder(tmp_path / "model"))
    overrides = [f"method={method}", "train.epochs=1", "train.learning_rate=0.02"]
    result = luthier.run(path, run_dir=tmp_path / "run", overrides=overrides)
    verified = luthier.verify(result.bundle)
    apart = method in APART + KEPT_APART
    assert (verified.plain_difference is None) == apart
    assert verified.largest_difference <= 1e-4
    texts = [question for question, _ in questions(3, seed=5)]
    one, two = (luthier.load(result.bundle).predict(texts) for _ in range(2))
    assert [a.as_dict() for a in one] == [a.as_dict() for a in two]


@pytest.mark.parametrize("method", ["head", "prompt", "prefix", "p-tuning"])
def test_what_does_not_go_with_text_generation_is_refused(
    method: str, tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = chat_project(tmp_path, build_decoder(tmp_path / "model"))
    assert main(["check", str(path), "--set", f"method={method}"]) == 2
    error = capsys.readouterr().err
    assert "goes with text-generation (full, layer-decay, gradual, freeze, lora" in error
    assert f"got {method}: " in error
