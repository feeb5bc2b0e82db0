"""What a section of the report is made of. The template knows these kinds and nothing of what they show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from markupsafe import Markup


@dataclass(frozen=True)
class Cell:
    """A table's cell.

    Attributes:
        text: its content.
        small: a second, quieter text, such as an interval.
        bar: a share in [0, 1] drawn under the text; None draws none.
        strong: whether it stands out.
    """

    text: str
    small: str = ""
    bar: float | None = None
    strong: bool = False


@dataclass(frozen=True)
class Table:
    """A table that scrolls inside its own box.

    Attributes:
        head: one text per column.
        rows: cells, as many as the head has.
        title: above it.
        words: how many of the first columns hold words; the others hold figures.
        half: whether it may stand beside another part.
    """

    kind: ClassVar[str] = "table"
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    title: str = ""
    words: int = 1
    half: bool = False


@dataclass(frozen=True)
class Figure:
    """A drawing.

    Attributes:
        svg: from `charts`.
        title: above it.
        caption: below it.
        legend: (style class, name) pairs.
        table: the same numbers to read; folded away.
        natural: width in pixels of a drawing that must not shrink; None lets it fit.
        half: whether it may stand beside another part.
    """

    kind: ClassVar[str] = "figure"
    svg: Markup
    title: str
    caption: str = ""
    legend: tuple[tuple[str, str], ...] = ()
    table: Table | None = None
    natural: float | None = None
    half: bool = True


@dataclass(frozen=True)
class Prose:
    """A paragraph."""

    kind: ClassVar[str] = "prose"
    text: str
    half: bool = False


@dataclass(frozen=True)
class Advice:
    """Sentences that each point somewhere: (text, id of a section or nothing)."""

    kind: ClassVar[str] = "advice"
    items: tuple[tuple[str, str], ...]
    half: bool = True


@dataclass(frozen=True)
class Commands:
    """Commands to copy: (what for, command)."""

    kind: ClassVar[str] = "commands"
    title: str
    items: tuple[tuple[str, str], ...]
    half: bool = True


@dataclass(frozen=True)
class Shown:
    """One example row: inputs as (column, beginning, the whole if that is longer), and what was said about it."""

    place: str
    inputs: tuple[tuple[str, str, str], ...]
    target: str
    predicted: str
    probability: str


@dataclass(frozen=True)
class Examples:
    """Rows to look at; those beyond the first few are folded away under `more`."""

    kind: ClassVar[str] = "examples"
    first: tuple[Shown, ...]
    rest: tuple[Shown, ...]
    more: str
    half: bool = False


@dataclass(frozen=True)
class FindingShown:
    """A finding: severity is the class, `word` its name; `title` the name of the code."""

    severity: str
    word: str
    title: str
    code: str
    place: str
    message: str
    fix: str
    examples: str


@dataclass(frozen=True)
class Findings:
    """What the check found."""

    kind: ClassVar[str] = "findings"
    items: tuple[FindingShown, ...]
    half: bool = False


@dataclass(frozen=True)
class Facts:
    """Names with values; `long` values are shown as code."""

    kind: ClassVar[str] = "facts"
    title: str
    items: tuple[tuple[str, str], ...]
    half: bool = True


@dataclass(frozen=True)
class Code:
    """A text to read as it is, folded away."""

    kind: ClassVar[str] = "code"
    title: str
    about: str
    text: str
    half: bool = False


Part = Table | Figure | Prose | Advice | Commands | Examples | Findings | Facts | Code


@dataclass(frozen=True)
class Section:
    """A part of the page with its own heading.

    Attributes:
        id: for links.
        title: the heading.
        about: one sentence below it.
        parts: top to bottom.
    """

    id: str
    title: str
    about: str
    parts: tuple[Part, ...]


def plain_table(head: tuple[str, ...], rows: list[list[str]], *, words: int = 1) -> Table:
    """Return a table of texts, such as stands under a figure."""
    return Table(head=head, rows=tuple(tuple(Cell(text) for text in row) for row in rows), words=words)
