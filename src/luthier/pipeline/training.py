"""The train stage: from prepared inputs to a model folder."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from luthier.artifacts.bundle import BundleManifest, EntryPoint, Preprocess, Runtime
from luthier.artifacts.checkpoint import BEGUN, CheckpointStore
from luthier.artifacts.files import fingerprint, read_json, write_json_atomic
from luthier.artifacts.manifest import new_folder
from luthier.config import TrainStage
from luthier.config.project import TrainSpec
from luthier.data.features import Features
from luthier.data.outputs import Collated, collect
from luthier.errors import ArtifactError, NonFiniteError, TrainingError
from luthier.evaluation.kinds import EVALUATIONS
from luthier.metrics.registry import METRICS
from luthier.models.adapters import FOLDER, write_adapter
from luthier.models.assembly import Assembled, TaskModel, assemble
from luthier.models.families import Family, family_for
from luthier.models.folder import manifest_parts, write_base, write_folder
from luthier.models.tuning.base import Method
from luthier.models.tuning.table import build_method
from luthier.objectives import OBJECTIVES, build_objective
from luthier.pipeline.freezing import choose_frozen, heads_alone, keep_states
from luthier.pipeline.prepared import Prepared
from luthier.pipeline.resuming import FREE
from luthier.tasks.base import Prediction, Scored
from luthier.training.allocator import retained
from luthier.training.events import Event, Finished, Resumed, Skipped, StepDone, Stopped, Validated
from luthier.training.gradients import to_torch
from luthier.training.hardware import (
    Choice,
    choose_attention,
    choose_device,
    choose_lanes,
    choose_precision,
    kept_flags,
)
from luthier.training.history import History
from luthier.training.loop import Fit, Optimisation
from luthier.training.memory import fitting_parts, resettable
from luthier.training.precision import autocast
from luthier.training.states import FrozenFeatures
from luthier.training.step_check import padded
from luthier.training.threads import threads
from luthier.training.world import LocalWorld, World, processes
from luthier.version import __version__

VALIDATION_TOKENS = 8192
MERGE_ROWS = 16
TOLERANCE, RAW_TOLERANCE = 1e-5, 1e-4
Choices = dict[str, Choice]


def choose(prepared: Prepared) -> Choices:
    """Return what `auto` picks for a run, with reasons."""
    spec = prepared.plan.only(TrainStage).spec
    features, index = prepared.part("train")
    device = choose_device(spec.device)
    long_tokens = int(np.percentile(features.total_cost[index], 95))
    number = spec.threads or torch.get_num_threads()
    tokens = spec.batch_tokens // spec.accumulate // processes()
    frozen = choose_frozen(prepared)
    choices = {
        "device": device,
        "precision": choose_precision(spec.precision, device.value),
        "attention": choose_attention(spec.attention, device.value, long_tokens, _family(prepared).attention),
        "threads": Choice(str(number), "as set" if spec.threads else "all that torch sees"),
        "lanes": Choice("1", "the rows of a step are compared with each other")
        if OBJECTIVES[prepared.task.objective].whole_batch
        else Choice("1", "the heads alone are computed in a step, on one thread")
        if heads_alone(prepared, frozen)
        else Choice("1", "sharded parameters are gathered for one batch at a time")
        if spec.shard == "fsdp"
        else choose_lanes(spec.lanes, device.value, threads=number, tokens=tokens),
        **({"frozen": frozen} if frozen else {}),
    }
    if spec.memory_mib is not None:
        choices["accumulate"] = choose_parts(prepared, choices, spec.memory_mib)
    return choices


def _family(prepared: Prepared) -> Family:
    """Return the model's family."""
    kind = prepared.task.head(prepared.dataset.targets).kind
    return family_for(prepared.model.model_type, kind, where=prepared.model.id)


