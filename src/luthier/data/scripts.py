"""Which writing systems texts are in, and characters that hint at a broken file.

Every code point has a class: a script (Latin, Han, ...), common (digits, punctuation, symbols, spaces), or a warning
sign (replacement character, control character, private use). The table is of Unicode blocks, coarse but enough to
notice that the test split holds Arabic and the training split none. Mojibake is UTF-8 that someone read as Latin-1 or
Windows-1252, such as `cafÃ©`. Covered: that one mix-up. Not covered: other encodings read as one another, such as GBK
read as Latin-1.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice

import numpy as np
from numpy.typing import NDArray

TEXTS_AT_ONCE = 2_000
KEPT_ROWS = 5  # rows named per finding

# Script: ranges of code points, first and last. What no range holds is common, or "Other" if Unicode calls it a letter.
_RANGES: dict[str, tuple[tuple[int, int], ...]] = {
    "Latin": (
        (0x41, 0x5A), (0x61, 0x7A), (0xAA, 0xAA), (0xBA, 0xBA), (0xC0, 0xD6), (0xD8, 0xF6), (0xF8, 0x2AF),
        (0x1D00, 0x1D25), (0x1D2C, 0x1D5C), (0x1D62, 0x1D65), (0x1D6B, 0x1D77), (0x1D79, 0x1DBE), (0x1E00, 0x1EFF),
        (0x2C60, 0x2C7F), (0xA722, 0xA787), (0xA78B, 0xA7FF), (0xAB30, 0xAB5A), (0xFB00, 0xFB06), (0xFF21, 0xFF3A),
        (0xFF41, 0xFF5A),
    ),
    "Greek": ((0x370, 0x373), (0x376, 0x37D), (0x37F, 0x37F), (0x386, 0x386), (0x388, 0x3E1), (0x3F0, 0x3FF),
              (0x1F00, 0x1FFE)),
    "Cyrillic": ((0x400, 0x52F), (0x1C80, 0x1C8F), (0x2DE0, 0x2DFF), (0xA640, 0xA69F)),
    "Armenian": ((0x531, 0x58A), (0xFB13, 0xFB17)),
    "Hebrew": ((0x591, 0x5F4), (0xFB1D, 0xFB4F)),
    "Arabic": ((0x610, 0x61A), (0x61C, 0x6FF), (0x750, 0x77F), (0x870, 0x8FF), (0xFB50, 0xFDFF), (0xFE70, 0xFEFC)),
    "Syriac": ((0x700, 0x74F), (0x860, 0x86A)),
    "Thaana": ((0x780, 0x7B1),),
    "Devanagari": ((0x900, 0x963), (0x966, 0x97F), (0xA8E0, 0xA8FF)),
    "Bengali": ((0x980, 0x9FE),),
    "Gurmukhi": ((0xA01, 0xA76),),
    "Gujarati": ((0xA81, 0xAFF),),
    "Oriya": ((0xB01, 0xB77),),
    "Tamil": ((0xB82, 0xBFA),),
    "Telugu": ((0xC00, 0xC7F),),
    "Kannada": ((0xC80, 0xCF3),),
    "Malayalam": ((0xD00, 0xD7F),),
    "Sinhala": ((0xD81, 0xDF4),),
    "Thai": ((0xE01, 0xE3A), (0xE40, 0xE5B)),
    "Lao": ((0xE81, 0xEDF),),
    "Tibetan": ((0xF00, 0xFDA),),
    "Myanmar": ((0x1000, 0x109F), (0xA9E0, 0xA9FE), (0xAA60, 0xAA7F)),
    "Georgian": ((0x10A0, 0x10FF), (0x1C90, 0x1CBF), (0x2D00, 0x2D2D)),
    "Ethiopic": ((0x1200, 0x1399), (0x2D80, 0x2DDE), (0xAB01, 0xAB2E)),
    "Cherokee": ((0x13A0, 0x13FD), (0xAB70, 0xABBF)),
    "Khmer": ((0x1780, 0x17F9), (0x19E0, 0x19FF)),
    "Mongolian": ((0x1810, 0x18AA),),
    "Hangul": ((0x1100, 0x11FF), (0x3131, 0x318E), (0xA960, 0xA97C), (0xAC00, 0xD7FB), (0xFFA0, 0xFFDC)),
    "Hiragana": ((0x3041, 0x3096), (0x309D, 0x309F)),
    "Katakana": ((0x30A1, 0x30FA), (0x30FD, 0x30FF), (0x31F0, 0x31FF), (0xFF66, 0xFF6F), (0xFF71, 0xFF9D)),
    "Bopomofo": ((0x3105, 0x312F), (0x31A0, 0x31BF)),
    "Han": (
        (0x2E80, 0x2FD5), (0x3005, 0x3005), (0x3007, 0x3007), (0x3021, 0x3029), (0x3038, 0x303B), (0x3400, 0x4DBF),
        (0x4E00, 0x9FFF), (0xF900, 0xFAD9), (0x20000, 0x323AF),
    ),
    "Yi": ((0xA000, 0xA4C6),),
}  # fmt: skip

COMMON, OTHER = "Common", "Other"
_SIGNS: dict[str, tuple[tuple[int, int], ...]] = {
    "replacement": ((0xFFFD, 0xFFFD),),
    "control": ((0x00, 0x08), (0x0B, 0x0C), (0x0E, 0x1F), (0x7F, 0x84), (0x86, 0x9F)),
    "private use": ((0xE000, 0xF8FF), (0xF0000, 0xFFFFD), (0x100000, 0x10FFFD)),
}
SCRIPTS = (*_RANGES, OTHER)
SIGNS = (*_SIGNS, "mojibake")
_CLASSES = (COMMON, *SCRIPTS, *_SIGNS)


@lru_cache(maxsize=1)
def _table() -> NDArray[np.uint8]:
    """Return the class of every code point, 1.1 MB; made once, in a tenth of a second."""
    table = np.zeros(0x110000, dtype=np.uint8)
    every = np.arange(0x110000, dtype="<u4").tobytes().decode("utf-32-le", "surrogatepass")
    table[np.fromiter(map(str.isalpha, every), dtype=bool, count=len(every))] = _CLASSES.index(OTHER)
    for name, ranges in (_RANGES | _SIGNS).items():
        for first, last in ranges:
            table[first : last + 1] = _CLASSES.index(name)
    return table


def script_of(character: str) -> str:
    """Return the script of one character: a name of `SCRIPTS`, "Common", or a warning sign of `SIGNS`."""
    return _CLASSES[int(_table()[ord(character)])]


@dataclass
class ScriptProfile:
    """What the texts of a split are written in.

    Attributes:
        rows: how many texts.
        letters: by script, how many letters; scripts without any are left out.
        rows_with: by script, in how many texts it occurs.
        rows_mainly: by script, in how many texts no script has more letters.
        signs: by warning sign, in how many texts it occurs.
        sign_rows: by warning sign, the first few of those texts.
    """

    rows: int = 0
    letters: dict[str, int] = field(default_factory=dict)
    rows_with: dict[str, int] = field(default_factory=dict)
    rows_mainly: dict[str, int] = field(default_factory=dict)
    signs: dict[str, int] = field(default_factory=dict)
    sign_rows: dict[str, list[int]] = field(default_factory=dict)

    def shares(self) -> dict[str, float]:
        """Return each script's share of all letters, the largest first."""
        total = sum(self.letters.values())
        ordered = sorted(self.letters.items(), key=lambda item: (-item[1], item[0]))
        return {script: count / total for script, count in ordered}


