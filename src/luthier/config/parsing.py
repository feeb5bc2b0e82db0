"""YAML text → plain values, with the line of every key.

The rules are those of YAML 1.2's core schema whatever the file says: `no` and `2024-01-31` are text, `1e-4` is a
number, `017` is seventeen. Nothing but text, numbers, true, false, null, lists and mappings can come out. Anchors and
aliases are allowed; what they expand to is bounded, as are the file's size and depth.
"""

from __future__ import annotations

import io
import re
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Any

from luthier.config.document import Document, Path, Place

MAX_BYTES = 256 * 1024
MAX_VALUES = 20_000
MAX_DEPTH = 40

_NULL = re.compile(r"|~|null|Null|NULL")
_TRUE = re.compile(r"true|True|TRUE")
_FALSE = re.compile(r"false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]+")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITY = re.compile(r"([-+]?)\.(inf|Inf|INF)")
_NAN = re.compile(r"\.(nan|NaN|NAN)")
_MAX_DIGITS = 40  # no key takes a longer number; longer runs of digits stay text

_TAG = "tag:yaml.org,2002:"
_PLAIN_TAGS = {"!"} | {_TAG + kind for kind in ("str", "int", "float", "bool", "null", "map", "seq")}


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
    from ruamel.yaml import YAML  # heavy enough to load only when a file is read
    from ruamel.yaml.error import MarkedYAMLError
    from ruamel.yaml.reader import ReaderError

    document = Document(places={(): Place(f"{source}:1" if lines else source, (0, 0))})
    try:
        node = _read_document(YAML(typ="safe", pure=True).parse(io.StringIO(text)))
        if node is not None:
            document.value = _Reader(document, source if lines else None).value(node, ())
        return document
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        opened = error.context_mark.line + 1 if error.context_mark else line
        message = _sentence(error.problem or error.context or "", line, opened)
        line = opened if "could not find expected ':'" in str(error.problem) else line  # the line without one
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        message = f"not valid YAML: the character U+{ord(text[error.position]):04X} is not allowed. Remove it."
    except _RefusedError as error:
        line, message = error.line, error.message
    place = Place(f"{source}:{line}" if lines else source, (0, line, 0))
    document.add_problem((), message, place=place)
    return document


@dataclass(frozen=True, eq=False)
class _Node:
    """A value as it is written: a scalar's text, a list's items, or a mapping's pairs."""

    kind: str  # "scalar", "list" or "mapping"
    line: int
    column: int
    tag: str | None  # as written, if any is
    plain: bool  # a scalar without quotes
    text: str
    items: tuple[_Node, ...]  # of a list; of a mapping, its keys and values in turn


class _RefusedError(Exception):
    """The text cannot be read on: it nests too deeply, is too large, or names something undefined."""

    def __init__(self, line: int, message: str) -> None:
        self.line, self.message = line, message


def _read_document(events: Iterator[Any]) -> _Node | None:
    """Return the one document of a stream of YAML events; None where it is empty."""
    root: _Node | None = None
    documents = 0
    anchors: dict[str, _Node] = {}
    for event in events:
        kind = type(event).__name__
        if kind == "DocumentStartEvent":
            documents += 1
            if documents > 1:
                line = event.start_mark.line + 1
                raise _RefusedError(line, 'must hold one YAML document; a second starts here. Remove the "---".')
        elif not kind.startswith(("Stream", "Document")):
            root = _read_node(event, events, anchors, 0)
    return root


def _read_node(event: Any, events: Iterator[Any], anchors: dict[str, _Node], depth: int) -> _Node:
    """Return the node that starts with an event, taking the rest of it from the stream."""
    kind, mark = type(event).__name__, event.start_mark
    if depth > MAX_DEPTH:
        raise _RefusedError(mark.line + 1, f"must nest at most {MAX_DEPTH} levels deep.")
    if kind == "AliasEvent":
        if event.anchor not in anchors:
            message = f'not valid YAML: nothing above carries the anchor "&{event.anchor}". Quote a text with "*".'
            raise _RefusedError(mark.line + 1, message)
        return anchors[event.anchor]
    inside = []
    if kind != "ScalarEvent":
        while not type(inner := next(events)).__name__.endswith("EndEvent"):
            inside.append(_read_node(inner, events, anchors, depth + 1))
    node = _Node(
        kind={"ScalarEvent": "scalar", "SequenceStartEvent": "list", "MappingStartEvent": "mapping"}[kind],
        line=mark.line + 1,
        column=mark.column,
        tag=None if event.tag is None else str(event.tag),
        plain=kind == "ScalarEvent" and event.style is None,
        text=event.value if kind == "ScalarEvent" else "",
        items=tuple(inside),
    )
    if event.anchor is not None:
        anchors[event.anchor] = node
    return node


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
    return f"not valid YAML: {problem}{since}."


class _Reader:
    """Turns nodes into values, noting the places of keys; counts what aliases expand to."""

    def __init__(self, document: Document, source: str | None) -> None:
        self.document = document
        self.source = source
        self.count = 0

    def value(self, node: _Node, path: Path) -> Any:
        self.count += 1
        if self.count > MAX_VALUES:
            raise _RefusedError(node.line, f"must hold at most {MAX_VALUES} values, aliases counted as often as used.")
        if node.tag is not None and node.tag not in _PLAIN_TAGS:
            self.document.add_problem(path, f'must not carry the YAML tag "{node.tag}". Write a plain value.')
            return None
        if node.kind == "mapping":
            return self.mapping(node, path)
        if node.kind == "list":
            return self.items(node, path)
        return self.scalar(node)

    def scalar(self, node: _Node) -> Any:
        return read_scalar(node.text) if node.plain and node.tag not in ("!", f"{_TAG}str") else node.text

    def mapping(self, node: _Node, path: Path) -> dict[Hashable, Any]:
        result: dict[Hashable, Any] = {}
        for key_node, value_node in zip(node.items[::2], node.items[1::2], strict=True):
            place = self.place(key_node)
            key = self.scalar(key_node) if key_node.kind == "scalar" else None
            if not isinstance(key, str | int):
                what = f'"{key_node.text}"' if key_node.kind == "scalar" else f"a {key_node.kind}"
                self.refuse(path, f"must have keys that are text; got the key {what}. Put it in quotes.", place)
            elif key == "<<" and key_node.plain:
                self.refuse(path, 'merge keys ("<<") are not part of YAML 1.2. Write the keys out.', place)
            elif key in result:
                first = f", first at {self.document.places[(*path, key)].where}" if self.source else ""
                self.refuse((*path, key), f"written twice{first}. Keep one.", place)
            else:
                self.document.places[(*path, key)] = place
                result[key] = self.value(value_node, (*path, key))
        return result

    def items(self, node: _Node, path: Path) -> list[Any]:
        result = []
        for position, item in enumerate(node.items):
            self.document.places[(*path, position)] = self.place(item)
            result.append(self.value(item, (*path, position)))
        return result

    def place(self, node: _Node) -> Place:
        where = f"{self.source}:{node.line}" if self.source else self.document.place(()).where
        return Place(where, (0, node.line, node.column))

    def refuse(self, path: Path, message: str, place: Place) -> None:
        self.document.add_problem(path, message, place=place)
