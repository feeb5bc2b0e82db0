from __future__ import annotations

import copy
from typing import Any, get_origin

import annotated_types as at
import pytest
from hypothesis import given, settings
from project_strategies import BASE, block_of, edges, fields, invalid, parts_of, project_mappings, with_value
from pydantic import ValidationError

from luthier.config import Project, load_project
from luthier.config.document import Document, Place
from luthier.config.keys import key_table
from luthier.config.parsing import parse
from luthier.config.plan import Plan
from luthier.config.project import LATER_KEYS
from luthier.config.writing import yaml_text
from luthier.errors import ProjectError

FIELDS = {path: info for path, info, _ in fields()}
UNITLESS = {"seed", "data.split.seed", "train.learning_rate", "train.weight_decay", "train.epsilon", "train.clip_norm"}
UNITLESS |= {"compress.confidence", "compress.learning_rate"}
UNITLESS |= {"train.label_smoothing", "train.dropout", "evaluate.confidence", "version"}


def test_there_are_as_many_keys_as_this_test_thinks() -> None:
    assert len(FIELDS) == 104  # a walk that went blind would otherwise pass
    assert list(key_table()) == list(FIELDS)


@pytest.mark.parametrize("path", FIELDS)
def test_every_key_has_a_sentence(path: str) -> None:
    description = FIELDS[path].description
    assert description is not None
    assert description.endswith(".")
    assert description == description.strip()
    assert 15 < len(description) < 250
    assert key_table()[path].kind


@pytest.mark.parametrize("path", [path for path in FIELDS if parts_of(FIELDS[path])[0] in (int, float)])
def test_every_number_has_a_bound_and_a_unit(path: str) -> None:
    _, metadata, _ = parts_of(FIELDS[path])
    assert any(isinstance(part, at.Ge | at.Gt) for part in metadata)
    assert bool(key_table()[path].unit) is (path not in UNITLESS)


INVALID = [(path, value) for path, info in FIELDS.items() for value in invalid(path, info)]


def test_the_invalid_values_cover_every_key() -> None:
    assert {path for path, _ in INVALID} == set(FIELDS)
    assert len(INVALID) > 350


@pytest.mark.parametrize(("path", "value"), INVALID, ids=[f"{path}={value!r:.20}" for path, value in INVALID])
def test_every_invalid_value_is_refused_in_one_sentence_at_its_key(path: str, value: Any) -> None:
    with pytest.raises(ProjectError) as caught:
        load_project(with_value(path, value))
    for problem in caught.value.problems:
        assert problem.where == "project"
        assert problem.path == path or problem.path.startswith((f"{path}[", f"{path}."))
        message = problem.message
        assert message.startswith("must be ") or message.startswith('the key "')
        assert "; got " in message or message.startswith('the key "')
        assert message.endswith((".", '"?'))
        assert "valid (" not in message
        assert "another value" not in message
        assert "Input" not in message
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize("path", FIELDS)
def test_every_bound_is_itself_valid(path: str) -> None:
    for value in edges(FIELDS[path]):
        if path == "data.split.validation" and value == 0:
            continue  # only where data.validation is given
        project = with_value(path, value)
        if path == "data.split.test":
            project["data"]["split"]["validation"] = 0.05
        if path == "data.split.validation":
            project["data"]["split"]["test"] = 0.05
        assert load_project(project)


@pytest.mark.parametrize("path", [path for path, info, block in fields() if block])
def test_every_block_refuses_an_unknown_key(path: str) -> None:
    project = with_value(f"{path}.qqqqqq", 1)
    with pytest.raises(ProjectError) as caught:
        load_project(project)
    (problem,) = [problem for problem in caught.value.problems if "missing" not in problem.message]
    assert problem.path == f"{path}.qqqqqq"
    assert problem.message.startswith("unknown key. Allowed here: ")


@pytest.mark.parametrize("path", FIELDS)
def test_every_misspelt_key_is_recognised(path: str) -> None:
    *_, name = path.split(".")
    typo = name[:-2] + name[-1] + name[-2] if len(name) > 3 else name + name[-1]
    if typo == name:
        typo = name + "s"
    project = with_value(f"{path.removesuffix(name)}{typo}", 1)
    with pytest.raises(ProjectError) as caught:
        load_project(project)
    messages = [problem.message for problem in caught.value.problems if problem.path.endswith(typo)]
    assert messages == [f'unknown key. Did you mean "{name}"?']


@pytest.mark.parametrize("key", LATER_KEYS)
def test_keys_of_later_versions_are_refused_by_name(key: str) -> None:
    with pytest.raises(ProjectError, match="not in this version of Luthier"):
        load_project({**BASE, key: {}})
    assert key not in Project.model_fields


def test_a_project_cannot_be_changed() -> None:
    project = load_project(BASE)
    with pytest.raises(ValidationError, match="frozen"):
        project.seed = 3  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        project.train.epochs = 3  # type: ignore[misc]


def test_every_default_is_valid() -> None:
    project = load_project(BASE)
    assert Project.model_validate(project.model_dump()) == project


@settings(deadline=None)
@given(project_mappings())
def test_a_project_survives_being_written_and_read(written: dict[str, Any]) -> None:
    before = copy.deepcopy(written)
    project = load_project(written)
    assert written == before  # nothing is changed in place
    text = yaml_text(project.model_dump(exclude_unset=True))
    document = parse(text, "p")
    assert document.sorted_problems() == []
    again = load_project(document.value)
    assert again == project
    assert again.model_fields_set == project.model_fields_set


def test_the_strategies_reach_every_key() -> None:
    seen: set[str] = set()

    @settings(deadline=None, max_examples=300, database=None, derandomize=True)
    @given(project_mappings())
    def collect(written: dict[str, Any]) -> None:
        for path in FIELDS:
            value: Any = written
            for name in path.split("."):
                value = value.get(name) if isinstance(value, dict) else None
            if value is not None:
                seen.add(path)

    collect()
    assert seen == set(FIELDS)


def test_plans_are_described_too() -> None:
    walked = list(fields(Plan))
    for path, info, _ in walked:
        if get_origin(info.annotation) is None or block_of(info.annotation) is None:
            assert info.description, path
    assert len(walked) > 8


def test_a_document_without_places_still_names_the_source() -> None:
    document = Document(places={(): Place("somewhere")})
    assert document.place(("a", "b")).where == "somewhere"
