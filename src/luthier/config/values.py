"""The kinds of value that a project file is made of, beyond plain scalars.

Where a key takes a short and a long form, a function tells them apart by the form of what was written, so that a
mistake in one form is never reported as a mistake in the other. The tags `<text>`, `<list>` and `<block>` name the
forms; they show up in pydantic's error places and are dropped from ours.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    GetJsonSchemaHandler,
    SerializerFunctionWrapHandler,
    Strict,
    Tag,
    WrapSerializer,
)
from pydantic_core import CoreSchema, PydanticCustomError
from pydantic_core.core_schema import SerializationInfo


@dataclass(frozen=True)
class Unit:
    """What a number counts, shown in the reference page and in the JSON Schema."""

    name: str

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Add the unit to the field's JSON Schema."""
        return {**handler(schema), "unit": self.name}


@dataclass(frozen=True)
class Words:
    """What a value must be, in words, where its type alone would read badly; completes `must be ...`."""

    text: str


def wrong(must: str, *, got: str = "", fix: str = "", at: tuple[str | int, ...] = ()) -> PydanticCustomError:
    """Return an error of ours for pydantic to collect.

    Args:
        must: what the value must be; completes the sentence `<path> must be ...`.
        got: what it is, where the value itself would not say.
        fix: a sentence that says what to do.
        at: keys below the validated value that the error is about.
    """
    return PydanticCustomError("luthier", "must be {must}", {"must": must, "got": got, "fix": fix, "at": at})


class Block(BaseModel):
    """A block of keys: frozen, no unknown keys, no conversions, no infinities."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


Text = Annotated[str, Field(min_length=1)]
Texts = Annotated[tuple[Text, ...], Strict(False)]
Decay = Annotated[float, Field(ge=0, lt=1)]


# --- a name with settings -------------------------------------------------------------------------------------------


def _named_kind(value: Any) -> str | None:
    return "<text>" if isinstance(value, str) else "<block>" if isinstance(value, Mapping) else None


def _one_name(value: Mapping[str, Any]) -> Mapping[str, Any]:
    if len(value) != 1:
        names = ", ".join(value) if value else "none"
        raise wrong("exactly one name with its settings", got=f"{len(value)} ({names})", fix="Keep one.")
    ((name, settings),) = value.items()
    if settings is None:
        return value
    if not isinstance(settings, Mapping):
        raise wrong("a block of settings", at=(name,))
    _json_like(settings, (name,))
    return value


def _json_like(value: Any, at: tuple[str | int, ...]) -> None:
    """Refuse, with its place, anything in settings that JSON cannot hold."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                raise wrong("a block whose keys are text", fix=f'Write "{key}" in quotes.', at=at)
            _json_like(item, (*at, key))
    elif isinstance(value, list | tuple):
        for position, item in enumerate(value):
            _json_like(item, (*at, position))
    elif isinstance(value, float) and not math.isfinite(value):
        raise wrong("a finite number", at=at)
    elif value is not None and not isinstance(value, str | int | float):
        raise wrong("text, a number, true, false, null, a list or a block", at=at)


Named = Annotated[
    Annotated[str, Field(min_length=1), Tag("<text>")]
    | Annotated[Mapping[str, Any], AfterValidator(_one_name), Tag("<block>")],
    Discriminator(_named_kind),
    Words("a name, or one name with a block of settings"),
]


def split_named(value: str | Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the name and the settings of a valid `Named`."""
    if isinstance(value, str):
        return value, {}
    ((name, settings),) = value.items()
    return name, dict(settings or {})


# --- labels ---------------------------------------------------------------------------------------------------------


def _label_value(value: Any) -> Any:
    if not isinstance(value, str | int):  # a bool is an int
        raise wrong("text, a whole number, true or false")
    return value


LabelValue = Annotated[str | int | bool, BeforeValidator(_label_value)]


def _labels_kind(value: Any) -> str | None:
    return "<list>" if isinstance(value, list | tuple) else "<block>" if isinstance(value, Mapping) else None


def _pairs_as_mapping(value: Any) -> Any:
    """Read the JSON form of a mapping, `[[value, name], ...]`: JSON's own keys would turn 0 and true into text."""
    if isinstance(value, list | tuple) and value and all(map(_is_pair, value)):
        return dict(value)
    return value


def _is_pair(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and isinstance(value[0], str | int)


def _mapping_as_pairs(value: Any, handler: SerializerFunctionWrapHandler, info: SerializationInfo) -> Any:
    if info.mode == "json" and isinstance(value, Mapping):
        return [[key, name] for key, name in value.items()]
    return handler(value)


def label_name(label: str | int | bool) -> str:
    """Return a label as it is shown and written in reports: `true` for True, `0` for 0."""
    return str(label).lower() if isinstance(label, bool) else str(label)


def labels_fit(value: Any) -> Any:
    """Refuse labels that are of mixed kinds (1, true and "1" would be confused), repeated, or fewer than two."""
    if value is None:
        return value
    kinds = sorted({type(label).__name__ for label in value})
    if len(kinds) > 1:
        raise wrong("labels of one kind (all text, all whole numbers, or all true and false)", got="a mixture")
    repeated = sorted({str(label) for label in value if list(value).count(label) > 1})
    if repeated:
        raise wrong("labels that all differ", got=f"{', '.join(repeated)} more than once")
    if len(set(value.values() if isinstance(value, Mapping) else value)) < 2:
        raise wrong("at least 2 different labels", got="fewer")
    return value


Labels = Annotated[
    Annotated[tuple[LabelValue, ...], Strict(False), Tag("<list>")]
    | Annotated[Mapping[LabelValue, Text], Tag("<block>")],
    Discriminator(_labels_kind),
    BeforeValidator(_pairs_as_mapping),
    WrapSerializer(_mapping_as_pairs),
    Words("a list of labels, or a mapping from label to name"),
]


ClassWeights = Annotated[
    Annotated[Literal["none", "balanced"], Tag("<text>")]
    | Annotated[Mapping[str, Annotated[float, Field(gt=0)]], Field(min_length=1), Tag("<block>")],
    Discriminator(_named_kind),
    Words("none, balanced, or a mapping from label to weight"),
]
