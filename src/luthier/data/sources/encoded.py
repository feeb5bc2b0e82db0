"""What the bytes of a text file are: the name of an encoding, signs of another one, and the place that does not fit."""

from __future__ import annotations

import codecs
import difflib
import itertools
import re
import unicodedata
from encodings.aliases import aliases
from pathlib import Path

from luthier.data.sources.reading import SKIP_HINT, Reading
from luthier.errors import DataError

SNIFFED_BYTES = 4096
SAMPLE_BYTES = 256 * 1024
PREVIEW = 30
# Undecodable bytes as `errors="surrogateescape"` leaves them in the text.
ESCAPED = re.compile("[\udc80-\udcff]")
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_BINARY = (
    (b"\x1f\x8b", "a gzip archive", "Unpack it first (gunzip)."),
    (b"PK\x03\x04", "a zip archive or an Excel workbook", "Unpack it, or save the sheet as CSV (UTF-8)."),
    (b"BZh", "a bzip2 archive", "Unpack it first (bunzip2)."),
    (b"\xfd7zXZ\x00", "an xz archive", "Unpack it first (unxz)."),
    (b"\x28\xb5\x2f\xfd", "a zstd archive", "Unpack it first (unzstd)."),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook", "Save the sheet as CSV (UTF-8)."),
    (b"PAR1", "a Parquet file", "Set data.format: parquet, or end its name in .parquet."),
    (b"ARROW1", "an Arrow file", "Set data.format: arrow, or end its name in .arrow."),
    (b"SQLite format 3\x00", "an SQLite database", "Export the table as CSV (UTF-8)."),
    (b"%PDF-", "a PDF document", "Give the rows as a CSV file."),
)
# In the order in which they are tried; the last ones fit almost any bytes.
_CANDIDATES = ("utf-8", "gb18030", "big5", "shift_jis", "euc_kr", "cp1251", "cp1252", "latin-1")


def check_encoding(name: str) -> str:
    """Return an encoding's canonical name.

    Raises:
        DataError: there is no such text encoding.
    """
    try:
        "".encode(name)
        return codecs.lookup(name).name
    except (LookupError, ValueError, TypeError):
        known = sorted({alias.replace("_", "-") for alias in [*aliases, *aliases.values()]})
        close = difflib.get_close_matches(name.lower().replace("_", "-"), known, n=1)
        hint = f'Did you mean "{close[0]}"?' if close else "Common ones are utf-8, gb18030, cp1252 and utf-16."
        raise DataError(
            f'must be the name of a text encoding; got "{name}".', where="data.encoding", fix=hint
        ) from None


def check_start(path: Path, reading: Reading, encoding: str) -> None:
    """Look at a text file's first bytes.

    Raises:
        DataError: it is empty, no text file at all, or text in UTF-16 or UTF-32 that is to be read as something else.
    """
    with path.open("rb") as stream:
        start = stream.read(SNIFFED_BYTES)
    if not start:
        raise reading.error("is empty.", fix="Give a file with a header and at least one row.")
    for magic, kind, fix in _BINARY:
        if start.startswith(magic):
            raise reading.error(f"must be a text file; it is {kind}.", fix=fix)
    if encoding.startswith(("utf-16", "utf-32")):
        return
    for mark, wide in _MARKS:
        if start.startswith(mark):
            raise reading.error(
                f"is encoded in {wide.upper()}, not in {encoding}.", fix=f'Set data.encoding: "{wide}".'
            )
    if name := _wide(start):
        raise reading.error(
            f"is encoded in {name.upper()}, not in {encoding} (every other byte is zero).",
            fix=f'Set data.encoding: "{name}".',
        )


def _wide(start: bytes) -> str | None:
    """Return which UTF-16 a text without a byte-order mark seems to be: half its bytes are zero."""
    even, odd = start[0::2].count(0), start[1::2].count(0)
    half = len(start) // 2
    if half >= 4 and odd > 0.8 * half and even == 0:
        return "utf-16-le"
    return "utf-16-be" if half >= 4 and even > 0.8 * half and odd == 0 else None


