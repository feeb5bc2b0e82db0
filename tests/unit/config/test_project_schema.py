from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from project_strategies import fields, invalid, project_mappings, with_value

from luthier.config import Names, load_project
from luthier.config.keys import key_table
from luthier.config.project import LATER_KEYS
from luthier.config.schema import json_schema, reference_markdown
from luthier.errors import ProjectError


def validator(names: Names | None = None) -> Any:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json_schema(names)
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@cache
def plain_validator() -> Any:
    return validator()


def as_json(value: Any) -> Any:
    """Return a project as a JSON document would hold it: keys are text."""
    if isinstance(value, dict):
        return {str(key): as_json(item) for key, item in value.items()}
    return [as_json(item) for item in value] if isinstance(value, list) else value


def test_every_key_is_in_the_schema_with_its_sentence() -> None:
    schema = json_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    for key in key_table().values():
        block = schema
        *blocks, name = key.path.split(".")
        for part in blocks:
            block = _follow(schema, block["properties"][part])
        found = block["properties"][name]
        assert found["description"] == key.description
        assert (name in block.get("required", [])) is key.required
        assert block["additionalProperties"] is False
        if key.unit:
            assert f"'unit': {key.unit!r}" in str(found)


def _follow(schema: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    for option in [part, *part.get("anyOf", []), *part.get("oneOf", [])]:
        if "$ref" in option:
            found: dict[str, Any] = schema["$defs"][option["$ref"].rpartition("/")[2]]
            return found
    raise AssertionError(f"no block in {part}")


@settings(deadline=None, max_examples=50)
@given(project_mappings())
def test_the_schema_accepts_what_the_loader_accepts(written: dict[str, Any]) -> None:
    load_project(written)
    assert [error.message for error in plain_validator().iter_errors(as_json(written))] == []


def test_the_schema_refuses_what_the_loader_refuses() -> None:
    check = validator()
    beyond = {"data.encoding", "version"}  # a codec's name, and true == 1, are beyond JSON Schema
    wrong = [
        (path, value)
        for path, info, _ in fields()
        for value in invalid(path, info)
        if path not in beyond and value == value and value != float("inf") and "object" not in str(value)
    ]
    assert len(wrong) > 300
    accepted = []
    for path, value in wrong:
        if isinstance(value, float) and value.is_integer():
            continue  # 2.0 is an integer to JSON Schema
        if check.is_valid(as_json(with_value(path, value))):
            accepted.append((path, value))
    assert accepted == []


def test_names_are_listed_and_settings_described(names: Names) -> None:
    check = validator(names)
    base = {"version": 1, "name": "a", "task": "text-classification", "model": "m", "data": {"train": "x"}}
    good = [
        base,
        {**base, "method": "adapter"},
        {**base, "method": {"adapter": {"rank": 4}}},
        {**base, "method": {"adapter": None}},
        {**base, "task": {"tagging": {"width": 2}}},
        {**base, "train": {"select_by": "accuracy"}},
        {**base, "train": {"select_by": None}},
        {**base, "data": {"train": "x", "columns": {"text": "a", "label": "b"}}},
    ]
    bad = [
        {**base, "method": "lora"},
        {**base, "method": {"adapter": {"rank": 0}}},
        {**base, "method": {"adapter": {"rnk": 1}}},
        {**base, "method": {"full": {"x": 1}}},
        {**base, "method": {"full": {}, "adapter": {}}},
        {**base, "task": "tagging"},  # its width must be given
        {**base, "task": {"tagging": None}},
        {**base, "train": {"select_by": "acuracy"}},
        {**base, "evaluate": {"baselines": ["x"]}},
        {**base, "check": {"ignore": ["x"]}},
        {**base, "data": {"train": "x", "columns": {"txt": "a"}}},
    ]
    assert [check.is_valid(project) for project in good] == [True] * len(good)
    assert [check.is_valid(project) for project in bad] == [False] * len(bad)
    for project in bad:
        with pytest.raises(ProjectError):
            load_project(project, names=names)


def test_a_schema_with_names_leaves_the_plain_one_alone(names: Names) -> None:
    before = json_schema()
    json_schema(names)
    assert json_schema() == before


def test_the_reference_page_tells_every_key() -> None:
    page = reference_markdown()
    for key in key_table().values():
        assert key.description.replace("|", "&#124;") in page
        if key.block:
            assert f"## `{key.path}`" in page
    for key in LATER_KEYS:
        assert f"`{key}`" in page.rpartition("## Not in this version")[2]
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert len(rows) == len(key_table())
    assert {line.count(" | ") for line in rows} == {4}


def test_the_reference_page_can_describe_settings(names: Names) -> None:
    page = reference_markdown(names)
    assert "## `method: adapter`\n\nSettings as a method would declare them.\n" in page
    assert "| `rank` | a whole number, at least 1 and at most 512 |  | `8` | Rank of the update. |" in page
    assert "## `method: full`\n\nTakes no settings.\n" in page
