"""YAML text → plain values, with the line of every key.

The rules are those of YAML 1.2's core schema whatever the file says: `no` and `2024-01-31` are text, `1e-4` is a
number, `017` is seventeen. Nothing but text, numbers, true, false, null, lists and mappings can come out. Anchors and
aliases are allowed; what they expand to is bounded, as are the file's size and depth.
"""

from __future__ import annotations

import io
import re
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any

from luthier.errors import Problem

MAX_BYTES = 256 * 1024
MAX_VALUES = 20_000
MAX_DEPTH = 40

Path = tuple[Hashable, ...]

_NULL = re.compile(r"|~|null|Null|NULL")
_TRUE = re.compile(r"true|True|TRUE")
_FALSE = re.compile(r"false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]+")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITY = re.compile(r"([-+]?)\.(inf|Inf|INF)")
_NAN = re.compile(r"\.(nan|NaN|NAN)")
_MAX_DIGITS = 400  # beyond any float; longer runs of digits stay text

_TAG = "tag:yaml.org,2002:"
_PLAIN_TAGS = {
    _TAG + kind for kind in ("str", "int", "float", "bool", "null", "timestamp", "value", "merge", "map", "seq")
}


@dataclass(frozen=True)
class Place:
    """Where a value was written: words for the user, and a rank to sort by."""

    where: str
    rank: tuple[int, ...] = ()


@dataclass
class Document:
    """What a text says.

    Attributes:
        value: the plain value; None where the text is empty or not YAML.
        places: the place of each key (and list item), by its path; `()` is the whole.
        problems: what is wrong with the text itself, each with its place.
    """

    value: Any = None
    places: dict[Path, Place] = field(default_factory=dict)
    problems: list[tuple[Place, Problem]] = field(default_factory=list)

    def place(self, path: Path) -> Place:
        """Return the place of a path, or of the nearest block around it."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places.get(path, Place(""))

    def add_problem(self, path: Path, message: str, *, place: Place | None = None) -> None:
        """Note something wrong at a path."""
        place = place or self.place(path)
        self.problems.append((place, Problem(where=place.where, path=dotted(path), message=message)))


def dotted(path: Path) -> str:
    """Return `("evaluate", "slices", 0)` as `evaluate.slices[0]`."""
    text = ""
    for key in path:
        text += f"[{key}]" if isinstance(key, int) and not isinstance(key, bool) else f".{key}" if text else str(key)
    return text


def read_scalar(text: str) -> str | int | float | bool | None:
    """Return what an unquoted scalar means under YAML 1.2's core schema."""
    if _NULL.fullmatch(text):
        return None
    if _TRUE.fullmatch(text):
        return True
    if _FALSE.fullmatch(text):
        return False
    if len(text) <= _MAX_DIGITS:
        if _INT.fullmatch(text):
            return int(text)
        if _OCTAL.fullmatch(text) or _HEXADECIMAL.fullmatch(text):
            return int(text, 0)
        if _FLOAT.fullmatch(text):
            return float(text)
    if match := _INFINITY.fullmatch(text):
        return float(f"{match[1]}inf")
    return float("nan") if _NAN.fullmatch(text) else text


def parse(text: str, source: str, *, lines: bool = True) -> Document:
    """Read YAML text; what is wrong with it is noted in the document, not raised.

    Args:
        text: the YAML text.
        source: its name in messages.
        lines: whether places carry line numbers (not for an override on the command line).
    """
    document = Document(places={(): Place(f"{source}:1" if lines else source, (0, 0))})
    if len(text.encode()) > MAX_BYTES:
        document.add_problem((), f"must be at most {MAX_BYTES // 1024} KiB; this is not a project file.")
        return document
    node = _compose(text, source if lines else None, document)
    if node is not None:
        reader = _Reader(document, source if lines else None)
        document.value = reader.value(node, (), ())
    return document


def _compose(text: str, source: str | None, document: Document) -> Any:
    """Return ruamel's tree of nodes, or None and a problem."""
    from ruamel.yaml import YAML  # heavy enough to load only when a file is read
    from ruamel.yaml.error import MarkedYAMLError
    from ruamel.yaml.reader import ReaderError

    try:
        return YAML(typ="safe", pure=True).compose(io.StringIO(text))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        opened = error.context_mark.line + 1 if error.context_mark else line
        message = _sentence(error.problem or error.context or "", line, opened)
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        message = f"not valid YAML: the character U+{ord(text[error.position]):04X} is not allowed. Remove it."
    except RecursionError:
        line, message = 1, f"must nest at most {MAX_DEPTH} levels deep."
    place = Place(f"{source}:{line}" if source else document.place(()).where, (0, line, 0))
    document.add_problem((), message, place=place)
    return None


