"""The loop: exact sums, exact resume, against independent references. Tiny random model."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from luthier.artifacts.checkpoint import CheckpointStore
from luthier.data.batches import plan_epoch
from luthier.data.features import FeatureBlock, Features, Field, in_memory
from luthier.errors import NonFiniteError, TrainingError
from luthier.models.assembly import Assembled, assemble
from luthier.models.source import locate
from luthier.models.tuning.full import Full
from luthier.objectives.classification import Classification
from luthier.tasks.base import HeadSpec
from luthier.training.events import Finished, Resumed, Saved, Skipped, StepDone, Stopped, Validated
from luthier.training.gradients import to_torch
from luthier.training.loop import Fit, Optimisation
from luthier.training.schedule import factor
from luthier.training.threads import threads
from luthier.training.world import LocalWorld

ROWS = 120


def features(rows: int = ROWS) -> Features:
    draw = np.random.default_rng(5)
    lengths = draw.integers(3, 30, rows)
    ids = [np.concatenate(([2], draw.integers(5, 60, n - 2), [3])).astype(np.int32) for n in lengths]
    label = np.array([int(row[1] > 32) for row in ids])
    block = FeatureBlock(np.arange(rows), {"encoder_tokens": lengths}, {"input_ids": ids}, {"label": label})
    return in_memory([block], {"input_ids": Field(pad=0, mask="attention_mask")})


def model(folder: Path, dropout: float = 0.1) -> Assembled:
    return assemble(
        locate(str(folder)),
        HeadSpec("classification", {"outputs": 2}),
        pooling="auto",
        attention="eager",
        dropout=dropout,
        seed=3,
    )


def fit(
    folder: Path,
    *,
    dropout: float = 0.1,
    store: Path | None = None,
    stop: Callable[[], bool] = lambda: False,
    objective: Classification | None = None,
    world: Any = None,
    used_rows: Any = None,
    method: Any = None,
    **numbers: Any,
) -> Fit:
    rows = features()

    def order(epoch: int) -> list[np.ndarray]:
        return plan_epoch(rows.total_cost, budget=256, window=4, fingerprint="f", seed=7, epoch=epoch)

    def validate(trained: torch.nn.Module) -> dict[str, float]:
        trained.eval()
        with torch.no_grad():
            batch = to_torch(rows.collate(np.arange(ROWS)), torch.device("cpu"))
            return {"accuracy": float((trained(batch)["logits"].argmax(1) == batch["label"]).float().mean())}

    assembled = model(folder, dropout)
    return Fit(
        model=assembled.model,
        method=method or Full(),
        objective=objective or Classification(),
        features=rows,
        order=order,
        numbers=Optimisation(**{"epochs": 3, "learning_rate": 3e-3, "warmup": 0.1, "weight_decay": 0.01, **numbers}),
        world=world or LocalWorld(),
        store=None if store is None else CheckpointStore(store / "c", run_fingerprint="r", keep=2),
        best_folder=None if store is None else store / "b",
        validate=None if store is None else validate,
        used_rows=used_rows,
        stop=stop,
    )


def state(run: Fit) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in run.model.state_dict().items()}


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_training_learns_and_moves_every_parameter(tiny_model: Path) -> None:
    run = fit(tiny_model, epochs=12, dropout=0.0)
    before = {name: parameter.detach().clone() for name, parameter in run.model.named_parameters()}
    losses = [event.loss for event in run if isinstance(event, StepDone)]
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])
    still = {name for name, parameter in run.model.named_parameters() if torch.equal(parameter, before[name])}
    assert still == set()


def test_two_runs_with_one_seed_are_bit_equal_and_another_seed_differs(tiny_model: Path) -> None:
    runs = [fit(tiny_model), fit(tiny_model), fit(tiny_model, seed=14)]
    for run in runs:
        list(run)
    assert equal(state(runs[0]), state(runs[1]))
    assert not equal(state(runs[0]), state(runs[2]))


def test_runs_do_not_disturb_each_other_in_one_process(tiny_model: Path) -> None:
    alone = fit(tiny_model)
    list(alone)
    one, other = fit(tiny_model), fit(tiny_model, precision="bf16", learning_rate=1e-3)
    for _ in zip(one, other, strict=True):
        pass
    assert equal(state(alone), state(one))


def test_accumulation_takes_the_same_rows_and_gives_the_same_sums(tiny_model: Path) -> None:
    runs = [fit(tiny_model, dropout=0.0, accumulate=parts, epochs=1) for parts in (1, 4)]
    events = [[e for e in run if isinstance(e, StepDone)] for run in runs]
    for a, b in zip(*events, strict=True):
        assert (a.rows, a.tokens, a.step) == (b.rows, b.tokens, b.step)
        assert a.loss == pytest.approx(b.loss, abs=1e-5)
        assert a.grad_norm == pytest.approx(b.grad_norm, rel=1e-4)


def test_the_first_loss_is_the_numpy_reference_over_unequal_windows(tiny_model: Path) -> None:
    weights, smoothing = [0.5, 2.0], 0.1
    objective = Classification(class_weights=weights, label_smoothing=smoothing)
    run = fit(tiny_model, dropout=0.0, accumulate=3, objective=objective)
    rows = run.order(0)[0]
    batch = to_torch(run.features.collate(rows), torch.device("cpu"))
    run.model.eval()
    with torch.no_grad():
        logits = run.model(batch)["logits"].double().numpy()
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    label = run.features.scalar["label"][rows]
    w = np.array(weights)
    per_row = w[label] * (1 - smoothing) * -log_p[np.arange(len(rows)), label] + smoothing / 2 * (-log_p @ w)
    first = next(event for event in run if isinstance(event, StepDone))
    assert first.loss == pytest.approx(per_row.sum() / w[label].sum(), abs=1e-5)


def test_a_stopped_run_continues_to_the_same_bits(tiny_model: Path, tmp_path: Path) -> None:
    whole = fit(tiny_model, store=tmp_path / "whole")
    list(whole)
    seen = {"steps": 0}

    def stop_after(number: int) -> Callable[[], bool]:
        def asked() -> bool:
            seen["steps"] += 1
            return seen["steps"] >= number

        return asked

    continued, resumed_from = None, []
    for _ in range(40):
        seen["steps"] = 0
        continued = fit(tiny_model, store=tmp_path / "cut", stop=stop_after(4))
        events = list(continued)
        resumed_from += [event.step for event in events if isinstance(event, Resumed)]
        if isinstance(events[-1], Finished):
            break
        assert isinstance(events[-1], Stopped)
    assert continued is not None
    assert resumed_from == sorted(set(resumed_from))
    assert len(resumed_from) >= 5
    assert equal(state(whole), state(continued))


def test_the_best_weights_are_chosen_and_kept(tiny_model: Path, tmp_path: Path) -> None:
    run = fit(tiny_model, store=tmp_path, epochs=6, validate=2, learning_rate=3e-2)
    events = list(run)
    looks = [event for event in events if isinstance(event, Validated)]
    best = max(looks, key=lambda look: (look.metrics["accuracy"], -look.step))
    assert len(looks) == 12
    assert isinstance(events[-1], Finished)
    assert events[-1].best_step == best.step
    assert run.validate is not None
    assert run.validate(run.model)["accuracy"] == best.metrics["accuracy"]
    assert len(list((tmp_path / "b").iterdir())) <= 2


def test_every_step_trains_on_its_threads_also_after_a_validation(tiny_model: Path, tmp_path: Path) -> None:
    seen = []

    class Watched(Classification):
        def step(self, model: Any, batch: Any) -> Any:
            seen.append((model.training, model.backbone.training, torch.get_num_threads()))
            return super().step(model, batch)

    with threads(3):
        run = fit(tiny_model, store=tmp_path, objective=Watched(), epochs=2, validate=2, threads=2)
        looks = sum(isinstance(event, Validated) for event in run)
        assert torch.get_num_threads() == 3
    assert looks == 4
    assert len(seen) > 8
    assert set(seen) == {(True, True, 2)}


def test_early_stopping_ends_after_patience_misses(tiny_model: Path, tmp_path: Path) -> None:
    run = fit(tiny_model, store=tmp_path, epochs=50, patience=2, min_delta=1.0)
    events = list(run)
    assert len([event for event in events if isinstance(event, Validated)]) == 3
    assert isinstance(events[-1], Finished)
    assert events[-1].stopped_early
    assert any(isinstance(event, Saved) for event in events)


def test_a_loss_that_is_not_finite_stops_and_names_the_rows(tiny_model: Path) -> None:
    run = fit(tiny_model)
    with torch.no_grad():
        run.model.heads["main"].output.weight.fill_(float("nan"))  # type: ignore[union-attr, operator]
    with pytest.raises(TrainingError, match=r"training rows .*: the loss is nan at step 1"):
        list(run)


class Planted(Classification):
    """The loss of the steps in `at`, by rows, is not finite; or a gradient is, with a finite loss."""

    def __init__(self, run_rows: set[int], gradient: bool = False) -> None:
        super().__init__()
        self.rows, self.gradient = run_rows, gradient

    def step(self, model: Any, batch: Any) -> Any:
        terms = super().step(model, batch)
        if int(batch["input_ids"].sum()) not in self.rows:
            return terms
        if not self.gradient:
            return {name: (loss * float("inf"), weight) for name, (loss, weight) in terms.items()}
        weights = model.heads["main"].output.weight
        return {
            name: (loss + 0 * torch.sqrt(weights - weights).sum(), weight) for name, (loss, weight) in terms.items()
        }


def planted(folder: Path, steps: tuple[int, ...], gradient: bool = False) -> Planted:
    batches = fit(folder).order(0)
    rows = features()
    return Planted({int(rows.collate(batches[step])["input_ids"].sum()) for step in steps}, gradient)


@pytest.mark.parametrize("gradient", [False, True])
def test_steps_that_are_not_finite_are_left_out_up_to_a_limit(tiny_model: Path, gradient: bool) -> None:
    objective = planted(tiny_model, (2, 4), gradient)
    run = fit(tiny_model, epochs=1, objective=objective, skip_non_finite=2)
    before: dict[str, torch.Tensor] = {}
    events = []
    for event in run:
        if isinstance(event, Skipped):
            assert equal(before, state(run)), "a weight moved"
        before = state(run)
        events.append(event)
    skipped = [event for event in events if isinstance(event, Skipped)]
    assert [(event.step, event.skipped) for event in skipped] == [(3, 1), (5, 2)]
    assert sorted(skipped[0].rows) == sorted(run.order(0)[2].tolist())
    assert [event.step for event in events if isinstance(event, StepDone | Skipped)] == list(range(1, run.total + 1))
    with pytest.raises(
        NonFiniteError, match=r"(the loss|a gradient) is \w+ at step 5 after 1 that were skipped"
    ) as caught:
        list(fit(tiny_model, epochs=1, objective=objective, skip_non_finite=1))
    assert caught.value.batch["step"] == 5
    assert sorted(caught.value.batch["rows"]) == sorted(run.order(0)[4].tolist())


def test_skips_are_counted_across_a_resume(tiny_model: Path, tmp_path: Path) -> None:
    objective = planted(tiny_model, (1, 4))
    whole = fit(tiny_model, epochs=1, objective=objective, skip_non_finite=2, store=tmp_path / "whole")
    list(whole)
    cut = fit(tiny_model, epochs=1, objective=objective, skip_non_finite=2, store=tmp_path / "cut", stop=lambda: True)
    list(cut)
    list(fit(tiny_model, epochs=1, objective=objective, skip_non_finite=2, store=tmp_path / "cut", stop=lambda: True))
    resumed = fit(tiny_model, epochs=1, objective=objective, skip_non_finite=2, store=tmp_path / "cut")
    events = list(resumed)
    assert isinstance(events[0], Resumed)
    assert [event.skipped for event in events if isinstance(event, Skipped)] == [2]
    assert equal(state(whole), state(resumed))


def test_a_first_loss_of_exactly_zero_is_refused(tiny_model: Path) -> None:
    class Nothing(Classification):
        def step(self, model: Any, batch: Any) -> Any:
            return {name: (loss * 0, weight) for name, (loss, weight) in super().step(model, batch).items()}

    run = fit(tiny_model, objective=Nothing())
    before = state(run)
    with pytest.raises(TrainingError, match="loss of the first step is exactly 0"):
        list(run)
    assert equal(before, state(run))


def test_a_step_without_a_label_is_refused(tiny_model: Path) -> None:
    class Unlabelled(Classification):
        def step(self, model: Any, batch: Any) -> Any:
            return {name: (loss, weight * 0) for name, (loss, weight) in super().step(model, batch).items()}

    with pytest.raises(TrainingError, match="nothing in this step has a label"):
        list(fit(tiny_model, objective=Unlabelled()))


def test_two_processes_take_the_same_steps_as_one(tiny_model: Path, tmp_path: Path) -> None:
    single = fit(tiny_model, dropout=0.0, epochs=1)
    alone = [(e.step, e.rows, e.tokens, e.loss) for e in single if isinstance(e, StepDone)]
    script = Path(__file__).with_name("two_ranks.py")
    environment = {**os.environ, "MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    command = [sys.executable, str(script), str(tiny_model), str(tmp_path)]
    processes = [
        subprocess.Popen([*command, str(rank)], env=environment, cwd=Path(__file__).parents[3]) for rank in range(2)
    ]
    assert [process.wait(timeout=180) for process in processes] == [0, 0]
    together = [line.split() for line in (tmp_path / "steps-0").read_text(encoding="utf-8").splitlines()]
    assert (tmp_path / "steps-1").read_text(encoding="utf-8") == (tmp_path / "steps-0").read_text(encoding="utf-8")
    assert len(together) == len(alone) > 5
    for (step, rows, tokens, loss), line in zip(alone, together, strict=True):
        assert (step, rows, tokens) == tuple(int(cell) for cell in line[:3])
        assert loss == pytest.approx(float(line[3]), abs=1e-5)


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_schedules_rise_then_fall(schedule: str) -> None:
    values = [factor(schedule, step, total=100, warmup=0.1) for step in range(100)]
    assert values[:10] == pytest.approx([(i + 1) / 11 for i in range(10)])
    assert values[10] == pytest.approx(1.0)
    assert values == sorted(values[:10]) + sorted(values[10:], reverse=True)
    assert (values[-1] < 0.02) == (schedule != "constant")
