"""What is wrong with the quotes of a CSV record that the csv module refused, in words and with a line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from luthier.data.sources.reading import MAX_CELL

QUOTE = '"'


@dataclass(frozen=True)
class Problem:
    """Why a record was refused.

    Attributes:
        code: the repair's code when the row is left out.
        line: of the file.
        what: a sentence about the row, from its verb on.
        fix: what to do.
    """

    code: str
    line: int
    what: str
    fix: str


def explain(message: str, lines: Sequence[str], delimiter: str, first: int) -> Problem:
    """Return what is wrong with a record.

    Args:
        message: of the `csv.Error`.
        lines: of the record, with their endings.
        delimiter: between cells.
        first: number of the first line.
    """
    opened, closed, follower = _walk(lines, delimiter)
    fix = f"Close it, or double a quote that belongs to the text ({QUOTE * 2})"
    if message.startswith("field larger"):
        line = first if opened is None else first + opened
        why = "" if opened is None else "; a quote that opens here is not closed until then"
        return Problem("huge-cell", line, f"holds a cell longer than {MAX_CELL:,} characters{why}", "Shorten it")
    if closed is not None:
        where = "" if closed == opened else f" (it opened on line {first + (opened or 0)})"
        what = f"holds a closing quote{where} that {follower!r} follows instead of the delimiter"
        return Problem("stray-quote", first + closed, what, fix)
    if opened is not None:
        return Problem("unclosed-quote", first + opened, "holds a quote that opens here and is never closed", fix)
    return Problem("bad-row", first, f"is not CSV ({message})", "Mend it")


def _walk(lines: Sequence[str], delimiter: str) -> tuple[int | None, int | None, str]:
    """Return the line where the last quoted cell opened, the line where it closed wrongly, and what follows there.

    Lines are counted from 0 within the record; None where there is no such place.
    """
    opened: int | None = None
    state = "start"  # of a cell; or plain, quoted, closed
    for number, line in enumerate(lines):
        for character in line:
            if state == "quoted":
                state = "closed" if character == QUOTE else "quoted"
            elif state == "closed" and character == QUOTE:
                state = "quoted"
            elif character == delimiter or character in "\r\n":
                state, opened = "start", None
            elif state == "closed":
                return opened, number, character
            elif state == "start" and character == QUOTE:
                state, opened = "quoted", number
            else:
                state = "plain"
    return (opened, None, "") if state == "quoted" else (None, None, "")
