"""The evaluate stage: calibration on validation, then the test split, once, through the predictor that will serve."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier.artifacts.bundle import BundleManifest
from luthier.artifacts.evaluation import EvalReport
from luthier.artifacts.files import read_json, write_json_atomic
from luthier.config import EvaluateStage
from luthier.data.outputs import Outputs
from luthier.errors import DataError
from luthier.evaluation.evidence import Evidence, SplitEvidence
from luthier.evaluation.kinds import EVALUATIONS
from luthier.inference.predictor import Predictor
from luthier.pipeline.custom import custom_metrics
from luthier.pipeline.prepared import Prepared
from luthier.tasks.base import Scored

PREDICTIONS = "predictions.arrow"


def trained_manifest(train_folder: Path) -> BundleManifest:
    """Return the manifest of a trained model that is not a bundle yet."""
    return BundleManifest.model_validate(read_json(train_folder / "entry.json"))


def evaluate(
    prepared: Prepared, train_folder: Path, folder: Path, *, note_test_read: Callable[[str, int, str], None]
) -> EvalReport:
    """Evaluate a trained model.

    Leaves `folder/calibration.json` and `folder/predictions.arrow`.

    Args:
        prepared: the inputs.
        train_folder: holds `model/` and `entry.json`.
        folder: for what this stage leaves.
        note_test_read: called with (split, rows, weights' sha256) before the test split is read.
    """
    manifest = trained_manifest(train_folder)
    predictor = Predictor(train_folder, manifest)
    task, dataset = prepared.task, prepared.dataset
    validation = scored(prepared, predictor, "validation")
    calibration = task.calibrate(validation, dataset.truth("validation", task), dataset.targets)
    predictor = predictor.calibrated(calibration)
    note_test_read("test", len(dataset.target("test")), manifest.weights_sha256)
    test = scored(prepared, predictor, "test")
    evidence = gathered(prepared, predictor, validation, test, "test", baselines=baselines(prepared))
    evaluation = EVALUATIONS[task.evaluation]()
    report = evaluation.report(evidence)
    write_json_atomic(folder / "calibration.json", calibration)
    _write_predictions(folder / PREDICTIONS, evaluation.predictions(evidence), dataset.keys("test"))
    return report


def gathered(
    prepared: Prepared,
    predictor: Predictor,
    validation: Scored,
    judged: Scored,
    split: str,
    *,
    baselines: Sequence[str],
    resamples: int | None = None,
) -> Evidence:
    """Return what an evaluation is made from.

    Args:
        prepared: the inputs.
        predictor: with its calibration.
        validation: what it put out for validation rows.
        judged: what it put out for the rows that are judged.
        split: the name of their split.
        baselines: simple models to compare with.
        resamples: of the bootstrap; default as the project says.
    """
    spec = prepared.plan.only(EvaluateStage).spec
    task, dataset = prepared.task, prepared.dataset
    return Evidence(
        task=task.name,
        headline=task.headline,
        labels=task.output_labels(dataset.targets),
        targets=dataset.targets,
        calibration=predictor.entry.calibration,
        inputs=dataset.inputs,
        target=next(dataset.columns[role.name] for role in task.roles if role.target),
        train=_split(prepared, "train", scored(prepared, None, "train"), predictor),
        validation=_split(prepared, "validation", validation, predictor),
        test=_split(prepared, split, judged, predictor),
        weights_sha256=predictor.manifest.weights_sha256,
        confidence=spec.confidence,
        resamples=resamples or spec.resamples,
        seed=prepared.plan.seed,
        slices=spec.slices,
        mistakes=spec.mistakes,
        bins=spec.bins,
        answers=spec.answers,
        baselines=baselines,
        custom=custom_metrics(prepared),
        untuned=lambda: _untuned(prepared),
    )


def scored(prepared: Prepared, predictor: Predictor | None, part: str) -> Scored:
    """Return a split's features with what a predictor puts out for them; without one there are no outputs."""
    features, index = prepared.part(part)
    outputs = {} if predictor is None else predictor.outputs(features, index)
    return Scored(outputs, features, index, prepared.dataset.inputs_of(part, prepared.task))


def baselines(prepared: Prepared) -> tuple[str, ...]:
    """Return the simple models to compare with.

    Raises:
        DataError: one of `evaluate.baselines` is not for this task.
    """
    known = EVALUATIONS[prepared.task.evaluation].baselines
    asked = prepared.plan.only(EvaluateStage).spec.baselines
    wrong = [name for name in asked if name not in {"auto", *known}]
    if wrong:
        text = f"evaluate.baselines of {prepared.task.name} must be of {', '.join(known)}; got {', '.join(wrong)}."
        raise DataError(text, fix="Take it out, or write auto.")
    return tuple(dict.fromkeys(name for one in asked for name in (known if one == "auto" else (one,))))


def _untuned(prepared: Prepared) -> Outputs:
    """Return what the pretrained model puts out for the test rows."""
    from luthier.models.assembly import assemble
    from luthier.models.families import family_for
    from luthier.pipeline.training import forward

    head = prepared.task.head(prepared.dataset.targets)
    attention = family_for(prepared.model.model_type, head.kind, where=prepared.model.id).attention[-1]
    assembled = assemble(
        prepared.model,
        head,
        pooling=prepared.model_spec.pooling,
        attention=attention,
        dropout=0.0,
        seed=prepared.plan.seed,
    )
    features, index = prepared.part("test")
    return forward(assembled.model, features, index, precision="fp32")


def _split(prepared: Prepared, name: str, found: Scored, predictor: Predictor) -> SplitEvidence:
    dataset = prepared.dataset
    features, index = prepared.part(name)
    numbers = dataset.row_numbers(name)
    rows = dataset.rows(name)
    first = np.unique(found.group, return_index=True)[1]  # the first feature of each row
    tokens = np.asarray(features.scalar.get("full_length", features.total_cost))[index[first]]

    def cells(column: str, positions: NDArray[np.int64] | None) -> list[Any]:
        return dataset.cells(name, column, positions)

    def answer(positions: NDArray[np.int64]) -> list[dict[str, Any]]:
        asked = [found.inputs[int(position)] for position in positions]
        return [one.as_dict() for one in predictor.predict_cells(asked)]

    return SplitEvidence(
        name=name,
        scored=found,
        truth=dataset.truth(name, prepared.task),
        predict=lambda: predictor.decode(found),
        tokens=tokens.astype(np.int64),
        cells=cells,
        place=lambda position: rows.place(int(numbers[position])),
        answer=answer,
    )


def _write_predictions(path: Path, columns: dict[str, Any], keys: NDArray[np.uint64]) -> None:
    """Write per-row predictions with the hash of each row's inputs, by which two runs' rows are matched."""
    import pyarrow as pa

    from luthier.artifacts.files import write_bytes_atomic

    table = pa.table({"key": pa.array(keys, pa.uint64()), **columns})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    write_bytes_atomic(path, sink.getvalue().to_pybytes())
