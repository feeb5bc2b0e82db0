"""pydantic's errors → sentences a user can act on, each with the place in the project file.

One shape: `<place> <path>: must be <constraint>; got <value>. <fix>`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from pydantic_core import ErrorDetails

from luthier.config.document import Document, Path, dotted
from luthier.config.keys import Key, keys_of, nearest, or_list, suggest_key
from luthier.config.project import LATER_KEYS

LONGEST_VALUE = 60

# What pydantic calls a wrong kind of value → what it must be, where the key table does not say it better.
_KINDS: Mapping[str, str] = {
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "float_type": "a number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "list_type": "a list",
    "mapping_type": "a mapping",
    "model_type": "a block of keys",
    "string_type": "text",
    "tuple_type": "a list",
}
_BOUNDS: Mapping[str, tuple[str, str]] = {
    "greater_than": ("above", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("below", "lt"),
    "less_than_equal": ("at most", "le"),
}


def show(value: Any) -> str:
    """Return a value in the words of YAML, such as `the text "no"`, `0`, `a list` or `nothing`."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        text = value if len(value) <= LONGEST_VALUE else f"{value[: LONGEST_VALUE - 3]}..."
        return f'the text "{text}"'.replace("\n", "\\n")
    if isinstance(value, float) and not math.isfinite(value):
        return "not a number" if math.isnan(value) else "infinity" if value > 0 else "minus infinity"
    if isinstance(value, int | float):
        text = f"{value:g}" if isinstance(value, float) and value != int(value) else str(value)
        return text if len(text) <= LONGEST_VALUE else f"a number of {len(text)} digits"
    if isinstance(value, Mapping):
        return "a block of keys" if value else "an empty block"
    if isinstance(value, list | tuple):
        return "a list" if value else "an empty list"
    return f"a {type(value).__name__}"


def must_be(constraint: str, got: Any, fix: str = "", *, words: str = "") -> str:
    """Return `must be <constraint>; got <value>. <fix>`, with the value in other words if there are any."""
    return f"must be {constraint}; got {words or show(got)}.{' ' if fix else ''}{fix}"


def did_you_mean(name: str | None) -> str:
    """Return the question, or "" where there is nothing to suggest."""
    return f'Did you mean "{name}"?' if name else ""


def explain(error: ErrorDetails, value: Any, table: Mapping[str, Key], prefix: Path = ()) -> tuple[Path, str]:
    """Return the path and the message of one of pydantic's errors.

    Args:
        error: an item of `ValidationError.errors()`.
        value: what was validated.
        table: the keys that there are.
        prefix: the path at which the value stands in the project.
    """
    context = error.get("ctx", {})
    at = tuple(context.get("at", ()))
    path: Path = (*prefix, *_walked(error, value), *at)
    kind, got = error["type"], _inside(error["input"], at)
    if error["loc"][-1:] == ("[key]",):
        fix = f'Write "{show(got)}" in quotes.' if isinstance(got, int | float) else ""
        return path, must_be("a mapping whose keys are text", got, fix, words=f"the key {show(got)}")
    if kind == "missing":
        return path[:-1], _missing(path, got, table)
    if kind == "invalid_key":
        return path, must_be("a key that is text", got)
    if kind == "extra_forbidden":
        return path, unknown_key(path, table)
    return path, _value_message(kind, got, path, context, table)


def _walked(error: ErrorDetails, value: Any) -> Path:
    """Return an error's path without what pydantic adds to it, such as the member of a union that it tried."""
    path: list[Hashable] = []
    for part in error["loc"]:
        in_list = isinstance(value, list | tuple) and isinstance(part, int) and part < len(value)
        if in_list or (isinstance(value, Mapping) and part in value):
            value = value[part]
            path.append(part)
    if error["type"] == "missing":
        path.append(error["loc"][-1])
    elif error["type"] == "invalid_key":
        path = [*path, error["input"]] if error["input"] not in path else path
    return tuple(path)


