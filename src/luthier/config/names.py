"""The names a project may use, given by the caller: tasks and models stand below config and cannot be asked.

A table that is None is not checked.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import cache
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from luthier.config.document import Document, Path
from luthier.config.keys import key_table, nearest, or_list, walk
from luthier.config.sentences import add_errors, did_you_mean, must_be
from luthier.errors import LuthierError, ProjectError

SAMPLE = "sample:"


@dataclass(frozen=True)
class Roles:
    """The column roles of a task.

    Attributes:
        required: roles that `data.columns` must name.
        optional: roles that it may name.
        shared: roles that one column may play together; any other column plays one role.
    """

    required: tuple[str, ...]
    optional: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()


@dataclass(frozen=True)
class Names:
    """What is registered, for checking a project; None means that a kind is not checked.

    Attributes:
        tasks: settings (a frozen dataclass, or None for none) of each task.
        methods: settings of each method.
        metrics: names that `train.select_by` may take.
        baselines: names that `evaluate.baselines` may list.
        roles: the column roles of each task.
        samples: names that may follow `sample:`.
        findings: codes that `check.ignore` may list.
    """

    tasks: Mapping[str, type | None] | None = None
    methods: Mapping[str, type | None] | None = None
    metrics: Collection[str] | None = None
    baselines: Collection[str] | None = None
    roles: Mapping[str, Roles] = field(default_factory=dict)
    samples: Collection[str] | None = None
    findings: Collection[str] | None = None


@cache
def settings_model(settings: type) -> type[BaseModel]:
    """Return a strict pydantic model with the fields of a settings dataclass.

    The dataclass stays plain: bounds are `Annotated[int, annotated_types.Ge(1)]`, the sentence that describes a field
    is `field(metadata={"description": ...})`.
    """
    assert is_dataclass(settings), f"settings of {settings!r} must be a dataclass"
    hints = get_type_hints(settings, include_extras=True)
    columns: dict[str, Any] = {}
    for item in fields(settings):
        if item.default_factory is not MISSING:
            default = Field(default_factory=item.default_factory, description=item.metadata.get("description"))
        else:
            value = ... if item.default is MISSING else item.default
            default = Field(default=value, description=item.metadata.get("description"))
        columns[item.name] = (hints[item.name], default)
    config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, title=settings.__name__)
    model: type[BaseModel] = create_model(settings.__name__, __config__=config, __doc__=settings.__doc__, **columns)
    return model


def build_settings(settings: type | None, values: Mapping[str, Any], *, path: str = "settings") -> Any:
    """Return an instance of a settings dataclass, checked.

    Args:
        settings: the dataclass; None for a task or method that takes no settings.
        values: JSON-like values of its fields; the others keep their defaults.
        path: the dotted path of the settings in messages.

    Returns:
        The instance, or None where there are no settings to take.

    Raises:
        ProjectError: unknown, missing or wrong values, all of them listed.
    """
    document = Document(value=values)
    result = _settings(document, settings, values, tuple(path.split(".")))
    if document.problems:
        raise ProjectError([problem for _, problem in document.problems])
    return result


def default_settings(table: Mapping[str, type | None] | None, name: str) -> dict[str, Any]:
    """Return the defaults of a task's or method's settings as JSON-like values; empty where nothing is known."""
    settings = (table or {}).get(name)
    if settings is None:
        return {}
    model = settings_model(settings)
    optional = {
        key: info.get_default(call_default_factory=True)
        for key, info in model.model_fields.items()
        if not info.is_required()
    }
    values: dict[str, Any] = json.loads(json.dumps(optional))
    return values


def _settings(document: Document, settings: type | None, values: Mapping[str, Any], path: Path) -> Any:
    """Return the settings' instance; notes what is wrong with them in the document and returns None."""
    if settings is None:
        for key in values:
            document.add_problem((*path, key), f'unknown key. "{path[-1]}" takes no settings.')
        return None
    model = settings_model(settings)
    table = {key.path: key for key in walk(model, ".".join(map(str, path)) + ".")}
    try:  # through JSON, where a list may be a tuple and nothing else is converted
        checked = model.model_validate_json(json.dumps(values))
    except ValidationError as error:
        add_errors(document, error.errors(include_url=False), values, table, path)
        return None
    try:
        return settings(**{name: getattr(checked, name) for name in model.model_fields})
    except (ValueError, LuthierError) as error:
        document.add_problem(path, str(error))
        return None


