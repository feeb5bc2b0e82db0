from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from project_strategies import fields, project_mappings
from pydantic import ValidationError

from luthier.artifacts.files import canonical_json
from luthier.config import (
    BundleStage,
    CheckStage,
    EvaluateStage,
    ModelSpec,
    Names,
    Plan,
    ReportStage,
    TrainStage,
    load_project,
    resolve,
)

BASE: dict[str, Any] = {
    "version": 1,
    "name": "a",
    "task": "text-classification",
    "model": "m",
    "data": {"train": "x.csv"},
}


def test_a_plan_is_a_list_of_stages_over_a_dict_of_tasks() -> None:
    plan = resolve(load_project({**BASE, "seed": 5, "train": {"epochs": 2}, "check": {"steps": 4}}))
    assert (plan.version, plan.name, plan.seed) == (1, "a", 5)
    assert list(plan.tasks) == ["main"]
    assert [stage.stage for stage in plan.stages] == ["check", "train", "evaluate", "bundle", "report"]
    assert all(stage.tasks == ("main",) for stage in plan.stages)
    assert plan.only(TrainStage).spec.epochs == 2
    assert plan.only(CheckStage).spec.steps == 4
    assert plan.only(EvaluateStage).spec.bins == 15
    assert plan.only(BundleStage).spec.golden_examples == 32
    assert plan.only(ReportStage).spec.language == "en"


def test_short_forms_are_opened() -> None:
    short = resolve(load_project({**BASE, "method": "full"}))
    long = resolve(
        load_project({**BASE, "task": {"text-classification": None}, "model": {"id": "m"}, "method": {"full": {}}})
    )
    assert short == long
    assert short.task().model == ModelSpec(id="m")
    assert (short.task().task, short.task().settings) == ("text-classification", {})
    assert (short.only(TrainStage).method.name, short.only(TrainStage).method.settings) == ("full", {})


def test_settings_are_kept_and_with_names_their_defaults_are_written_out(names: Names) -> None:
    project = load_project({**BASE, "method": {"adapter": {"rank": 4}}}, names=names)
    assert resolve(project).only(TrainStage).method.settings == {"rank": 4}
    assert resolve(project, names).only(TrainStage).method.settings == {
        "rank": 4,
        "alpha": 16.0,
        "where": "attention",
        "layers": [],
        "bias": False,
    }


def test_a_file_takes_the_place_of_a_split() -> None:
    data = {"train": "x.csv", "test": "y.csv", "split": {"validation": 0.3}}
    split = resolve(load_project({**BASE, "data": data})).task().data.split
    assert (split.test, split.validation) == (0, 0.3)
    split = resolve(load_project({**BASE, "data": {"train": "x.csv", "validation": "y.csv"}})).task().data.split
    assert (split.test, split.validation) == (0.2, 0)


@pytest.mark.parametrize("labels", [{0: "neg", 1: "pos"}, {True: "yes", False: "no"}, {"0": "neg", "1": "pos"}, [1, 0]])
def test_labels_keep_their_kind_and_order_through_json(labels: Any) -> None:
    plan = resolve(load_project({**BASE, "data": {"train": "x", "labels": labels}}))
    again = Plan.model_validate_json(plan.model_dump_json()).task().data.labels
    assert again == (labels if isinstance(labels, dict) else tuple(labels))
    assert [type(label) for label in again or ()] == [type(label) for label in labels]
    assert list(again or ()) == list(labels)


@settings(deadline=None)
@given(project_mappings())
@example({**BASE, "data": {"train": "x", "format": "parquet"}})
@example({**BASE, "data": {"train": "x", "test": "y", "validation": "z"}})
def test_a_plan_survives_json(written: dict[str, Any]) -> None:
    plan = resolve(load_project(written))
    assert Plan.model_validate_json(plan.model_dump_json()) == plan
    sorted_text = canonical_json(plan.model_dump(mode="json"))
    assert Plan.model_validate(json.loads(sorted_text)) == plan
    assert resolve(load_project(written)) == plan


def test_a_plan_refuses_what_is_not_one() -> None:
    plain = json.loads(resolve(load_project(BASE)).model_dump_json())
    for change in ({"version": 2}, {"stages": [{"stage": "fly"}]}, {"more": 1}, {"tasks": {}}):
        with pytest.raises(ValidationError):
            Plan.model_validate({**plain, **change})


CHANGES = {
    "name": "b",
    "task": "tagging",
    "model": "other",
    "model.id": "other",
    "data.train": "y.csv",
    "data.columns": {"text": "other"},
    "data.labels": ["x", "y"],
    "data.encoding": "latin-1",
    "method": "head",
    "train.betas": [0.5, 0.6],
    "train.device": "cpu",
    "train.class_weights": "balanced",
    "train.memory_mib": 1024.0,
    "train.early_stopping": {"patience": 3},
    "data.split.test": 0.3,
    "evaluate.confidence": 0.9,
    "compress.confidence": 0.9,
}


@pytest.mark.parametrize("path", [path for path, _, block in fields() if path != "version" and block is None])
def test_every_key_changes_the_plan(path: str) -> None:
    """Changing a key changes what is run: no key is accepted and then dropped."""
    key = next(info for name, info, _ in fields() if name == path)
    value = CHANGES.get(path, _another(key.default if not key.is_required() else None, key.annotation))
    written = copy.deepcopy(BASE)
    *blocks, name = path.split(".")
    inner: Any = written
    for block in blocks:
        if not isinstance(inner.get(block), dict):
            inner[block] = {"model": {"id": "m"}, "early_stopping": {"patience": 1}}.get(block, {})
        inner = inner[block]
    before = resolve(load_project(written))
    inner[name] = value
    assert resolve(load_project(written)) != before


def _another(default: Any, annotation: Any) -> Any:
    choices = [choice for choice in getattr(annotation, "__args__", ()) if isinstance(choice, str)]
    if choices:
        return next(choice for choice in choices if choice != default)
    if isinstance(default, bool):
        return not default
    if isinstance(default, int):
        return default + 1
    if isinstance(default, float):
        return default * 0.5 or 0.25
    if isinstance(default, tuple):
        return ["other"]
    if "str" in str(annotation) or "Text" in str(annotation):
        return ";" if default is None else f"{default}x"
    return 9 if "int" in str(annotation) else 0.25
