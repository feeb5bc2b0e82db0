"""What every tuning method must do. A registered method that fails here is not done. Tiny random model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.unit.training.test_loop import equal, features, model, state

from luthier.artifacts.checkpoint import CheckpointStore
from luthier.config import build_settings
from luthier.models.tuning.table import METHODS
from luthier.objectives.classification import Classification
from luthier.training.events import Finished, StepDone, Stopped
from luthier.training.loop import Fit, Optimisation
from luthier.training.world import LocalWorld

# What each method must leave still: a test of a tensor's name. A method without a line here fails the suite.
FROZEN: dict[str, Callable[[str], bool]] = {"full": lambda name: False}


def fit(
    name: str,
    folder: Path,
    *,
    store: Path | None = None,
    rows: int = 8,
    stop: Callable[[], bool] = lambda: False,
    **numbers: Any,
) -> Fit:
    method = METHODS[name]
    found = features()
    return Fit(
        model=model(folder, dropout=numbers.pop("dropout", 0.1)).model,
        method=method(build_settings(getattr(method, "settings", None), {})),
        objective=Classification(),
        features=found,
        order=lambda epoch: [np.arange(epoch % 3 * rows, epoch % 3 * rows + rows)],
        numbers=Optimisation(**{"epochs": 30, "learning_rate": 5e-3, **numbers}),
        world=LocalWorld(),
        store=None if store is None else CheckpointStore(store, run_fingerprint="r", keep=2),
        stop=stop,
    )


def test_every_method_is_covered() -> None:
    assert FROZEN.keys() == METHODS.keys()


@pytest.mark.parametrize("name", METHODS)
def test_it_overfits_a_few_rows(name: str, tiny_model: Path) -> None:
    losses = [e.loss for e in fit(name, tiny_model, epochs=60, dropout=0.0) if isinstance(e, StepDone)]
    assert losses[-1] < 0.1 * losses[0]


@pytest.mark.parametrize("name", METHODS)
def test_frozen_parameters_stay_and_trainable_ones_move(name: str, tiny_model: Path) -> None:
    run = fit(name, tiny_model, epochs=6)
    before = {key: parameter.detach().clone() for key, parameter in run.model.named_parameters()}
    trainable = {key for key, parameter in run.model.named_parameters() if parameter.requires_grad}
    list(run)
    moved = {key for key, parameter in run.model.named_parameters() if not torch.equal(parameter, before[key])}
    assert moved == trainable
    assert any(key.startswith("heads.") for key in moved)
    assert {key for key in before if FROZEN[name](key)} == before.keys() - trainable


@pytest.mark.parametrize("name", METHODS)
def test_accumulation_equals_one_batch(name: str, tiny_model: Path) -> None:
    runs = [fit(name, tiny_model, epochs=5, dropout=0.0, accumulate=parts) for parts in (1, 4)]
    losses = [[e.loss for e in run if isinstance(e, StepDone)] for run in runs]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)


@pytest.mark.parametrize("name", METHODS)
def test_a_resumed_run_equals_an_undisturbed_one(name: str, tiny_model: Path, tmp_path: Path) -> None:
    whole = fit(name, tiny_model, store=tmp_path / "a", epochs=12)
    list(whole)
    first = fit(name, tiny_model, store=tmp_path / "b", epochs=12, stop=iter([False] * 4 + [True]).__next__)
    assert isinstance(list(first)[-1], Stopped)
    second = fit(name, tiny_model, store=tmp_path / "b", epochs=12)
    assert isinstance(list(second)[-1], Finished)
    assert equal(state(whole), state(second))
    assert not equal(state(first), state(second))