def _missing(path: Path, around: Any, table: Mapping[str, Key]) -> str:
    if isinstance(around, list | tuple):
        key = table.get(dotted(path[:-1]))
        return must_be(key.kind if key else "a longer list", around)
    if path == ("version",):
        return 'the key "version" is missing. Add "version: 1", the version of this file format.'
    key = table.get(dotted(path))
    return f'the key "{path[-1]}" is missing.{f" It must be {key.kind}." if key else ""}'


def _value_message(kind: str, got: Any, path: Path, context: Mapping[str, Any], table: Mapping[str, Key]) -> str:
    key = table.get(dotted(path))
    words = key.kind if key else _KINDS.get(kind, "another value")
    if path == ("version",):
        fix = "A newer Luthier may read this file." if isinstance(got, int) and got > 1 else "Write version: 1."
        return must_be("1, the only version this Luthier reads", got, fix)
    if kind == "luthier":
        return must_be(context["must"], got, context["fix"], words=context["got"])
    if kind in _BOUNDS:
        bound, value = _BOUNDS[kind]
        return must_be(f"{bound} {_number(context[value])}", got)
    if kind == "finite_number":
        return must_be("a finite number", got)
    if kind == "literal_error":
        choices = key.choices if key else ()
        return must_be(words, got, did_you_mean(nearest(got, choices) if isinstance(got, str) else None))
    if kind in ("string_too_short", "too_short") and context["min_length"] == 1 and not got:
        return must_be("not empty" if isinstance(got, str) else f"{words}, not empty", got)
    if got is None and key and not key.required:
        return must_be(words, got, "Leave the key out to take its default.")
    return must_be(words, got, _fix(words, got, path))


def _fix(constraint: str, got: Any, path: Path) -> str:
    """Say what to write instead, where that can be told from the value."""
    if isinstance(got, str):
        if path == ("name",):
            return did_you_mean(re.sub(r"[^a-z0-9._]+", "-", got.lower()).strip("-._")[:64] or None)
        if constraint.startswith("true or false") and got.lower() in ("yes", "on", "y", "no", "off", "n"):
            return f"Write {'true' if got.lower() in ('yes', 'on', 'y') else 'false'}."
        if "number" in constraint and re.fullmatch(r"[-+]?[0-9][0-9_,]*(\.[0-9]*)?([eE][-+]?[0-9]+)?", got):
            return f"Write {re.sub('[_,]', '', got)} without quotes."
        if constraint.startswith("a list"):
            return f"Write [{got}]."
    if isinstance(got, float) and constraint.startswith("a whole number") and got.is_integer():
        return f"Write {int(got)}."
    if isinstance(got, int | float) and constraint.startswith("text"):
        return f'Write "{show(got)}" in quotes.'
    return ""


def unknown_key(path: Path, table: Mapping[str, Key]) -> str:
    """Say that a key is unknown and which one was probably meant."""
    *block, name = path
    if len(path) == 1 and name in LATER_KEYS:
        return "not in this version of Luthier. Remove it, or install a later version."
    meant = suggest_key(name, dotted(tuple(block)), table)
    if meant:
        return f"unknown key. {did_you_mean(meant)}"
    return f"unknown key. Allowed here: {or_list(keys_of(dotted(tuple(block)), table))}."


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _inside(value: Any, at: Sequence[Hashable]) -> Any:
    for key in at:
        if isinstance(value, Mapping):
            value = value.get(key)
        elif isinstance(value, list | tuple) and isinstance(key, int):
            value = value[key]
        else:
            value = getattr(value, str(key), None)
    return value


def add_errors(
    document: Document, errors: Sequence[ErrorDetails], value: Any, table: Mapping[str, Key], prefix: Path = ()
) -> None:
    """Note pydantic's errors about a value in a document, each once, at their places."""
    for path, message in dict.fromkeys(explain(error, value, table, prefix) for error in errors):
        document.add_problem(path, message)
