"""A first look at somebody's data: which column is the text, which the label, and how the file is written."""

from __future__ import annotations

import csv
import io
import itertools
import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from luthier.data.rows import Rows
from luthier.data.sources import read
from luthier.data.sources.delimited import DELIMITERS, LIKELY_DELIMITERS, delimiter_name
from luthier.data.sources.lines import MARK
from luthier.data.sources.locate import Place, locate
from luthier.errors import DataError

ROWS = 10_000
SNIFFED_RECORDS = 200
SNIFFED_CHARACTERS = 256 * 1024
MAX_LABELS = 100
LONGEST_LABEL = 60
# fmt: off
_LABEL_NAMES = frozenset((
    "label", "labels", "class", "category", "sentiment", "target", "y", "intent", "topic", "tag", "emotion", "polarity",
    "type", "genre", "类别", "标签", "分类", "类型", "情感", "意图", "主题",
))
_TEXT_NAMES = frozenset((
    "text", "texts", "sentence", "content", "review", "question", "comment", "body", "message", "tweet", "utterance",
    "document", "query", "description", "文本", "内容", "评论", "句子", "问题", "正文", "留言", "描述",
))
# fmt: on
_WRITE_BY_HAND = "Name them under data.columns: {text: COLUMN, label: COLUMN} in a project file."
_CHINESE = re.compile("[\u4e00-\u9fff]")


@dataclass(frozen=True)
class Guess:
    """What a table seems to be.

    Attributes:
        columns: `{text: column, label: column}`.
        labels: the label values that were seen, numbers by value and texts alphabetically.
        rows: how many rows were looked at.
        notes: why, in plain sentences, and what was odd.
        format: how the source is written, such as `csv`.
        delimiter: to write under `data.delimiter`; None where the format's own is right.
    """

    columns: Mapping[str, str]
    labels: tuple[str, ...]
    rows: int
    notes: tuple[str, ...]
    format: str
    delimiter: str | None = None
    bad_rows: bool = False


@dataclass
class _Profile:
    """What the values of a column look like."""

    name: str
    counts: Counter[Any] = field(default_factory=Counter)
    present: int = 0
    characters: int = 0
    texts: int = 0
    spaced: int = 0
    unfit: int = 0

    def add(self, value: Any) -> None:
        if value is None or value == "":
            return
        self.present += 1
        cell = _as_label(value)
        if cell is None:
            self.unfit += 1
            return
        self.counts[cell] += 1
        self.characters += len(cell)
        if isinstance(value, str):
            self.texts += 1
            self.spaced += " " in value.strip() or bool(_CHINESE.search(value))

    @property
    def mean_length(self) -> float:
        return self.characters / max(1, self.present)

    def in_words(self) -> str:
        """Return the column in a few words, for messages."""
        if not self.present:
            return f'"{self.name}" (empty)'
        if self.unfit:
            return f'"{self.name}" (fractions, dates or lists)'
        example = next(iter(self.counts))
        shown = example if len(example) <= 40 else f"{example[:37]}..."
        many = "one value" if len(self.counts) == 1 else f"{len(self.counts):,} different values, such as"
        return f'"{self.name}" ({many} "{shown}")'


def infer(source: str | os.PathLike[str], *, folder: Path, cache: Path | None = None) -> Guess:
    """Return which columns of a source seem to be the text and the label, from its first 10,000 rows.

    Args:
        source: a file, sample or data set, as in `sources.read`.
        folder: what relative paths start from.
        cache: where rows are kept.

    Raises:
        DataError: the source cannot be read, or no columns look like a text and its label; says what was seen.
    """
    name = os.fspath(source)
    place = locate(name, folder, "auto")
    delimiter = _sniff(place)
    rows, notes = _first_rows(name, folder, delimiter, cache)
    profiles = _profiles(rows)
    text = _choose_text(profiles, rows)
    label, others = _choose_label(profiles, text, rows)
    _refuse_headerless(text, label, rows)
    labels = tuple(sorted(label.counts, key=_natural))
    empty = 2 * len(rows) - text.present - label.present
    bad = bool(notes) or empty > 0
    if empty:
        notes.append(f"{empty:,} cells of the two columns are empty; their rows are left out (data.bad_rows: skip).")
    if delimiter is not None:
        notes.insert(0, f"The cells are kept apart by {delimiter_name(delimiter)}.")
    notes += [_why_text(text), _why_label(label, labels)]
    notes += [f"The label could also be {other.in_words()}." for other in others[:3]]
    notes += [f"{message} It cannot be used as it is." for _, message in rows.mixed]
    if len(rows) == ROWS:
        notes.append(f"Only the first {ROWS:,} rows were looked at; there may be more labels.")
    columns = {"text": text.name, "label": label.name}
    return Guess(columns, labels, len(rows), tuple(notes), place.format, delimiter, bad)


def _first_rows(name: str, folder: Path, delimiter: str | None, cache: Path | None) -> tuple[Rows, list[str]]:
    """Return the first rows; where some are bad, the others, and the complaint as a note."""
    try:
        return read(name, folder=folder, delimiter=delimiter, limit=ROWS, cache=cache), []
    except DataError as error:
        complaint = error
    try:
        rows = read(name, folder=folder, delimiter=delimiter, limit=ROWS, cache=cache, bad_rows="skip")
    except DataError:
        raise complaint from None
    if sum(repair.count for repair in rows.repairs) > 0.1 * len(rows):
        raise complaint
    return rows, [str(complaint)]