def profile(texts: Iterable[str]) -> ScriptProfile:
    """Count scripts and warning signs over texts, in one pass and flat memory."""
    result = ScriptProfile()
    for block in _blocks(texts):
        _add(result, block, _class_counts(block))
    return result


def unseen(training: ScriptProfile, other: ScriptProfile) -> dict[str, int]:
    """Return the scripts that another split holds and training lacks, with the rows of that split that hold them."""
    return {script: rows for script, rows in other.rows_with.items() if script not in training.rows_with}


def _blocks(texts: Iterable[str]) -> Iterator[list[str]]:
    stream = iter(texts)
    while block := list(islice(stream, TEXTS_AT_ONCE)):
        yield block


def _class_counts(texts: list[str]) -> NDArray[np.int64]:
    """Count the characters of each class in each text, (texts, classes)."""
    points = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), dtype="<u4")
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    cells = np.repeat(np.arange(len(texts)) * len(_CLASSES), lengths) + _table()[points]
    return np.bincount(cells, minlength=len(texts) * len(_CLASSES)).reshape(len(texts), len(_CLASSES))


def _add(result: ScriptProfile, texts: list[str], counts: NDArray[np.int64]) -> None:
    """Add a block of texts and their class counts to a profile."""
    scripts = counts[:, 1 : 1 + len(SCRIPTS)]
    main = np.bincount(scripts.argmax(axis=1)[scripts.any(axis=1)], minlength=len(SCRIPTS))
    _increase(result.letters, dict(zip(SCRIPTS, scripts.sum(axis=0).tolist(), strict=True)))
    _increase(result.rows_with, dict(zip(SCRIPTS, (scripts > 0).sum(axis=0).tolist(), strict=True)))
    _increase(result.rows_mainly, dict(zip(SCRIPTS, main.tolist(), strict=True)))
    signs = {name: np.flatnonzero(counts[:, 1 + len(SCRIPTS) + place]) for place, name in enumerate(_SIGNS)}
    signs["mojibake"] = np.flatnonzero([is_mojibake(text) for text in texts])
    _increase(result.signs, {name: len(rows) for name, rows in signs.items()})
    for name, rows in signs.items():
        kept = result.sign_rows.get(name, [])
        if len(rows) and len(kept) < KEPT_ROWS:
            result.sign_rows[name] = (kept + (rows + result.rows).tolist())[:KEPT_ROWS]
    result.rows += len(texts)


