"""The project file's JSON Schema, for editors, and its reference page, for people; both made from the models."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from luthier.config.keys import Key, key_table, walk
from luthier.config.names import SAMPLE, Names, settings_model
from luthier.config.project import LATER_KEYS, Project
from luthier.config.writing import flow

DIALECT = "https://json-schema.org/draft/2020-12/schema"

Schema = dict[str, Any]


def json_schema(names: Names | None = None) -> Schema:
    """Return the JSON Schema (draft 2020-12) of a project file.

    Args:
        names: what is registered; with it, tasks, methods, metrics, baselines and findings are listed, and the
            settings of tasks and methods are described.
    """
    schema = {"$schema": DIALECT, **Project.model_json_schema()}
    schema["title"] = "Luthier project"
    names = names or Names()
    properties, blocks = schema["properties"], schema["$defs"]
    for name, info in Project.model_fields.items():  # pydantic leaves out what the block's own docstring repeats
        properties[name].setdefault("description", info.description)
    for key, table in (("task", names.tasks), ("method", names.methods)):
        properties[key] = {**_annotations(properties[key]), **_named(table)}
    if names.tasks is not None:
        roles = {role for task in names.roles.values() for role in (*task.required, *task.optional)}
        if roles:
            blocks["DataSpec"]["properties"]["columns"]["propertyNames"] = {"enum": sorted(roles)}
    if names.samples is not None:
        _add_examples(properties["model"], names.samples)
        _add_examples(blocks["DataSpec"]["properties"]["train"], names.samples)
    _list_choices(blocks["EvaluateSpec"]["properties"]["baselines"]["items"], names.baselines)
    _list_choices(blocks["CheckSpec"]["properties"]["ignore"]["items"], names.findings)
    _list_choices(blocks["TrainSpec"]["properties"]["select_by"]["anyOf"][0], names.metrics)
    blocks["DataSpec"]["properties"]["labels"] = _labels(blocks["DataSpec"]["properties"]["labels"])
    return schema


def _annotations(schema: Schema) -> Schema:
    return {key: schema[key] for key in ("title", "description", "default") if key in schema}


def _named(table: Mapping[str, type | None] | None) -> Schema:
    """Return the schema of a name, or of one name with its settings."""
    name: Schema = {"type": "string", "minLength": 1}
    block: Schema = {"type": "object", "minProperties": 1, "maxProperties": 1}
    if table is None:
        return {"anyOf": [name, {**block, "additionalProperties": {"type": ["object", "null"]}}]}
    settings = {key: _settings(value) for key, value in table.items()}
    alone = [key for key, value in settings.items() if not value.get("required")]
    return {"anyOf": [{**name, "enum": alone}, {**block, "properties": settings, "additionalProperties": False}]}


def _settings(settings: type | None) -> Schema:
    if settings is None:
        return {"type": ["object", "null"], "maxProperties": 0}
    schema = settings_model(settings).model_json_schema()
    return schema if schema.get("required") else {**schema, "type": ["object", "null"]}


def _list_choices(schema: Schema, names: Collection[str] | None) -> None:
    if names is not None:
        schema["enum"] = list(names)


def _add_examples(schema: Schema, samples: Collection[str]) -> None:
    schema["examples"] = [f"{SAMPLE}{name}" for name in samples]


def _labels(schema: Schema) -> Schema:
    """Return the labels' schema; the keys of a JSON mapping are always text, so it says nothing about them."""
    label = {"type": ["string", "integer", "boolean"]}
    return {
        **_annotations(schema),
        "anyOf": [
            {"type": "array", "items": label, "minItems": 2, "uniqueItems": True},
            {"type": "object", "additionalProperties": {"type": "string", "minLength": 1}, "minProperties": 2},
            {"type": "null"},
        ],
    }


# --- the reference page ---------------------------------------------------------------------------------------------

_HEAD = """# The project file

<!-- Written by `luthier schema --markdown`; do not edit. -->

A project file is YAML. `luthier init DATA` writes one for your data, `luthier check PROJECT` tells what is wrong with
one, every mistake at once with its line, and `luthier schema` prints a JSON Schema that lets an editor complete it.

How it is read:

- The rules of YAML 1.2 hold: `no`, `yes` and `2024-01-31` are text, `1e-4` is a number. Nothing is converted: `"3"` is
  text and not a number, `true` is not 1. A whole number may stand where a number may.
- Unknown keys and keys that are written twice are errors. Anchors and aliases may be used, merge keys (`<<`) may not.
- The file is UTF-8, at most 256 KiB.
- A local path in `model` or `data` starts from the folder of the project file. It is local if it starts with `.`, `/`
  or `~`, ends like a data file (`.csv`, `.tsv`, `.jsonl`, `.parquet`, `.arrow` ...), or exists there; `sample:NAME`
  is a sample, anything else a Hugging Face id.
- `--set block.key=value` on the command line overrides a key; the value is read like a value in the file. Where the
  file has the short form, `--set model.max_length=64` opens it. Environment variables change nothing.
"""

_TAIL = """## Not in this version

These keys are kept for later versions and refused by name: {keys}.
"""


def reference_markdown(names: Names | None = None) -> str:
    """Return the reference page of the project file as Markdown.

    Args:
        names: what is registered; with it, the settings of each task and method get a table too.
    """
    sections = [_HEAD, _section("The top", "", Project)]
    sections += [_section(f"`{key.path}`", key.path, key.block) for key in key_table().values() if key.block]
    for kind, table in (("task", names.tasks), ("method", names.methods)) if names else ():
        sections += [_settings_section(kind, name, settings) for name, settings in (table or {}).items()]
    sections.append(_TAIL.format(keys=", ".join(f"`{key}`" for key in LATER_KEYS)))
    return "\n".join(sections)


def _section(title: str, path: str, block: type[BaseModel]) -> str:
    keys = [key for key in key_table().values() if key.path.rpartition(".")[0] == path]
    return "\n".join([f"## {title}", "", block.__doc__ or "", "", *_table(keys)]) + "\n"


def _settings_section(kind: str, name: str, settings: type | None) -> str:
    title = f"## `{kind}: {name}`\n"
    if settings is None:
        return f"{title}\nTakes no settings.\n"
    summary = (settings.__doc__ or "").partition("\n\n")[0]
    return "\n".join([title, summary, "", *_table(list(walk(settings_model(settings), f"{kind}.{name}.")))]) + "\n"


def _table(keys: list[Key]) -> Iterator[str]:
    yield "| key | value | unit | default | what it does |"
    yield "| --- | --- | --- | --- | --- |"
    for key in keys:
        name = key.path.rpartition(".")[2]
        default = "required" if key.required else "see below" if _is_block(key) else f"`{flow(key.default)}`"
        cells = (f"`{name}`", key.kind, key.unit, default, key.description)
        yield f"| {' | '.join(re.sub(r'[|]', r'&#124;', cell) for cell in cells)} |"


def _is_block(key: Key) -> bool:
    return key.block is not None and isinstance(key.default, key.block)
