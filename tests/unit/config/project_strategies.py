"""Valid and invalid values of every key, derived from the models' own types and bounds."""

from __future__ import annotations

import copy
import types
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types as at
from hypothesis import strategies as st
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from luthier.config.project import Project

BASE: dict[str, Any] = {"version": 1, "name": "a", "task": "t", "model": "m", "data": {"train": "x.csv"}}
# A key that can only be written together with others.
AROUND: dict[str, dict[str, Any]] = {
    "train.early_stopping": {"patience": 1},
    "model": {"id": "m"},
}

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
NAMED = TEXTS | st.dictionaries(
    TEXTS,
    st.none()
    | st.dictionaries(TEXTS, st.integers(-9, 9) | TEXTS | st.booleans() | st.lists(st.floats(-1, 1)), max_size=3),
    min_size=1,
    max_size=1,
)
LABELS = st.one_of(
    st.lists(TEXTS, min_size=2, max_size=4, unique=True),
    st.lists(st.integers(-5, 5), min_size=2, max_size=4, unique=True),
    st.just([True, False]),
    st.dictionaries(st.integers(-5, 5), TEXTS, min_size=2, max_size=4).filter(lambda d: len({*d.values()}) > 1),
    st.dictionaries(TEXTS, TEXTS, min_size=2, max_size=4).filter(lambda d: len({*d.values()}) > 1),
)

# Keys whose type alone does not say what is valid.
SPECIAL: Mapping[str, st.SearchStrategy[Any]] = {
    "version": st.just(1),
    "name": st.from_regex(r"[a-z0-9][a-z0-9._-]{0,63}", fullmatch=True),
    "task": NAMED,
    "method": NAMED,
    "data.columns": st.dictionaries(TEXTS, TEXTS, min_size=1, max_size=3).filter(
        lambda columns: len({*columns.values()}) == len(columns)
    ),
    "data.labels": st.none() | LABELS,
    "data.encoding": st.sampled_from(["utf-8", "latin-1", "gb18030", "UTF-16"]),
    "train.device": st.sampled_from(["auto", "cpu", "mps", "cuda", "cuda:3", "xpu:0"]),
    "train.class_weights": st.sampled_from(["none", "balanced"])
    | st.dictionaries(TEXTS, st.floats(0.1, 9), min_size=1, max_size=3),
}


def fields(
    model: type[BaseModel] = Project, prefix: str = ""
) -> Iterator[tuple[str, FieldInfo, type[BaseModel] | None]]:
    """Give every key with its field and, where it can be a block, that block's model."""
    for name, info in model.model_fields.items():
        block = block_of(info.annotation)
        yield f"{prefix}{name}", info, block
        if block is not None:
            yield from fields(block, f"{prefix}{name}.")


def block_of(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := block_of(part))), None)


def parts_of(info: FieldInfo) -> tuple[Any, list[Any], bool]:
    """Return a field's type without null, all its metadata, and whether null is allowed."""
    annotation, metadata, null = info.annotation, list(info.metadata), False
    if get_origin(annotation) in (Union, types.UnionType):
        others = [part for part in get_args(annotation) if part is not type(None)]
        null = len(others) < len(get_args(annotation))
        if len(others) == 1:
            annotation = others[0]
    while get_origin(annotation) is Annotated:
        annotation, *inner = get_args(annotation)
        metadata += inner
    for part in list(metadata):
        if isinstance(part, FieldInfo):
            metadata += part.metadata
    return annotation, metadata, null


def bound(metadata: list[Any], kind: type) -> Any:
    return next((getattr(part, kind.__name__.lower()) for part in metadata if isinstance(part, kind)), None)


def valid(path: str, info: FieldInfo) -> st.SearchStrategy[Any]:
    annotation, metadata, null = parts_of(info)
    strategy = SPECIAL[path] if path in SPECIAL else _by_type(annotation, metadata)
    return st.none() | strategy if null else strategy


def _by_type(annotation: Any, metadata: list[Any]) -> st.SearchStrategy[Any]:
    if get_origin(annotation) is Literal:
        return st.sampled_from(get_args(annotation))
    if annotation is bool:
        return st.booleans()
    if annotation is int:
        low, high = bound(metadata, at.Ge), bound(metadata, at.Le)
        return st.integers(low, 10**6 if high is None else high)
    if annotation is float:
        low = bound(metadata, at.Ge) if bound(metadata, at.Ge) is not None else bound(metadata, at.Gt)
        high = next((x for x in (bound(metadata, at.Le), bound(metadata, at.Lt)) if x is not None), 1e6)
        return st.floats(
            low, high, exclude_min=bound(metadata, at.Gt) is not None, exclude_max=bound(metadata, at.Lt) is not None
        )
    if annotation is str:
        longest = next((part.max_length for part in metadata if isinstance(part, at.MaxLen)), 12)
        return st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=longest)
    if get_origin(annotation) is tuple:
        items = get_args(annotation)
        if items[-1] is Ellipsis:
            return st.lists(TEXTS, max_size=3)
        return st.lists(st.floats(0, 1, exclude_max=True), min_size=len(items), max_size=len(items))
    raise AssertionError(f"no strategy for {annotation}")