def _sentence(problem: str, line: int, opened: int) -> str:
    """Say in plain words what YAML's parser found."""
    since = f" (opened in line {opened})" if opened != line else ""
    if "'\\t'" in problem:
        return "not valid YAML: a tab stands where only spaces may. Indent with spaces."
    if "cannot start any token" in problem:
        return f"not valid YAML: {problem}. Put the value in quotes."
    if "mapping values are not allowed" in problem:
        return 'not valid YAML: an unexpected ": " or a wrong indentation. Put a text with ": " in quotes.'
    if "could not find expected ':'" in problem:
        return 'not valid YAML: a line without ": ". Write "key: value".'
    if "expected ',' or" in problem:
        bracket = "]" if "]" in problem else "}"
        return f'not valid YAML: a list or mapping in brackets has no end{since}. Close it with "{bracket}".'
    if "unexpected end of stream" in problem:
        return f"not valid YAML: a quoted text has no end{since}. Close the quotes."
    if "another document" in problem:
        return 'must hold one YAML document; a second one starts here. Remove the line "---".'
    if "undefined alias" in problem:
        return f"not valid YAML: {problem}. Define it with & above, or put the text in quotes."
    return f"not valid YAML: {problem}{since}."


class _Reader:
    """Turns nodes into values, noting the places of keys; counts what aliases expand to."""

    def __init__(self, document: Document, source: str | None) -> None:
        self.document = document
        self.source = source
        self.count = 0

    def value(self, node: Any, path: Path, around: tuple[int, ...]) -> Any:
        self.count += 1
        if id(node) in around:
            return self.refuse(path, "must not contain itself (an alias inside its own anchor).")
        if len(around) >= MAX_DEPTH:
            return self.refuse(path, f"must nest at most {MAX_DEPTH} levels deep.")
        if self.count > MAX_VALUES:
            if self.count == MAX_VALUES + 1:
                self.refuse(path, f"must hold at most {MAX_VALUES} values once aliases are expanded.")
            return None
        if node.tag not in _PLAIN_TAGS:
            return self.refuse(path, f'must not carry the YAML tag "{node.tag}"; only plain values are read.')
        if node.id == "mapping":
            return self.mapping(node, path, (*around, id(node)))
        if node.id == "sequence":
            return self.items(node, path, (*around, id(node)))
        return node.value if node.style is not None or node.tag == f"{_TAG}str" else read_scalar(node.value)

    def mapping(self, node: Any, path: Path, around: tuple[int, ...]) -> dict[Hashable, Any]:
        result: dict[Hashable, Any] = {}
        for key_node, value_node in node.value:
            place = self.place(key_node)
            if key_node.id != "scalar":
                self.document.add_problem(path, "must have plain keys, not lists or mappings.", place=place)
                continue
            key = self.value(key_node, path, around)
            if key_node.tag == f"{_TAG}merge":
                message = 'merge keys ("<<") are not part of YAML 1.2. Write the keys out.'
                self.document.add_problem(path, message, place=place)
                continue
            if key in result:
                first = self.document.places[(*path, key)].where
                message = f"written twice, first at {first}. Keep one." if self.source else "written twice. Keep one."
                self.document.add_problem((*path, key), message, place=place)
                continue
            self.document.places[(*path, key)] = place
            result[key] = self.value(value_node, (*path, key), around)
        return result

    def items(self, node: Any, path: Path, around: tuple[int, ...]) -> list[Any]:
        result = []
        for position, item in enumerate(node.value):
            self.document.places[(*path, position)] = self.place(item)
            result.append(self.value(item, (*path, position), around))
        return result

    def place(self, node: Any) -> Place:
        mark = node.start_mark
        where = f"{self.source}:{mark.line + 1}" if self.source else self.document.place(()).where
        return Place(where, (0, mark.line + 1, mark.column))

    def refuse(self, path: Path, message: str) -> None:
        self.document.add_problem(path, message)


def sorted_problems(document: Document) -> Iterator[Problem]:
    """Give a document's problems in the order of their places."""
    for _, problem in sorted(document.problems, key=lambda pair: pair[0].rank):
        yield problem