def check_names(document: Document, names: Names) -> None:
    """Note every name in a project that is not registered, and every setting that its owner refuses."""
    project = document.value
    _check_named(document, project, "task", names.tasks)
    _check_named(document, project, "method", names.methods)
    train, evaluate, check, data = (_block(project, key) for key in ("train", "evaluate", "check", "data"))
    if train.get("select_by") is not None:
        _check_name(document, ("train", "select_by"), train["select_by"], names.metrics)
    for path, values, known in (
        (("evaluate", "baselines"), evaluate.get("baselines"), names.baselines),
        (("check", "ignore"), check.get("ignore"), names.findings),
    ):
        for position, value in enumerate(values if isinstance(values, list | tuple) else ()):
            _check_name(document, (*path, position), value, known)
    _check_sample(document, ("model",), project.get("model"), names.samples)
    _check_sample(document, ("model", "id"), _block(project, "model").get("id"), names.samples)
    for part in ("train", "validation", "test"):
        _check_sample(document, ("data", part), data.get(part), names.samples)
    _check_roles(document, project, names)


def _block(project: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = project.get(key)
    return value if isinstance(value, Mapping) else {}


def _name_in(value: Any) -> tuple[str, Mapping[str, Any]] | None:
    """Return the name and settings that a well-formed value of `task` or `method` holds."""
    if isinstance(value, str):
        return value, {}
    if isinstance(value, Mapping) and len(value) == 1:
        ((name, settings),) = value.items()
        if isinstance(name, str) and isinstance(settings, Mapping | None):
            return name, settings or {}
    return None


def _check_named(
    document: Document, project: Mapping[str, Any], key: str, table: Mapping[str, type | None] | None
) -> None:
    found = _name_in(project.get(key, key_table()[key].default))
    if table is None or found is None or not found[0]:
        return
    name, settings = found
    path: Path = (key, name) if isinstance(project.get(key), Mapping) else (key,)
    if name in table:
        _settings(document, table[name], settings, path)
    else:
        _check_name(document, path, name, table)


def _check_name(document: Document, path: Path, name: Any, known: Collection[str] | None) -> None:
    if known is None or not isinstance(name, str) or name in known:
        return
    document.add_problem(path, must_be(or_list(known), name, did_you_mean(nearest(name, known))))


def _check_sample(document: Document, path: Path, value: Any, samples: Collection[str] | None) -> None:
    if samples is None or not isinstance(value, str) or not value.startswith(SAMPLE):
        return
    name = value.removeprefix(SAMPLE)
    if name not in samples:
        meant = nearest(name, samples)
        known = or_list(f"{SAMPLE}{sample}" for sample in samples)
        document.add_problem(path, must_be(known, value, did_you_mean(meant and f"{SAMPLE}{meant}")))


def _check_roles(document: Document, project: Mapping[str, Any], names: Names) -> None:
    task = _name_in(project.get("task"))
    columns = _block(project, "data").get("columns")
    if not isinstance(columns, Mapping):
        return
    roles = None if task is None else names.roles.get(task[0])
    _check_apart(document, columns, () if roles is None else roles.shared)
    if roles is not None and task is not None:
        _check_known(document, columns, task[0], roles)


def _check_apart(document: Document, columns: Mapping[str, Any], shared: Collection[str]) -> None:
    players: dict[str, set[str]] = defaultdict(set)
    for role, column in columns.items():
        players[str(column)].add(role)
    repeated = sorted(column for column, own in players.items() if len(own) > 1 and not own <= {*shared})
    if repeated:
        got = f"{', '.join(repeated)} more than once"
        document.add_problem(("data", "columns"), must_be("a different column for each role", None, words=got))


def _check_known(document: Document, columns: Mapping[str, Any], task: str, roles: Roles) -> None:
    allowed = (*roles.required, *roles.optional)
    for role in columns:
        if role not in allowed:
            message = f"unknown role of {task}. It has {or_list(allowed)}."
            document.add_problem(("data", "columns", role), f"{message} {did_you_mean(nearest(role, allowed))}".strip())
    for role in roles.required:
        if role not in columns:
            document.add_problem(("data", "columns"), f'the role "{role}" is missing. Name the column that plays it.')