def undecodable(path: Path, reading: Reading, encoding: str) -> DataError:
    """Return the error for a file with bytes that its encoding does not have: line, byte, and what would fit."""
    try:
        with path.open(encoding=encoding, errors="surrogateescape", newline="") as stream:
            for number, line in enumerate(stream, start=1):
                if found := ESCAPED.search(line):
                    rest = itertools.chain([line], stream)
                    raw = _bytes_of(rest, encoding)
                    return _refusal(reading, encoding, number, found, line, raw)
    except UnicodeError as error:
        return reading.error(f"cannot be read as {encoding}: {error}.", fix="Set data.encoding to the right one.")
    return reading.error(f"cannot be read as {encoding}.", fix="Set data.encoding to the right one.")


def _bytes_of(lines: itertools.chain[str], encoding: str) -> list[bytes]:
    found: list[bytes] = []
    size = 0
    for line in lines:
        found.append(line.encode(encoding, "surrogateescape"))
        size += len(found[-1])
        if size > SAMPLE_BYTES:
            break
    return found


def _refusal(
    reading: Reading, encoding: str, number: int, found: re.Match[str], line: str, raw: list[bytes]
) -> DataError:
    byte = ord(found[0]) - 0xDC00
    fits = [f'{name} ("{preview}")' for name, preview in _fitting(raw, encoding)]
    fix = (
        f"Set data.encoding to the one that reads well: {' or '.join(fits)}; or {SKIP_HINT}."
        if fits
        else f"Set data.encoding to the file's encoding, or {SKIP_HINT}."
    )
    return reading.error(f"byte 0x{byte:02x} at character {found.start() + 1} is not {encoding}.", line=number, fix=fix)


def _fitting(raw: list[bytes], encoding: str) -> list[tuple[str, str]]:
    """Return at most three encodings that decode the bytes, likeliest first, and how they read the first line."""
    found = []
    for place, name in enumerate(_CANDIDATES):
        if codecs.lookup(name).name == encoding:
            continue
        try:
            text = b"".join(raw).decode(name)
            first = raw[0].decode(name)
        except UnicodeDecodeError:
            continue
        found.append((_plausible(text), -place, name, _preview(first)))
    best = max(found, default=(0.0,))[0]
    return [(name, preview) for score, _, name, preview in sorted(found, reverse=True)[:3] if score >= 0.6 * best]


def _plausible(text: str) -> float:
    """Return the share of a text's non-ASCII characters that people write: common Chinese, or letters among letters."""
    strange = [(i, c) for i, c in enumerate(text) if ord(c) > 127]
    if not strange:
        return 0.0
    return sum(_usual(text, index, character) for index, character in strange) / len(strange)


def _usual(text: str, index: int, character: str) -> bool:
    if "\u4e00" <= character <= "\u9fff" or "\u3000" <= character <= "\u30ff" or "\uff00" <= character <= "\uffef":
        try:
            character.encode("gb2312")
        except UnicodeEncodeError:
            return False
        return True
    if unicodedata.category(character)[0] == "L":
        before, after = text[index - 1 : index], text[index + 1 : index + 2]
        beside = [c for c in (before, after) if c.isalpha()]
        return bool(beside) and all(_script(c) == _script(character) for c in beside)
    return character in "\u2018\u2019\u201c\u201d\u2013\u2014\u2026\u20ac\u00a0\u00ab\u00bb\u00b0"


def _script(letter: str) -> str:
    return unicodedata.name(letter, "").split(" ")[0]


def _preview(line: str) -> str:
    start = next((i for i, c in enumerate(line) if ord(c) > 127), 0)
    cut = line[max(0, start - PREVIEW // 2) : start + PREVIEW].strip()
    return "".join(c if c.isprintable() else " " for c in cut)
