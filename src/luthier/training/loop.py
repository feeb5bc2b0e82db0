"""The training loop. It yields events and accepts a stop; it prints nothing, forks nothing and owns no signals.

Exactness. The order of batches and every draw are functions of (seed, data, epoch, step), so a checkpoint needs a
position and no generator states: a run killed at any instant ends with the same bits as one never killed. The gradient
of a step is the sum over its rows divided by their weight once, so micro-batches and ranks change nothing but rounding.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from luthier.artifacts.checkpoint import PREFIX, Checkpoint, CheckpointStore
from luthier.artifacts.manifest import new_folder, read_manifest, seal, verify_files
from luthier.data.batches import pieces
from luthier.data.draws import torch_seed
from luthier.data.outputs import Collated
from luthier.errors import ArtifactError, NonFiniteError, TrainingError
from luthier.models.assembly import TaskModel, seeded
from luthier.models.embedding import hold_used, whole_table
from luthier.models.tuning.base import Method
from luthier.objectives import Objective
from luthier.training.events import Event, Finished, Resumed, Saved, Skipped, StepDone, Stopped, Validated
from luthier.training.gradients import Gradients
from luthier.training.schedule import factor
from luthier.training.sharding import is_sharded
from luthier.training.tensors import (
    load_method,
    load_model,
    load_optimiser,
    model_tensors,
    optimiser_tensors,
    save_method,
    save_model,
    save_optimiser,
)
from luthier.training.threads import threads
from luthier.training.world import World

Order = Callable[[int], Sequence[NDArray[np.int64]]]


@dataclass(frozen=True)
class Optimisation:
    """The loop's numbers.

    Attributes:
        epochs: passes over the training rows.
        learning_rate: peak, per optimiser step.
        schedule: see `schedule.factor`.
        warmup: share of the steps.
        weight_decay: decoupled, on matrices.
        betas: of AdamW.
        epsilon: of AdamW.
        clip_norm: largest norm of the mean gradient, or None.
        accumulate: micro-batches, one after another, that a step is cut into on each rank.
        lanes: parts of a micro-batch that are computed side by side, see `training.gradients`.
        threads: inside the operations of a step; None leaves it to the process.
        precision: `fp32` or `bf16` (autocast; parameters and optimiser stay fp32).
        validate: validations per epoch.
        patience: validations without progress before training ends, or None.
        min_delta: progress smaller than this does not count.
        checkpoint_seconds: seconds of work between checkpoints.
        skip_non_finite: steps whose loss or gradient is not finite that are left out before training stops.
        seed: of every draw.
    """

    epochs: int
    learning_rate: float
    schedule: str = "linear"
    warmup: float = 0.0
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    clip_norm: float | None = 1.0
    accumulate: int = 1
    lanes: int = 1
    threads: int | None = None
    precision: str = "fp32"
    validate: int = 1
    patience: int | None = None
    min_delta: float = 0.0
    checkpoint_seconds: float = 20.0
    skip_non_finite: int = 0
    seed: int = 13


@dataclass
class Position:
    """Where a run stands: all that a checkpoint needs beside tensors."""

    step: int = 0
    epoch: int = 0
    index: int = 0
    rows: int = 0
    tokens: int = 0
    seconds: float = 0.0
    best_step: int = 0
    best_value: float | None = None
    misses: int = 0
    decay: float = 1.0
    skipped: int = 0
    stopped_early: bool = False
    method: dict[str, Any] = field(default_factory=dict)


class Fit:
    """One training run as an iterable of events.

    Args:
        model: backbone and heads; it holds the chosen weights after `Finished`.
        method: what moves.
        objective: a batch to loss sums.
        features: training features.
        order: epoch to batches of feature numbers; pure.
        numbers: see `Optimisation`.
        world: the processes.
        store: where checkpoints go; None keeps none. Rank 0 alone needs one, the others read what it names.
        best_folder: where the best weights go; rank 0 alone writes.
        validate: returns `{metric: value}` with the deciding one first; None validates never.
        greater_is_better: of the deciding metric.
        used_rows: rising numbers of the input embedding's rows that `features` holds; the others are kept out of the
            way (`models.embedding`). None trains the whole table.
        stop: asked after each step.
        before_save: called before a checkpoint is written, to flush what must not fall behind it.
    """

    def __init__(
        self,
        *,
        model: TaskModel,
        method: Method,
        objective: Objective,
        features: Collated,
        order: Order,
        numbers: Optimisation,
        world: World,
        store: CheckpointStore | None = None,
        best_folder: Path | None = None,
        validate: Callable[[TaskModel], Mapping[str, float]] | None = None,
        greater_is_better: bool = True,
        used_rows: NDArray[np.int64] | None = None,
        stop: Callable[[], bool] = lambda: False,
        before_save: Callable[[], None] = lambda: None,
    ) -> None:
        self.model = model
        self.method = method
        self.features = features
        self.cost = features.total_cost
        self.order = order
        self.numbers = numbers
        self.world = world
        self.store = store if world.rank == 0 else None
        self.best_folder = best_folder
        self.validate = validate
        self.greater_is_better = greater_is_better
        self.stop = stop
        self.before_save = before_save
        self.position = Position()
        self.total = sum(len(order(epoch)) for epoch in range(numbers.epochs))
        fixed = [parameter for parameter in model.backbone.parameters() if not parameter.requires_grad]
        with seeded(torch_seed(numbers.seed, "method")):
            method.set_up(model, self.total)
        for parameter in fixed:  # such as the sines of a position table, which no method may move
            parameter.requires_grad_(False)
        self.held = (
            None if used_rows is None or world.sharded else hold_used(model.backbone, torch.from_numpy(used_rows))
        )
        world.wrap(model)
        groups = method.parameter_groups(model, learning_rate=numbers.learning_rate, weight_decay=numbers.weight_decay)
        if not groups:
            raise TrainingError("nothing is left to train: the method froze every parameter.")
        self.optimiser = torch.optim.AdamW(groups, betas=numbers.betas, eps=numbers.epsilon, fused=True)
        self.peaks = [group["lr"] for group in self.optimiser.param_groups]
        self.parameters = [p for group in self.optimiser.param_groups for p in group["params"]]
        self.gradients = Gradients(
            model,
            objective,
            features,
            self.parameters,
            precision=numbers.precision,
            device=world.device,
            lanes=numbers.lanes,
            seed=numbers.seed,
            rank=world.rank,
            together=world.sharded,
        )
        self.keeps = False
        self.kept = {name for group in self.optimiser.param_groups for name in group["names"]}

    def __iter__(self) -> Iterator[Event]:
        """Train from the newest checkpoint, or from the start, to the end or a stop."""
        yield from self._resume()
        self.model.train()
        now = self.position
        saved_at = mark = time.monotonic()
        while now.epoch < self.numbers.epochs and not now.stopped_early:
            batches = self.order(now.epoch)
            looks = self._looks(len(batches))
            while now.index < len(batches) and not now.stopped_early:
                with threads(self.numbers.threads):
                    event = self._step(batches[now.index])
                now.seconds += time.monotonic() - mark
                mark = time.monotonic()
                yield self._timed(event)
                look = now.index in looks and self.validate is not None
                if look:
                    yield self._look()
                    mark = time.monotonic()
                due = time.monotonic() - saved_at > self.numbers.checkpoint_seconds
                stopping, due = self._agreed(self.stop(), due)
                if look or stopping or due:
                    yield from self._save()
                    saved_at = time.monotonic()
                if stopping:
                    yield Stopped(now.step)
                    return
            now.epoch, now.index = now.epoch + 1, 0
        self._take_best()
        yield Finished(now.step, now.best_step or now.step, now.rows, now.tokens, now.seconds, now.stopped_early)

    def _step(self, rows: NDArray[np.int64]) -> StepDone | Skipped:
        """Do one optimiser step over a batch and move the position past it."""
        now, numbers, world = self.position, self.numbers, self.world
        scale = factor(numbers.schedule, now.step, total=self.total, warmup=numbers.warmup)
        for group, peak in zip(self.optimiser.param_groups, self.peaks, strict=True):
            group["lr"] = peak * scale
        if not self.model.training:
            self.model.train()
        self.method.before_step(self.model, now.step)
        self.optimiser.zero_grad(set_to_none=True)
        parts = pieces(rows, self.cost, world.size * numbers.accumulate * numbers.lanes)
        loss, weight = self._reduced(self.gradients.add(parts[world.rank :: world.size], now.step))
        self._refuse_nothing_to_learn(loss, weight, rows)
        loss += self._penalty(weight)
        if not math.isfinite(loss):
            return self._not_finite(f"the loss is {loss}", rows)
        norm = self._scale_gradients(weight)
        if not math.isfinite(norm):
            return self._not_finite(f"a gradient is {norm}", rows)
        self.optimiser.step()
        self._decay_unused()
        self.method.after_step(self.model, now.step)
        tokens = int(self.cost[rows].sum())
        now.step, now.index = now.step + 1, now.index + 1
        now.rows, now.tokens = now.rows + len(rows), now.tokens + tokens
        lr = self.optimiser.param_groups[0]["lr"]
        return StepDone(now.step, self.total, now.epoch, loss / weight, lr, norm, len(rows), tokens, 0.0, 0.0)

    def _reduced(self, sums: Tensor) -> tuple[float, float]:
        """Sum loss, weight and gradients over ranks; return the first two.

        A parameter has a gradient here if it has one on any rank.
        """
        world = self.world
        if world.size > 1:
            present = torch.tensor([p.grad is not None for p in self.parameters], dtype=sums.dtype)
            world.reduce([sums, present])
            if not world.sharded:
                for parameter, anywhere in zip(self.parameters, present.tolist(), strict=True):
                    if parameter.grad is None and anywhere:
                        parameter.grad = torch.zeros_like(parameter)
                world.reduce([p.grad for p in self.parameters if p.grad is not None])
        loss, weight = sums.tolist()
        return loss, weight

    def _penalty(self, weight: float) -> float:
        """Add the gradient of the method's penalty, once per step; return what it adds to the loss sum."""
        penalty = self.method.penalty(self.model)
        if penalty is None:
            return 0.0
        (penalty * weight).backward()  # type: ignore[no-untyped-call]
        return float(penalty.detach()) * weight

    def _scale_gradients(self, weight: float) -> float:
        """Divide gradients by the weight and clip them, in one pass; return the norm of the mean gradient."""
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        if self.numbers.skip_non_finite:  # a method must not learn from a step that is left out
            found = _norm(gradients)
            if not math.isfinite(found):
                return found
        self.method.after_backward(self.model, self.position.step)
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        norm = _norm(gradients) / weight
        clip = self.numbers.clip_norm
        shrink = min(1.0, clip / (norm + 1e-6)) if clip is not None else 1.0
        torch._foreach_mul_(gradients, shrink / weight)
        return norm

    def _decay_unused(self) -> None:
        """Decay the embedding rows without a gradient as AdamW would."""
        if self.held is None or self.held.weight.grad is None:
            return
        for group in self.optimiser.param_groups:
            if any(parameter is self.held.weight for parameter in group["params"]):
                self.held.decay *= 1.0 - group["lr"] * group["weight_decay"]

    def whole(self) -> AbstractContextManager[None]:
        """Return a context in which the model has all rows of its embedding table."""
        return whole_table(self.model.backbone, self.held)

    def _refuse_nothing_to_learn(self, loss: float, weight: float, rows: NDArray[np.int64]) -> None:
        if weight == 0:
            raise TrainingError(
                "nothing in this step has a label to learn from.", where=self._named(rows), fix=NOTHING_TO_LEARN
            )
        if loss == 0 and self.position.step == 0:
            raise TrainingError(
                "the loss of the first step is exactly 0, so there is nothing to learn.",
                where=self._named(rows),
                fix=NOTHING_TO_LEARN,
            )

    def _not_finite(self, what: str, rows: NDArray[np.int64]) -> Skipped:
        """Move the position past a step that no weight may learn from.

        Raises:
            NonFiniteError: as many were left out as may be.
        """
        now, limit = self.position, self.numbers.skip_non_finite
        numbers = tuple(int(self.features.group[row]) for row in rows)
        if now.skipped >= limit:
            before = f" after {now.skipped} that were skipped" if now.skipped else ""
            raise NonFiniteError(
                f"{what} at step {now.step + 1}{before}.",
                where=self._named(rows),
                fix=NOT_FINITE,
                batch={"step": now.step + 1, "epoch": now.epoch, "what": what, "rows": list(numbers)},
            )
        now.step, now.index, now.skipped = now.step + 1, now.index + 1, now.skipped + 1
        return Skipped(now.step, self.total, now.epoch, what, numbers, now.skipped)

    def _agreed(self, *wishes: bool) -> list[bool]:
        """Return what any rank wishes: clocks and signals differ between them, what they do next may not."""
        if self.world.size == 1:
            return list(wishes)
        flags = torch.tensor(wishes, dtype=torch.float32, device=self.world.device)
        self.world.reduce([flags])
        return [flag > 0 for flag in flags.tolist()]

    def _look(self) -> Validated:
        """Validate, and keep the weights if they are the best so far."""
        with self.whole():
            return self._judge()

    def _judge(self) -> Validated:
        assert self.validate is not None, "only called with a validation"
        now, world = self.position, self.world
        alone = world.rank == 0 or world.sharded  # a sharded model answers only to all
        metrics = world.share(dict(self.validate(self.model)) if alone else None)
        value = next(iter(metrics.values()))
        sign = 1.0 if self.greater_is_better else -1.0
        best = math.isfinite(value) and (
            now.best_value is None or sign * (value - now.best_value) > self.numbers.min_delta
        )
        if best:
            now.best_step, now.best_value, now.misses = now.step, value, 0
            self._keep_best()
        else:
            now.misses += 1
            now.stopped_early = self.numbers.patience is not None and now.misses >= self.numbers.patience
        return Validated(now.step, now.epoch, metrics, best)

    def _looks(self, batches: int) -> set[int]:
        """Return after how many batches of an epoch to validate; always after the last."""
        return {max(1, round(batches * part / self.numbers.validate)) for part in range(1, self.numbers.validate + 1)}

    def _timed(self, event: StepDone | Skipped) -> StepDone | Skipped:
        if isinstance(event, Skipped):
            return event
        now = self.position
        left = now.seconds / now.step * (self.total - now.step)
        rate = now.rows / max(now.seconds, 1e-9)
        return StepDone(**{**event.__dict__, "rows_per_second": rate, "seconds_left": left})

    def _save(self) -> Iterator[Saved]:
        if not self.keeps:
            return
        start = time.monotonic()
        self.position.method = self.method.state()
        self.position.decay = self.held.decay if self.held else 1.0
        self.before_save()
        model, optimiser = self._own(), optimiser_tensors(self.optimiser, keep=self.store is not None)

        def write(folder: Path) -> None:
            save_model(model, folder)
            save_optimiser(optimiser, folder)
            save_method(self.method.tensors(), folder)

        if self.store is not None:
            self.store.save(self.position.step, asdict(self.position), write)
            self._prune_best()
        self.world.barrier()
        yield Saved(self.position.step, time.monotonic() - start)

    def _own(self) -> dict[str, Tensor]:
        """Return what may train, whole, where it is written; sharded ranks all call this."""
        return model_tensors(self.model, self.kept, keep=self.world.rank == 0)

    def _resume(self) -> Iterator[Resumed]:
        """Go to the newest checkpoint; rank 0 looks for it, and the others read what it names."""
        found, notes = (None, []) if self.store is None else self._newest(self.store)
        told = None if found is None else {"path": str(found.path), "step": found.step, "state": found.state}
        self.keeps, told = self.world.share([self.store is not None, told])
        if told is None:
            return
        folder = Path(told["path"])
        load_model(self.model, folder, self.kept)
        load_optimiser(self.optimiser, folder)
        self.position = Position(**told["state"])
        self.method.load_state(self.position.method, load_method(folder))
        if self.held is not None:
            self.held.decay = self.position.decay
        yield Resumed(told["step"], self.total, tuple(notes))

    def _newest(self, store: CheckpointStore) -> tuple[Checkpoint | None, list[str]]:
        found, notes = store.latest(self._check_best)
        if found is None and notes:
            raise ArtifactError(
                f"no whole checkpoint is left, and a run never starts over by itself. {' '.join(notes)}",
                where=str(store.folder),
                fix="Start over with --fresh (the old folder is kept).",
            )
        return found, notes

    def _check_best(self, state: Mapping[str, Any]) -> None:
        """Verify the best weights that a checkpoint speaks of; an earlier one may make them again."""
        if self.best_folder is not None and state["best_step"]:
            folder = self._best(state["best_step"])
            verify_files(folder, read_manifest(folder))

    def _best(self, step: int) -> Path:
        assert self.best_folder is not None, "validation needs a folder for the best weights"
        return self.best_folder / f"{PREFIX}{step:08d}"

    def _keep_best(self) -> None:
        tensors = self._own()
        if self.best_folder is None or self.world.rank != 0:
            return
        with new_folder(self._best(self.position.step)) as folder:
            save_model(tensors, folder)
            seal(folder, {"kind": "weights", "step": self.position.step})

    def _prune_best(self) -> None:
        """Remove weights that no kept checkpoint calls the best."""
        if self.best_folder is None or self.store is None or not self.best_folder.exists():
            return
        wanted = {self._best(state["best_step"]).name for state in self.store.states()}
        for path in self.best_folder.glob(f"{PREFIX}*"):
            if path.name not in wanted:
                shutil.rmtree(path)

    def _take_best(self) -> None:
        """Leave the model whole, with the best weights, verified; of a sharded one rank 0 alone."""
        now = self.position
        if self.held is not None:
            self.model.backbone.set_input_embeddings(self.held.restored())  # type: ignore[operator]
            self.held = None
        self.world.barrier()
        self.model = cast(TaskModel, self.world.unwrap(self.model))
        if self.best_folder is None or now.best_step in {0, now.step}:
            return
        folder = self._best(now.best_step)
        verify_files(folder, read_manifest(folder))
        load_model(self.model, folder, self.kept)

    def _named(self, rows: NDArray[np.int64]) -> str:
        shown = ", ".join(str(int(self.features.group[row])) for row in rows[:10])
        return f"training rows {shown}{' ...' if len(rows) > 10 else ''}"


def _norm(gradients: Sequence[Tensor]) -> float:
    """Return the norm of all gradients as one vector, over all processes where they are sharded."""
    norm: Any = torch.nn.utils.get_total_norm(gradients, foreach=True)
    return float(norm.full_tensor() if is_sharded(norm) else norm)


NOT_FINITE = (
    "Lower train.learning_rate, set train.precision to fp32, or let train.skip_non_finite steps be left out; "
    "the last checkpoint is kept."
)
NOTHING_TO_LEARN = "See that the labels are there, and that model.max_length does not cut them off."
