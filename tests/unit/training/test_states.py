"""Training over kept states of frozen layers equals training through the layers. Tiny random models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.tiny import project
from tests.tiny_families import config_of
from tests.unit.training.test_loop import features
from transformers import AutoModel, PreTrainedConfig

import luthier
from luthier.models.assembly import seeded
from luthier.models.tuning.layouts import LAYOUTS
from luthier.models.views import SPLITTABLE, lower, upper
from luthier.pipeline.run import open_project
from luthier.pipeline.training import TrainJob, choose, forward
from luthier.training import states
from luthier.training.states import NAME, FrozenFeatures, frozen_features
from luthier.training.threads import threads

LAYERS = {"distilbert": {"n_layers": 3}}
CONFIGS: dict[str, PreTrainedConfig] = {
    name: config_of(name, vocabulary=60, positions=48, **LAYERS.get(name, {"num_hidden_layers": 3}))
    for name in sorted(SPLITTABLE)
}


def test_every_type_that_can_be_split_is_tried() -> None:
    assert CONFIGS.keys() == SPLITTABLE
    assert all(len(LAYOUTS[name].lists) == 1 for name in SPLITTABLE)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("name", sorted(SPLITTABLE))
def test_the_upper_part_goes_on_from_the_lower_ones_states(name: str, layers: int) -> None:
    with seeded(4):
        model = AutoModel.from_config(CONFIGS[name]).eval()
        ids = torch.randint(5, 60, (3, 7))
    mask = torch.tensor([[1] * 7, [1] * 5 + [0] * 2, [1] * 3 + [0] * 4])
    names = [key for key, _ in model.named_parameters()]
    with torch.no_grad():
        expected = model(input_ids=ids, attention_mask=mask).last_hidden_state
        below = lower(model, layers)(input_ids=ids, attention_mask=mask).last_hidden_state
        found = upper(model, layers)(inputs_embeds=below, attention_mask=mask).last_hidden_state
        again = model(input_ids=ids, attention_mask=mask).last_hidden_state
    assert torch.equal(found[mask.bool()], expected[mask.bool()])
    assert not torch.allclose(below, expected, atol=1e-3)
    assert torch.equal(again, expected)
    assert [key for key, _ in model.named_parameters()] == names


def run(folder: Path, model: Path, method: Any, cached: bool, **train: Any) -> luthier.RunResult:
    path = project(folder, model)
    settings = [f"method={json.dumps(method)}", f"train.cache_frozen={str(cached).lower()}", "train.dropout=0.0"]
    settings += ["train.precision=fp32", "train.learning_rate=0.01", *(f"train.{k}={v}" for k, v in train.items())]
    return luthier.run(path, run_dir=folder / f"run-{cached}", overrides=settings)


@pytest.mark.parametrize("method", ["head", {"freeze": {"layers": 1}}, {"freeze": {"layers": 2}}])
def test_kept_states_give_the_same_training(method: Any, tiny_model: Path, tmp_path: Path, home: Path) -> None:
    kept, computed = (run(tmp_path, tiny_model, method, cached) for cached in (True, False))
    files = list((home / "cache" / "states").glob(f"*/{NAME}"))
    assert len(files) == 2  # of the training rows and of the validation rows
    losses = []
    for one in (kept, computed):
        lines = (Path(one.run_dir) / "train" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        losses.append([record["loss"] for record in map(json.loads, lines) if "loss" in record])
    assert len(losses[0]) == len(losses[1]) > 10
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)
    assert np.ptp(losses[0]) > 0.01


def test_head_only_keeps_one_state_a_row(tiny_model: Path, tmp_path: Path, home: Path) -> None:
    path = project(tmp_path, tiny_model)
    _, prepared = open_project(path, ["method=head", "train.dropout=0.0"])
    choices = choose(prepared)
    assert choices["frozen"].value == "kept"
    assert choices["lanes"].value == "1"
    job = TrainJob(prepared, choices)
    assembled = job.assemble()
    fit = job.fit(assembled, folder=tmp_path / "train")
    assert isinstance(fit.features, FrozenFeatures)
    _, index = prepared.part("train")
    assert fit.features.states.shape == (len(index), 32)
    batch = fit.features.collate(index[:5])
    whole = prepared.part("train")[0].collate(index[:5])
    assert batch.keys() == {"states", *whole} - {"input_ids"}
    assert batch["states"].shape == (5, 1, 32)
    assert batch["attention_mask"].tolist() == [[1]] * 5
    assert np.array_equal(batch["label"], whole["label"])
    assert (fit.numbers.threads, fit.numbers.lanes) == (1, 1)
    expected = forward(assembled.model, prepared.part("train")[0], index[:5], precision="fp32")["logits"]
    found = forward(assembled.model, fit.features, index[:5], precision="fp32")["logits"]
    assert found == pytest.approx(expected, abs=2e-2 if choices["precision"].value == "bf16" else 1e-6)


def test_the_step_check_of_a_head_computes_the_backbone_with_all_threads(tiny_model: Path, tmp_path: Path) -> None:
    path = project(tmp_path, tiny_model)
    _, prepared = open_project(path, ["method=head"])
    job = TrainJob(prepared, choose(prepared))
    fit = job.fit(job.assemble(), batches=prepared.order(0)[:1])
    assert not isinstance(fit.features, FrozenFeatures)
    assert fit.numbers.threads is None


def test_validation_reads_kept_states(
    tiny_model: Path, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = project(tmp_path, tiny_model)
    _, prepared = open_project(path, ["method=head", "train.epochs=3"])
    job = TrainJob(prepared, choose(prepared))
    fit = job.fit(job.assemble(), folder=tmp_path / "train")
    assert fit.validate is not None
    first = fit.validate(fit.model)
    monkeypatch.setattr(fit.model.backbone, "forward", None)  # would not answer any more
    assert fit.validate(fit.model) == first
    whole = job.fit(job.assemble(), folder=tmp_path / "again")
    expected = job._validate(whole.model)
    assert first == pytest.approx(expected, abs=2e-2 if job.choices["precision"].value == "bf16" else 1e-6)


def test_lanes_fill_the_states_that_one_thread_fills(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with seeded(4):
        model = AutoModel.from_config(CONFIGS["bert"])
    rows, index = features(), np.arange(50)
    monkeypatch.setattr(states, "LANE_TOKENS", 64)
    found = []
    for number in (1, 3):
        with threads(number):
            made = frozen_features(f"{number}", rows, index, model, hidden=16, precision="fp32", folder=tmp_path)
            assert torch.get_num_threads() == number
        found.append(np.array(made.states))
    assert found[0].std() > 0.1
    assert np.array_equal(*found)


def test_a_damaged_store_is_computed_again(tmp_path: Path) -> None:
    with seeded(4):
        model = AutoModel.from_config(CONFIGS["bert"])
    rows, index = features(), np.arange(50)

    def make(model: Any = model) -> FrozenFeatures:
        return frozen_features("key", rows, index, model, hidden=16, precision="fp32", folder=tmp_path)

    first = np.array(make().states)
    assert first.std() > 0.1
    path = tmp_path / "key" / NAME
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    assert np.array_equal(make().states, first)
    with seeded(5):
        other = AutoModel.from_config(CONFIGS["bert"])
    assert np.array_equal(make(other).states, first)  # read, not computed
    whole = make().collate(np.array([3, 7]))
    assert whole["states"].shape == (2, int(rows.total_cost[[3, 7]].max()), 16)
    assert np.array_equal(whole["attention_mask"].sum(1), rows.total_cost[[3, 7]])
