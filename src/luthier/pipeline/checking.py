"""The check stage: the data check, before weights load, then the step check."""

from __future__ import annotations

from typing import Any

import numpy as np

from luthier.artifacts.check import CheckReport, StepEstimate
from luthier.config import CheckStage, TrainStage
from luthier.data.batches import padding_share
from luthier.data.check import SplitView, check_data
from luthier.errors import DataError, ModelError, TrainingError
from luthier.models.families import family_for
from luthier.models.packing import PACKABLE
from luthier.objectives import OBJECTIVES
from luthier.pipeline.custom import custom_metrics
from luthier.pipeline.evaluating import baselines
from luthier.pipeline.prepared import Prepared
from luthier.pipeline.training import Choices, TrainJob
from luthier.training.profile import WARM_STEPS, StepProfile, profile
from luthier.training.step_check import measure
from luthier.training.world import processes


def data_check(prepared: Prepared) -> CheckReport:
    """Return what the data check found; no weights are loaded."""
    spec = prepared.plan.only(CheckStage).spec
    _refuse_pairs(prepared)
    _refuse_lengths(prepared)
    dataset = prepared.dataset
    report = check_data(
        [_view(prepared, name) for name in dataset.parts],
        labels=prepared.task.output_labels(dataset.targets),
        max_length=prepared.max_length,
        position_limit=prepared.model.position_limit(),
        repairs=dataset.repairs,
        near_duplicate_threshold=spec.near_duplicate_threshold,
        sample=spec.sample,
        seed=prepared.data.split.seed,
    )
    features, _ = prepared.part("train")
    return report.model_copy(update={"padding_share": padding_share(prepared.order(0), features.total_cost)})


def _refuse_pairs(prepared: Prepared) -> None:
    """Refuse a baseline or a model that does not go with the task.

    Raises:
        LuthierError: which, and which ones do.
    """
    baselines(prepared)
    custom_metrics(prepared)
    family_for(prepared.model.model_type, prepared.task.head(prepared.dataset.targets).kind, where=prepared.model.id)
    _refuse_parts(prepared)
    _refuse_packing(prepared)


def _refuse_packing(prepared: Prepared) -> None:
    """Refuse to put rows into one sequence where the model could not keep them apart."""
    settings, model_type = prepared.task.objective_settings(prepared.dataset.targets), prepared.model.model_type
    if settings.get("packing") and model_type not in PACKABLE:
        raise ModelError(
            f"packing must be false for {model_type} models; it is for {', '.join(PACKABLE)}.",
            where=prepared.model.id,
            fix=f"Take task.{prepared.task.name}.packing out; rows are batched by length in any case.",
        )


def _refuse_lengths(prepared: Prepared) -> None:
    """Refuse answers that are longer than the model has positions for.

    Raises:
        ModelError: they are, in the rows or when they are written.
    """
    limit, decoding = prepared.model.position_limit(), prepared.task.decoding(prepared.encoder)
    if limit is None or decoding is None or decoding.max_length is not None:
        return
    for features in prepared.features.values():
        lengths = [int(np.diff(offsets).max(initial=0)) for offsets in features.offsets.values()]
        for longest, key in ((max(lengths), "max_target_length"), (decoding.max_new_tokens, "max_new_tokens")):
            if longest > limit:
                name = f"task.{prepared.task.name}.{key}"
                raise ModelError(f"{name} must be at most {limit}, the positions of the model; got {longest}.")


def _refuse_parts(prepared: Prepared) -> None:
    """Refuse to cut a step into parts where its rows are compared with each other."""
    spec, name = prepared.plan.only(TrainStage).spec, prepared.task.name
    if not OBJECTIVES[prepared.task.objective].whole_batch:
        return
    for key, cut in (("train.accumulate", spec.accumulate > 1), ("train.memory_mib", spec.memory_mib is not None)):
        if cut:
            fix = "Take it out; a smaller train.batch_tokens needs less memory."
            raise TrainingError(f"{key} must be left out for {name}, which compares the rows of a step.", fix=fix)
    if processes() > 1:
        raise TrainingError(f"{name} compares the rows of a step, so one process trains it.", fix="Leave out torchrun.")


def step_check(prepared: Prepared, choices: Choices) -> StepEstimate:
    """Return what a few real steps cost, with a model that is thrown away."""
    job = TrainJob(prepared, choices)
    assembled = job.assemble()
    features, _ = prepared.part("train")
    cost = measure(
        lambda batches: job.fit(assembled, batches=batches),
        prepared.order(0),
        features.total_cost,
        prepared.plan.only(CheckStage).spec.steps,
    )
    return StepEstimate(
        trainable_parameters=cost.trainable,
        parameters=cost.parameters,
        steps_measured=cost.steps,
        rows_per_second=round(cost.rows_per_second, 1),
        seconds_per_epoch=round(cost.seconds_per_epoch, 1),
        peak_memory_mib=round(cost.peak_memory_mib, 1),
        choices={name: f"{choice.value} ({choice.reason})" for name, choice in choices.items()},
    )


def step_profile(prepared: Prepared, choices: Choices, steps: int) -> StepProfile:
    """Return where the time of a training step goes, measured with a model that is thrown away.

    Args:
        prepared: the inputs.
        choices: what `auto` picked.
        steps: to measure, each way.
    """
    job = TrainJob(prepared, choices)
    order = prepared.order(0)
    batches = [order[step % len(order)] for step in range(WARM_STEPS + 2 * steps)]
    return profile(job.fit(job.assemble(), batches=batches), steps=steps, precision=choices["precision"].value)


def refuse(prepared: Prepared, report: CheckReport) -> None:
    """Stop the run if the project says that these findings do.

    Raises:
        DataError: lists every finding that stops it.
    """
    spec = prepared.plan.only(CheckStage).spec
    stopping = report.stopping(spec.stop_on, tuple(spec.ignore))
    if stopping:
        lines = [f"{one.place}: {one.code}: {one.message} {one.fix}".rstrip() for one in stopping]
        codes = ", ".join(dict.fromkeys(one.code for one in stopping))
        raise DataError("\n".join(lines), fix=f"\nMend this, or go on in spite of it with check.ignore: [{codes}].")


def _view(prepared: Prepared, name: str) -> SplitView:
    dataset = prepared.dataset
    features, index = prepared.part(name)
    first = np.unique(np.asarray(features.group)[index], return_index=True)[1]  # the first feature of each row

    def of_row(field: str) -> Any:
        """Return a number that each of a row's features holds for the whole row."""
        if field not in features.scalar:
            return np.zeros(len(first), np.int32)
        return np.asarray(features.scalar[field][index[first]])

    def summed(values: Any) -> Any:
        return np.add.reduceat(np.asarray(values[index]), first)

    return SplitView(
        name=name,
        rows=dataset.rows(name),
        index=dataset.row_numbers(name),
        inputs=dataset.inputs,
        target=dataset.target(name),
        tokens=summed(features.total_cost),
        full_length=of_row("full_length"),
        unknown=summed(features.scalar["unknown"]) if "unknown" in features.scalar else of_row("unknown"),
        labelled=summed(features.scalar["labelled"]) if "labelled" in features.scalar else None,
        cut=of_row("cut") if "cut" in features.scalar else None,
        cut_labels=summed(features.scalar["cut_labels"]) if "cut_labels" in features.scalar else None,
    )