def _profiles(rows: Rows) -> list[_Profile]:
    mixed = {name for name, _ in rows.mixed}
    profiles = [_Profile(name) for name in rows.columns if name not in mixed]
    for block in rows.blocks([profile.name for profile in profiles]):
        for profile in profiles:
            for value in block[profile.name]:
                profile.add(value)
    return profiles


def _as_label(value: Any) -> str | None:
    """Return a value as a label's text, None where it can be none."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value) if isinstance(value, (str, int)) else None


def _natural(cell: str) -> tuple[int, float, str]:
    try:
        return (0, float(cell), cell)
    except ValueError:
        return (1, 0.0, cell)


def _choose_text(profiles: Sequence[_Profile], rows: Rows) -> _Profile:
    """Return the column with the longest varied texts; a name such as "text" counts five times."""
    scored = [(_text_score(profile), profile) for profile in profiles]
    score, best = max(scored, key=lambda pair: pair[0], default=(0.0, None))
    if best is None or score <= 0:
        seen = ", ".join(profile.in_words() for profile in profiles) or "none that can be used"
        raise DataError(
            f"must have a column of texts; the columns of its first {len(rows):,} rows are {seen}.",
            where=rows.source,
            fix=_WRITE_BY_HAND,
        )
    return best


def _text_score(profile: _Profile) -> float:
    if profile.texts < 0.5 * max(1, profile.present) or len(profile.counts) < 2:
        return 0.0
    named = _named(profile.name, _TEXT_NAMES)
    # Codes, links and dates have no spaces, and a label has few values: neither is a text unless its name says so.
    wordy = profile.spaced / profile.texts
    varied = len(profile.counts) / profile.present
    if not named and (_named(profile.name, _LABEL_NAMES) or wordy < 0.3 or profile.mean_length < 4):
        return 0.0
    return profile.mean_length * varied * (0.1 + wordy) * (1 + 4 * named)


def _choose_label(profiles: Sequence[_Profile], text: _Profile, rows: Rows) -> tuple[_Profile, list[_Profile]]:
    """Return the column with few values, by name first, then the fewest, then the last; and the other candidates."""
    fitting = [profile for profile in profiles if profile is not text and _fits_label(profile)]
    if not fitting:
        others = [profile.in_words() for profile in profiles if profile is not text]
        raise DataError(
            f'must have a label column with at least two values that repeat; beside the text "{text.name}", '
            f"its first {len(rows):,} rows have {', '.join(others) or 'no other column'}.",
            where=rows.source,
            fix=_WRITE_BY_HAND,
        )
    ranked = sorted(
        enumerate(fitting),
        key=lambda pair: (-_named(pair[1].name, _LABEL_NAMES), math.log2(len(pair[1].counts)), -pair[0]),
    )
    best, *others_ranked = [profile for _, profile in ranked]
    return best, others_ranked


def _fits_label(profile: _Profile) -> bool:
    values = len(profile.counts)
    if profile.unfit or values < 2 or profile.mean_length > LONGEST_LABEL:
        return False
    if _named(profile.name, _LABEL_NAMES):
        return values <= profile.present / 2 or values == 2
    return values <= max(2, min(MAX_LABELS, profile.present // 5))


def _named(column: str, names: Set[str]) -> float:
    """Return 1 for a column that has one of the names, 0.5 where a word of it is one, else 0."""
    name = column.strip().lower()
    if name in names:
        return 1.0
    words = re.split(r"[\s_\-.]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", column.strip()).lower())
    chinese = any(_CHINESE.match(known) and known in name for known in names)
    return 0.5 if chinese or names & set(words) else 0.0


def _refuse_headerless(text: _Profile, label: _Profile, rows: Rows) -> None:
    """Refuse a table whose first line is a row: the label column's name is one of its values."""
    if label.name.strip() in label.counts and not _named(text.name, _TEXT_NAMES):
        raise DataError(
            f'must begin with a header; its first line looks like a row ("{label.name}" is also a label).',
            where=f"{rows.source}:1",
            fix='Write the names of the columns, such as "text,label", above it.',
        )


def _why_text(text: _Profile) -> str:
    why = f"{len(text.counts):,} of {text.present:,} values differ, {text.mean_length:.0f} characters on average"
    return f'The text is taken from the column "{text.name}": {why}.'


def _why_label(label: _Profile, labels: Sequence[str]) -> str:
    shown = ", ".join(f'"{value}" ({label.counts[value]:,})' for value in labels[:10])
    more = f" and {len(labels) - 10} more" if len(labels) > 10 else ""
    return f'The label is taken from the column "{label.name}": {len(labels)} values, {shown}{more}.'


def _sniff(place: Place) -> str | None:
    """Return the delimiter of a CSV file, None where the format's own is right or none is better."""
    usual = DELIMITERS.get(place.format)
    if usual is None:
        return None
    with place.target.open(encoding="utf-8", errors="replace", newline="") as stream:
        text = stream.read(SNIFFED_CHARACTERS).removeprefix(MARK)
    best, best_score = usual, 0.0
    for delimiter in dict.fromkeys((usual, *LIKELY_DELIMITERS)):
        try:
            score = _fit(io.StringIO(text, newline=""), delimiter)
        except csv.Error:
            continue
        if score > best_score + 0.05:  # on a tie the format's own stays
            best, best_score = delimiter, score
    return None if best == usual else best


def _fit(lines: Iterable[str], delimiter: str) -> float:
    """Return the share of records with as many cells as the first one; 0 where that is one cell."""
    records = itertools.islice((cells for cells in csv.reader(lines, delimiter=delimiter) if cells), SNIFFED_RECORDS)
    widths = Counter(len(cells) for cells in records)
    first = next(iter(widths), 0)
    return widths[first] / widths.total() if first > 1 else 0.0
