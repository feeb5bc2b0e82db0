"""The bundle stage: the evaluated model, its golden examples, profile, evaluation and card in one verified folder."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from luthier.artifacts.bundle import GOLDENS, MODEL, PROFILE, BundleManifest
from luthier.artifacts.check import CheckReport
from luthier.artifacts.evaluation import EvalReport
from luthier.artifacts.files import read_json, write_json_atomic
from luthier.artifacts.manifest import new_folder, seal
from luthier.config import BundleStage
from luthier.data.personal import suspects
from luthier.inference.goldens import probes, record
from luthier.inference.loading import load
from luthier.inference.predictor import Predictor
from luthier.pipeline.evaluating import scored, trained_manifest
from luthier.pipeline.prepared import Prepared
from luthier.reporting.card import model_card

PROBE_TEXTS = 200


def write_bundle(
    prepared: Prepared,
    train_folder: Path,
    evaluate_folder: Path,
    target: Path,
    check: CheckReport,
    evaluation: EvalReport,
) -> None:
    """Write a bundle and open it again as a stranger would: hashes, then golden examples.

    Args:
        prepared: the inputs.
        train_folder: holds `model/` and `entry.json`.
        evaluate_folder: holds `calibration.json`.
        target: the bundle's folder.
        check: statistics of the training rows, for the profile.
        evaluation: goes into the bundle and its card.
    """
    spec = prepared.plan.only(BundleStage).spec
    manifest = _with_calibration(trained_manifest(train_folder), read_json(evaluate_folder / "calibration.json"))
    predictor = Predictor(train_folder, manifest)
    goldens = record(predictor, _golden_inputs(prepared, spec.golden_examples))
    with new_folder(target) as folder:
        shutil.copytree(train_folder / "model", folder / MODEL)
        for adapter in manifest.adapters:
            shutil.copytree(train_folder / adapter.folder, folder / adapter.folder)
        write_json_atomic(folder / GOLDENS, {"examples": [one.model_dump(mode="json") for one in goldens]})
        write_json_atomic(folder / PROFILE, _profile(prepared, predictor, check))
        evaluation.write(folder / "evaluation.json")
        _copy_licences(prepared, folder)
        card = model_card(manifest=manifest, evaluation=evaluation, check=check, plan=prepared.plan)
        (folder / "README.md").write_text(card, encoding="utf-8")
        seal(folder, manifest.model_dump(mode="json", exclude={"files", "self"}))
    load(target)


def _with_calibration(manifest: BundleManifest, calibration: dict[str, float]) -> BundleManifest:
    entry = manifest.entry_points[0].model_copy(update={"calibration": calibration})
    return manifest.model_copy(update={"entry_points": [entry]})


def _text_of(row: Mapping[str, Any]) -> str:
    """Return a row's first cell as text; that of a list of words or texts is joined."""
    cell = next(iter(row.values()))
    return cell if isinstance(cell, str) else " ".join(map(str, cell))


def _golden_inputs(prepared: Prepared, number: int) -> list[tuple[str, dict[str, Any]]]:
    """Return validation rows without suspected personal data, spread over lengths, and texts made to feel more."""
    dataset, task = prepared.dataset, prepared.task
    features, index = prepared.part("validation")
    first = np.unique(np.asarray(features.group)[index], return_index=True)[1]  # the first feature of each row
    by_length = np.argsort(features.total_cost[index[first]], kind="stable")
    places = np.unique(np.linspace(0, len(by_length) - 1, min(len(by_length), 3 * number)).round().astype(int))
    candidates = by_length[places]
    inputs = dataset.inputs_of("validation", task)
    rows = [dict(inputs[int(position)]) for position in candidates]
    clean = np.flatnonzero(~suspects(" ".join(map(str, row.values())) for row in rows).rows).tolist()
    step = max(1, len(clean) // number)
    source, numbers = dataset.rows("validation"), dataset.row_numbers("validation")
    plain = [(source.place(int(numbers[candidates[i]])), rows[i]) for i in clean[::step][:number]]
    texts = [_text_of(rows[i]) for i in clean[:PROBE_TEXTS]] or ["text"]
    made = [(origin, task.probe(text)) for origin, text in probes(texts, prepared.max_length)]
    return plain + made


def _profile(prepared: Prepared, predictor: Predictor, check: CheckReport) -> dict[str, Any]:
    """Return what the training data and the answers on validation looked like: the reference for drift."""
    if predictor.decoding is not None:  # no labels to count, no confidence
        train = check.splits["train"].model_dump(mode="json")
        return {"schema_version": 1, "train": train, "predicted_labels": {}, "confidence_quantiles": []}
    answers = [answer.as_dict() for answer in predictor.decode(scored(prepared, predictor, "validation"))]
    labels: dict[str, int] = {}
    for answer in answers:
        for label in [answer["label"]] if "label" in answer else answer.get("labels", []):
            labels[str(label)] = labels.get(str(label), 0) + 1
    confidence = [answer["probability"] for answer in answers if "probability" in answer]
    quantiles = np.quantile(confidence, [0.05, 0.25, 0.5, 0.75, 0.95]).tolist() if confidence else []
    return {
        "schema_version": 1,
        "train": check.splits["train"].model_dump(mode="json"),
        "predicted_labels": dict(sorted(labels.items())),
        "confidence_quantiles": quantiles,
    }


def _copy_licences(prepared: Prepared, folder: Path) -> None:
    """Copy the pretrained model's licence files beside the card."""
    target = folder / "licences"
    for path in sorted(prepared.model.folder.iterdir()):
        if path.is_file() and path.name.upper().startswith(("LICENSE", "LICENCE", "NOTICE", "COPYING")):
            target.mkdir(exist_ok=True)
            shutil.copyfile(path, target / path.name)
