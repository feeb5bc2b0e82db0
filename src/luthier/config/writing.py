"""Plain values → YAML text that every YAML reader understands alike.

Texts that YAML 1.1 would turn into something else (`no`, `1:30`, `2024-01-31`) are put in quotes, floats always carry
a point, so that a file written here means the same to tools that are older than YAML 1.2.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from luthier.config.parsing import read_scalar

INDENT = "  "

_PLAIN = re.compile(r"[A-Za-z_./][A-Za-z0-9_./+-]*(:[A-Za-z0-9_./+-]+)*")
_OLD_BOOLEANS = {"y", "n", "yes", "no", "on", "off"}
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def scalar(value: str | int | float | bool | None) -> str:
    """Return a scalar as YAML; a text that could be read as anything else is quoted.

    Raises:
        ValueError: the number is not finite.
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"a number in a project must be finite; got {value}")
        text = repr(value)
        return text.replace("e", ".0e") if "e" in text and "." not in text else text
    if _PLAIN.fullmatch(value) and read_scalar(value) == value and value.lower() not in _OLD_BOOLEANS:
        return value
    return f'"{"".join(map(_escaped, value))}"'


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable() and character != "\ufeff":
        return character
    return f"\\U{ord(character):08x}"


def flow(value: Any) -> str:
    """Return a value on one line."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{scalar(key)}: {flow(item)}' for key, item in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(flow, value))}]"
    return scalar(value)


def block(value: Mapping[Any, Any], depth: int = 0) -> Iterable[str]:
    """Give the lines of a mapping, one key per line; lists stay on one line."""
    for key, item in value.items():
        head = f"{INDENT * depth}{scalar(key)}:"
        if isinstance(item, Mapping) and item:
            yield head
            yield from block(item, depth + 1)
        else:
            yield f"{head} {flow(item)}"


def yaml_text(value: Mapping[Any, Any]) -> str:
    """Return a mapping of plain values (such as `project.model_dump(exclude_unset=True)`) as YAML text."""
    return "\n".join(block(value)) + "\n"