def choose_parts(prepared: Prepared, choices: Choices, budget_mib: float) -> Choice:
    """Return into how many micro-batches a step is cut to stay within a memory budget; real steps are measured.

    Raises:
        TrainingError: no cut stays within it, or this system cannot tell.
    """
    if not resettable() or choices["device"].value != "cpu":
        raise TrainingError(
            "train.memory_mib must be null here: only on a CPU under Linux can the memory of a step be measured.",
            fix="Set train.accumulate by hand.",
        )
    features, _ = prepared.part("train")
    cost = features.total_cost
    heaviest = max(prepared.order(0), key=lambda rows: padded(rows, cost))
    assembled = TrainJob(prepared, choices).assemble()

    def step(parts: int) -> None:
        cut = {**choices, "accumulate": Choice(str(parts), "being measured")}
        list(TrainJob(prepared, cut).fit(deepcopy(assembled), batches=[heaviest]))

    with engine(choices):
        parts, peak = fitting_parts(step, len(heaviest), budget_mib)
    return Choice(str(parts), f"the heaviest step takes {peak:.0f} of {budget_mib:g} MiB")


@contextmanager
def engine(choices: Mapping[str, Choice]) -> Iterator[None]:
    """Compute with the chosen threads, and keep freed memory between steps; the process is left as it was."""
    with threads(int(choices["threads"].value)), retained():
        yield