def _increase(totals: dict[str, int], more: Mapping[str, int]) -> None:
    for name, count in more.items():
        if count:
            totals[name] = totals.get(name, 0) + count


# What Windows-1252 shows for the bytes 0x80 to 0x9F, and the same bytes as Latin-1 has them.
_HIGH = bytes(byte for byte in range(0x80, 0xA0) if byte not in (0x81, 0x8D, 0x8F, 0x90, 0x9D)).decode("cp1252")
# What people do put after an accented letter (`Spaß”`, `café »`, `kříž`), so that it proves little.
_USUAL = "\u00a0«»…‘’“”–—‚„‹›ŠšŽžŒœŸªº"
_ODD = "".join(sorted({*_HIGH, *map(chr, range(0x80, 0xC0))} - set(_USUAL)))
_MOJIBAKE = re.compile(
    f"[ÂÃÄÅ][{_ODD}]|(?<![A-ZÀ-Þ])[ÂÃ][{_USUAL}]|(?<=[a-z])[ÄÅ][{_USUAL}]"  # two bytes: accented Latin
    f"|(?:[ÎÏÐÑ×ØÙ][{_ODD + _USUAL}]){{2}}"  # Greek, Cyrillic, Hebrew, Arabic: never one letter alone
    f"|â€[{_ODD + _USUAL}]"  # three bytes: quotation marks and dashes
    f"|[à-ï](?:[{_ODD}][{_ODD + _USUAL}]|[{_USUAL}][{_ODD}])"  # Indic, Thai, Chinese, Japanese, Korean
    f"|ðŸ[{_ODD + _USUAL}]{{2}}"  # four bytes: emoji
)


def is_mojibake(text: str) -> bool:
    """Return whether a text holds UTF-8 that was read as Latin-1 or Windows-1252, such as `cafÃ©`."""
    return not text.isascii() and _MOJIBAKE.search(text) is not None
