"""A tagger that knows only the names of the training rows: what a trained one must beat to be worth its keep."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from luthier.tasks.entities import Document, Span


class KnownNames:
    """Marks every occurrence of a training entity: the longest match from left to right, its most frequent label.

    A match begins and ends where a word does (in Chinese: anywhere). Of labels equally frequent the first by alphabet.

    Args:
        rows: training documents with their spans.
    """

    def __init__(self, rows: Iterable[tuple[Document, Sequence[Span]]]) -> None:
        counts: dict[str, Counter[str]] = {}
        for document, spans in rows:
            for span in spans:
                counts.setdefault(document.text[span.start : span.end], Counter())[span.label] += 1
        self._label = {name: min(own, key=lambda one: (-own[one], one)) for name, own in counts.items()}
        self._lengths = sorted({len(name) for name in self._label}, reverse=True)

    def find(self, document: Document) -> list[Span]:
        """Return the spans of the known names in a document."""
        ends = {end for _, end in document.units}
        found: list[Span] = []
        free = 0
        for start, _ in document.units:
            if start < free:
                continue
            span = self._longest(document.text, start, ends)
            if span is not None:
                found.append(span)
                free = span.end
        return found

    def _longest(self, text: str, start: int, ends: set[int]) -> Span | None:
        for length in self._lengths:
            end = start + length
            if end in ends and (label := self._label.get(text[start:end])) is not None:
                return Span(start, end, label)
        return None
