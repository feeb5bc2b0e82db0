"""Named parts of a text: documents of text or words, spans in characters, and the cells that hold them."""

from __future__ import annotations

import itertools
import json
import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from luthier.tasks.base import CellError

# Scripts that are written without spaces: there each character is a unit, and words are joined without a space.
_UNSPACED = "\u2e80-\u2fdf\u3005-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f"
_UNIT = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+|[^\w\s]|_")
_ENDS_UNSPACED = re.compile(rf"[{_UNSPACED}\u3000-\u303f\uff00-\uffef]")

Cell = str | list[str]
Place = tuple[int, int]


@dataclass(frozen=True, order=True)
class Span:
    """A part of a text with a label; `start` and `end` count characters."""

    start: int
    end: int
    label: str


@dataclass(frozen=True)
class Document:
    """A text, and where its words stand if it came as words.

    Attributes:
        text: the whole text.
        words: start and end of each word; None where it came as text.
    """

    text: str
    words: tuple[Place, ...] | None = None

    @cached_property
    def units(self) -> tuple[Place, ...]:
        """Start and end of what is labelled as a whole: the words, or runs of letters and digits and single signs."""
        return self.words if self.words is not None else units_of(self.text)


def units_of(text: str) -> tuple[Place, ...]:
    """Return start and end of a text's units.

    A unit is a run of letters and digits, or one sign; in scripts without spaces one character.

    >>> units_of("B-52 飞过")
    ((0, 1), (1, 2), (2, 4), (5, 6), (6, 7))
    """
    return tuple(found.span() for found in _UNIT.finditer(text))


def document_of(cell: Cell) -> Document:
    """Return the document of an input cell: text as it is, words joined by spaces, in Chinese by nothing."""
    if isinstance(cell, str):
        return Document(cell)
    text, places = "", []
    for word in cell:
        glued = not text or (_ENDS_UNSPACED.match(text[-1]) and _ENDS_UNSPACED.match(word[0]))
        start = len(text) + (0 if glued else 1)
        text += word if glued else f" {word}"
        places.append((start, len(text)))
    return Document(text, tuple(places))


def words_cell(value: Any) -> list[str] | None:
    """Return a cell's words: a list of texts, or JSON text of one; None for anything else.

    Raises:
        CellError: a word is empty.
    """
    found = parsed(value)
    if not isinstance(found, list) or not found or not all(isinstance(word, str) for word in found):
        return None
    if empty := [place for place, word in enumerate(found, start=1) if not word.strip()]:
        raise CellError(f"must hold words; word {empty[0]} is empty")
    return list(found)


def parsed(value: Any) -> Any:
    """Return what the JSON in a text says; anything that is no JSON list or object stays as it is."""
    if isinstance(value, str) and value.lstrip()[:1] in {"[", "{"}:
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def json_text(value: Any) -> str:
    """Return the one JSON text of a value."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def span_of(value: Any) -> Span:
    """Return the span in an object with start, end and label.

    Raises:
        CellError: a key is missing or holds something else; the message names it.
    """
    if not isinstance(value, Mapping) or not {"start", "end", "label"} <= value.keys():
        raise CellError(f"must hold objects with start, end and label; got {shown(value)}")
    start, end, label = value["start"], value["end"], value["label"]
    if any(isinstance(one, bool) or not isinstance(one, int) for one in (start, end)):
        raise CellError(f"must have start and end that are whole numbers; got {shown(value)}")
    if not isinstance(label, str) or not label.strip():
        raise CellError(f"must have a label that is text; got {shown(value)}")
    if not 0 <= start < end:
        raise CellError(f"must have 0 <= start < end; got {start}..{end} ({label})")
    return Span(start, end, label)


def check_inside(span: Span, text: str) -> None:
    """Raise a `CellError` where a span does not lie inside a text."""
    if span.end > len(text):
        raise CellError(
            f"has offsets outside of the text: {span.start}..{span.end} ({span.label}) in a text of {len(text)} "
            f"characters. Offsets count characters from 0, and end is one past the last"
        )


def check_apart(spans: Sequence[Span]) -> None:
    """Raise a `CellError` where two of some sorted spans overlap."""
    for one, two in itertools.pairwise(spans):
        if two.start < one.end:
            raise CellError(
                f"has overlapping spans: {one.start}..{one.end} ({one.label}) and {two.start}..{two.end} "
                f"({two.label}). Keep one of them"
            )


def overlapping(spans: Sequence[Span], place: Place) -> int | None:
    """Return which of some sorted spans has the most characters in common with a place; None without any."""
    best, most = None, 0
    last = bisect_right([span.start for span in spans], place[1] - 1)
    for number in range(last - 1, -1, -1):
        span = spans[number]
        if span.end <= place[0]:
            break
        common = min(span.end, place[1]) - max(span.start, place[0])
        if common >= most:
            best, most = number, common
    return best


def as_objects(spans: Sequence[Span]) -> list[dict[str, Any]]:
    """Return spans as JSON-like objects."""
    return [asdict(span) for span in spans]


def shown(value: Any) -> str:
    """Return the beginning of a value, for messages."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."