@st.composite
def project_mappings(draw: st.DrawFn) -> dict[str, Any]:
    """Draw what a user may write: any of the keys, none of the cross rules broken."""
    project = _block(draw, Project, "")
    data = project["data"]
    split = data.get("split", {})
    for part in ("test", "validation"):
        if data.get(part) is not None:
            split.pop(part, None)
    if split.get("test", 0.2) + split.get("validation", 0.1) > 0.95:
        split.pop("validation", None)
        if "test" in split:
            split["test"] = min(split["test"], 0.5)
    if split.get("validation") == 0:
        split["validation"] = 0.1
    if data.get("format", "auto") not in ("auto", "csv"):
        data.pop("delimiter", None)
    if data.get("format") in ("parquet", "arrow"):
        data.pop("encoding", None)
    if isinstance(project["model"], dict) and project["model"]["id"].startswith(("sample:", ".", "/", "~")):
        project["model"].pop("revision", None)
    if data.get("labels") is not None and isinstance(project.get("train", {}).get("class_weights"), dict):
        del project["train"]["class_weights"]
    return project


def _block(draw: st.DrawFn, model: type[BaseModel], prefix: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, info in model.model_fields.items():
        if not info.is_required() and draw(st.booleans()):
            continue
        block = block_of(info.annotation)
        if block is None:
            values[name] = draw(valid(f"{prefix}{name}", info))
        elif name == "model" and draw(st.booleans()):
            values[name] = draw(TEXTS)
        elif name == "early_stopping" and draw(st.booleans()):
            values[name] = None
        else:
            values[name] = _block(draw, block, f"{prefix}{name}.")
    return values


def invalid(path: str, info: FieldInfo) -> list[Any]:
    """Return values just outside of a field's type and bounds."""
    annotation, metadata, null = parts_of(info)
    wrong: list[Any] = [] if null else [None]
    if block_of(info.annotation):
        return [*wrong, 3, True, [1]]
    if get_origin(annotation) is Literal:
        return [*wrong, "no such choice", 3, True, []]
    if annotation is bool:
        return [*wrong, 0, 1, "true", "yes", []]
    if annotation is int:
        return [*wrong, *_outside(metadata, 1), True, 2.5, "2", [], {}]
    if annotation is float:
        return [*wrong, *_outside(metadata, 1e-9), True, "0.5", float("nan"), float("inf"), [], {}]
    if annotation is str:
        return [*wrong, 3, True, [], {}, ""]
    if get_origin(annotation) is tuple:
        items = get_args(annotation)
        none_inside = [None] if items[-1] is Ellipsis else [None, *[0.5] * (len(items) - 1)]
        return [*wrong, 3, "text", {}, none_inside, *([] if items[-1] is Ellipsis else [[], [0.5] * (len(items) + 1)])]
    if isinstance(get_origin(annotation), type) and issubclass(get_origin(annotation), Mapping):
        return [*wrong, 3, "text", [], {}, {"text": 3}]
    return [*wrong, 3, {"a": object()}, 1.5, True]  # a short and a long form: neither


def _outside(metadata: list[Any], step: float) -> list[Any]:
    found = []
    for kind, away in ((at.Ge, -step), (at.Gt, 0), (at.Le, step), (at.Lt, 0)):
        if (limit := bound(metadata, kind)) is not None:
            found.append(limit + away)
    return found


def edges(info: FieldInfo) -> list[Any]:
    """Return the values that are just inside of a number's bounds."""
    _, metadata, _ = parts_of(info)
    return [limit for kind in (at.Ge, at.Le) if (limit := bound(metadata, kind)) is not None]


def with_value(path: str, value: Any) -> dict[str, Any]:
    """Return the smallest project with one key set."""
    project = copy.deepcopy(BASE)
    *blocks, name = path.split(".")
    inner = project
    for depth, block in enumerate(blocks):
        if not isinstance(inner.get(block), dict):
            inner[block] = dict(AROUND.get(".".join(blocks[: depth + 1]), {}))
        inner = inner[block]
    inner[name] = value
    return project
