"""Markdown from texts of strangers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence


def inline(text: str) -> str:
    """Return a text of a stranger as one line of Markdown: no markup of its own, no HTML, no end of a table's cell."""
    flat = " ".join(text.split())
    escaped = flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|#])", r"\\\1", escaped)


def code(text: str) -> str:
    """Return a text as inline code; one that code cannot hold safely (backtick, bar, line end) as plain text."""
    return inline(text) if re.search(r"[`|\r\n]", text) or text != text.strip() or not text else f"`{text}`"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table; cells must be Markdown already."""
    yield f"| {' | '.join(head)} |"
    yield f"|{'|'.join(['---'] * len(head))}|"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def fence(language: str, lines: Sequence[str]) -> list[str]:
    """Return lines of code in a fence."""
    return [f"```{language}", *lines, "```"]