@dataclass(frozen=True)
class TrainJob:
    """All that decides a training run's weights.

    Attributes:
        prepared: the inputs.
        choices: what `auto` picked; a resumed run takes those of its start.
        origin: the fingerprint that checkpoints carry, where changes were accepted since the run's start.
    """

    prepared: Prepared
    choices: Mapping[str, Choice]
    origin: str | None = None

    @property
    def stage(self) -> TrainStage:
        """The train stage of the plan."""
        return self.prepared.plan.only(TrainStage)

    @property
    def spec(self) -> TrainSpec:
        """The train block."""
        return self.stage.spec

    def fingerprint(self) -> str:
        """Return a hash over everything that decides the weights; how often checkpoints are made does not."""
        spec = self.spec.model_dump(mode="json", exclude={*FREE, *self.choices})
        return fingerprint(
            {
                "dataset": self.prepared.dataset.fingerprint(),
                "inputs": self.prepared.fingerprint,
                "method": [self.stage.method.name, dict(self.stage.method.settings)],
                "train": spec,
                "seed": self.prepared.plan.seed,
                "choices": {name: choice.value for name, choice in self.choices.items()},
            }
        )

    def assemble(self) -> Assembled:
        """Return the pretrained backbone with the task's head."""
        prepared = self.prepared
        return assemble(
            prepared.model,
            prepared.task.head(prepared.dataset.targets),
            pooling=prepared.model_spec.pooling,
            attention=self.choices["attention"].value,
            dropout=self.spec.dropout,
            seed=prepared.plan.seed,
        )

    def fit(
        self,
        assembled: Assembled,
        *,
        folder: Path | None = None,
        batches: list[NDArray[np.int64]] | None = None,
        world: World | None = None,
        stop: Callable[[], bool] = lambda: False,
        before_save: Callable[[], None] = lambda: None,
    ) -> Fit:
        """Return the loop over an assembled model.

        Args:
            assembled: from `assemble`.
            folder: where checkpoints and best weights go; None keeps none and validates never.
            batches: replace an epoch's own (the step check); one epoch of them.
            world: the processes; default this one.
            stop: asked after each step.
            before_save: called before a checkpoint is written.
        """
        prepared, spec = self.prepared, self.spec
        world = world or LocalWorld(self.choices["device"].value)
        kept = self._kept(assembled.model, world) if batches is None else None
        seen = cache(partial(keep_states, prepared, assembled.model, "validation", self.choices))
        store = None
        if folder is not None and world.rank == 0:
            store = CheckpointStore(
                folder / "checkpoints",
                run_fingerprint=self.origin or self.fingerprint(),
                keep=spec.keep_checkpoints,
            )
        return Fit(
            model=assembled.model,
            method=build_method(self.stage.method.name, self.stage.method.settings),
            objective=build_objective(prepared.task.objective, self._objective_settings()),
            features=kept or prepared.part("train")[0],
            order=(lambda _: batches) if batches is not None else prepared.order,
            numbers=self.numbers(1 if batches is not None else spec.epochs, 1 if kept and kept.pooled else None),
            world=world,
            store=store,
            best_folder=None if folder is None or world.rank else folder / "best",
            validate=None if folder is None else partial(self._validate, kept=seen if kept else None),
            greater_is_better=METRICS[self.metric].greater_is_better,
            used_rows=None if kept or world.sharded else self._rows(world, folder),
            stop=stop,
            before_save=before_save,
        )

    @property
    def metric(self) -> str:
        """The validation metric that chooses the weights: answers are not written in validation, so there the loss."""
        task = self.prepared.task
        own = EVALUATIONS[task.evaluation].loss if METRICS[task.headline].about == "answers" else task.headline
        return self.spec.select_by or own

    def _kept(self, model: TaskModel, world: World) -> FrozenFeatures | None:
        """Return features with kept states; rank 0 computes them, the others find them on disk."""
        kept = keep_states(self.prepared, model, "train", self.choices) if world.rank == 0 else None
        world.barrier()
        return kept if world.rank == 0 else keep_states(self.prepared, model, "train", self.choices)

    def _rows(self, world: World, folder: Path | None) -> NDArray[np.int64] | None:
        """Return the embedding rows that train; rank 0 keeps them in the folder."""
        rows = used_rows(*self.prepared.part("train"))
        if world.size == 1:
            return rows_of_start(rows, folder)
        rows = rows_of_start(rows, folder) if world.rank == 0 else None
        told = world.share(None if rows is None else rows.tolist())
        return None if told is None else np.asarray(told, dtype=np.int64)

    def numbers(self, epochs: int, threads: int | None = None, *, learning_rate: float | None = None) -> Optimisation:
        """Return the loop's numbers.

        Args:
            epochs: passes over the training rows.
            threads: inside the operations of a step; None leaves it to the process.
            learning_rate: the peak; default as the project says.
        """
        spec = self.spec
        stopping = spec.early_stopping
        return Optimisation(
            epochs=epochs,
            learning_rate=learning_rate or spec.learning_rate,
            schedule=spec.schedule,
            warmup=spec.warmup,
            weight_decay=spec.weight_decay,
            betas=(spec.betas[0], spec.betas[1]),
            epsilon=spec.epsilon,
            clip_norm=spec.clip_norm,
            accumulate=int(self.choices["accumulate"].value) if "accumulate" in self.choices else spec.accumulate,
            lanes=int(self.choices["lanes"].value),
            threads=threads,
            precision=self.choices["precision"].value,
            validate=spec.validations_per_epoch,
            patience=stopping.patience if stopping else None,
            min_delta=stopping.min_delta if stopping else 0.0,
            checkpoint_seconds=spec.checkpoint_seconds,
            skip_non_finite=spec.skip_non_finite,
            seed=self.prepared.plan.seed,
        )

    def _objective_settings(self) -> dict[str, Any]:
        settings = dict(self.prepared.task.objective_settings(self.prepared.dataset.targets))
        if self.spec.label_smoothing:
            settings["label_smoothing"] = self.spec.label_smoothing
        if self.spec.class_weights != "none":
            settings["class_weights"] = self._class_weights()
        return settings

    def _class_weights(self) -> list[float]:
        """Return a weight per class: as set, or N / (C x rows of the class), as scikit-learn's `balanced`."""
        dataset = self.prepared.dataset
        labels = self.prepared.task.output_labels(dataset.targets)
        if isinstance(self.spec.class_weights, str):
            counts = Counter(dataset.target("train").tolist())
            total = sum(counts.values())
            return [total / (len(labels) * counts[number]) if counts[number] else 1.0 for number in range(len(labels))]
        given = {str(label): float(weight) for label, weight in self.spec.class_weights.items()}
        if unknown := sorted(set(given) - set(labels)):
            from luthier.errors import DataError

            raise DataError(
                f"train.class_weights must name labels ({', '.join(labels)}); got {', '.join(unknown)}.",
                fix="Use the labels as data.labels or the data name them.",
            )
        return [given.get(label, 1.0) for label in labels]

    def _validate(
        self, model: TaskModel, *, kept: Callable[[], FrozenFeatures | None] | None = None
    ) -> dict[str, float]:
        """Return the deciding metric first, then log loss and accuracy, on the validation split.

        Args:
            model: to judge.
            kept: gives the split's features with kept states, which are computed at the first validation.
        """
        task, dataset = self.prepared.task, self.prepared.dataset
        whole, index = self.prepared.part("validation")
        states = None if kept is None else kept()
        outputs = forward(model, states or whole, index, precision=self.choices["precision"].value)
        scored = Scored(outputs, whole, index, dataset.inputs_of("validation", task))
        evaluation = EVALUATIONS[task.evaluation]()
        wanted = list(dict.fromkeys([self.metric, task.headline, evaluation.loss]))

        def predictions() -> Sequence[Prediction]:
            return task.decode(scored, dataset.targets, {})

        found = evaluation.validate(scored, dataset.truth("validation", task), predictions, wanted)
        if self.metric not in found:
            raise TrainingError(
                f"train.select_by must be defined on the validation split; {self.metric} is not.",
                fix="Choose another metric, or give the split rows of every label.",
            )
        return found


def used_rows(features: Features, index: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """Return the rising token ids of some features; None where they are not all there is to look up."""
    fields = [name for name, field in features.fields.items() if field.tokens]
    if not fields:
        return None
    wanted = np.zeros(len(features), dtype=bool)
    wanted[index] = True
    used = np.zeros(1 + max(int(features.values[name].max(initial=0)) for name in fields), dtype=bool)
    for name in fields:
        lengths = np.diff(features.offsets[name])
        used[features.values[name][np.repeat(wanted, lengths)]] = True
        used[features.fields[name].pad] = True
    return np.flatnonzero(used)


def rows_of_start(rows: NDArray[np.int64] | None, folder: Path | None) -> NDArray[np.int64] | None:
    """Return the embedding rows that a run's checkpoints hold: those in use at its start.

    Args:
        rows: in use today.
        folder: of the train stage; None where nothing is kept.

    Raises:
        ArtifactError: rows that were allowed to change use others.
    """
    if folder is None:
        return rows
    path = folder / "embedding-rows.json"
    if not (folder / "checkpoints" / BEGUN).exists():
        write_json_atomic(path, {"rows": None if rows is None else rows.tolist()})
        return rows
    kept = read_json(path)["rows"] if path.exists() else None
    old = None if kept is None else np.asarray(kept, dtype=np.int64)
    if old is not None and (rows is None or not np.isin(rows, old).all()):
        more = "others" if rows is None else f"{int((~np.isin(rows, old)).sum())} tokens more"
        raise ArtifactError(
            f"the changed rows use {more} than the checkpoints hold.",
            where=str(folder),
            fix="Start over with --fresh (the old folder is kept).",
        )
    return old


def forward(
    model: TaskModel, features: Collated, index: NDArray[np.int64], *, precision: str
) -> dict[str, NDArray[Any]]:
    """Return a model's outputs for some features at a precision, without gradients."""
    device = next(model.parameters()).device
    model.eval()

    def score(batch: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        found = model(to_torch(batch, device))
        return {name: values.cpu().double().numpy() for name, values in found.items()}

    with torch.no_grad(), autocast(precision, device):  # sharded parameters cannot be gathered in inference mode
        return collect(features, index, partial(map, score), budget=VALIDATION_TOKENS, per_token=model.per_token)


def train(job: TrainJob, folder: Path, *, world: World | None = None, stop: Callable[[], bool]) -> Iterator[Event]:
    """Train in a folder and leave `folder/model` and `folder/entry.json`; of several processes rank 0 calls it.

    Yields the loop's events. After `Stopped` nothing is written.
    """
    assembled = job.assemble()
    history = History(folder / "metrics.jsonl")
    fit = job.fit(assembled, folder=folder, world=world, stop=stop, before_save=history.sync)
    try:
        for event in fit:
            if not history.open:
                event = _rewound(history, event)
            if isinstance(event, StepDone | Skipped | Validated):
                history.add(event)
            if isinstance(event, Finished):
                history.sync()
                _write_model(job, replace(assembled, model=fit.model), fit.method, folder)
            yield event
            if isinstance(event, Stopped):
                break
    except NonFiniteError as error:
        raise _with_batch(error, job, folder) from None
    finally:
        history.close()


def _rewound(history: History, event: Event) -> Event:
    """Cut the log to where the run goes on; return the event with what there is to say about the log."""
    if not isinstance(event, Resumed):
        history.rewind(0)
        return event
    return replace(event, notes=(*event.notes, *history.rewind(event.step)))


def _with_batch(error: NonFiniteError, job: TrainJob, folder: Path) -> NonFiniteError:
    """Write the step's rows to a file; return the error with the file's name in it. The file holds no text."""
    rows = job.prepared.sources[job.prepared.dataset.parts["train"].table]
    places = [{"row": row, "place": rows.place(row)} for row in error.batch["rows"]]
    path = folder / f"non-finite-step-{error.batch['step']:08d}.json"
    write_json_atomic(path, {**error.batch, "rows": places})
    return NonFiniteError(
        f"{error.what} The rows of the step are listed in {path}.", where=error.where, fix=error.fix, batch=error.batch
    )


def _unload(job: TrainJob, model: TaskModel, method: Method) -> dict[str, Tensor]:
    """Leave a plain backbone; what the method took off is returned, what it folded in must not change answers.

    Raises:
        TrainingError: answers on validation rows changed.
    """
    features, index = job.prepared.part("validation")
    rows = index[:MERGE_ROWS]
    before = forward(model, features, rows, precision="fp32")
    taken_off = method.unload(model)
    if taken_off:
        return taken_off
    after = forward(model, features, rows, precision="fp32")
    for name in before:
        old, new = (np.concatenate([np.ravel(row) for row in found[name]]) for found in (before, after))
        gap, size = float(np.abs(old - new).max(initial=0.0)), float(np.abs(old).max(initial=1.0))
        if not gap <= RAW_TOLERANCE * max(1.0, size):
            raise TrainingError(
                f"folding the trained update into the weights changed {name} by {gap:.3g} (allowed "
                f"{RAW_TOLERANCE * max(1.0, size):.3g}).",
                fix=f"Keep it apart: method: {{{job.stage.method.name}: {{merge: false}}}}.",
            )
    return {}


def _write_model(job: TrainJob, assembled: Assembled, method: Method, folder: Path) -> None:
    prepared = job.prepared
    taken_off = _unload(job, assembled.model, method)
    with new_folder(folder / "model") as target:
        for path in sorted(prepared.tokenizer.iterdir()):
            shutil.copyfile(path, target / path.name)
        labels = prepared.task.plain_labels(prepared.dataset.targets)
        kind = prepared.task.problem_type
        plain = partial(write_folder, assembled, target, labels=labels, problem_type=kind)
        digest = write_base(assembled, target) if taken_off else plain()
    backbone, head = manifest_parts(assembled, source=prepared.model_spec.id)
    adapters = []
    shutil.rmtree(folder / FOLDER, ignore_errors=True)
    if taken_off:
        with new_folder(folder / FOLDER / "main") as target:
            named = {job.stage.method.name: dict(job.stage.method.settings)}
            adapter, head, own = write_adapter(assembled, head, taken_off, target, name="main", method=named)
        adapters, digest = [adapter], fingerprint([digest, own])
    manifest = BundleManifest(
        name=prepared.plan.name,
        luthier=__version__,
        backbone=backbone,
        adapters=adapters,
        heads=[head],
        entry_points=[
            EntryPoint(
                task=prepared.plan.task().task,
                task_settings=dict(prepared.plan.task().settings),
                adapter=adapters[0].name if adapters else None,
                head=head.name,
                targets=prepared.dataset.targets,
                calibration={},
                preprocess=Preprocess(
                    max_length=prepared.max_length,
                    truncation_side=prepared.model_spec.truncation_side,
                    columns={role: prepared.columns[role] for role in prepared.columns},
                ),
            )
        ],
        runtimes=[
            Runtime(
                name="torch",
                precision="fp32",
                tolerance=TOLERANCE * max(1.0, prepared.task.answer_scale(prepared.dataset.targets)),
                raw_tolerance=RAW_TOLERANCE,
                processor={"flags": kept_flags()},
            )
        ],
        weights_sha256=digest,
    )
    write_json_atomic(folder / "entry.json", manifest.model_dump(mode="json"))
