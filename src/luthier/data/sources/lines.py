"""The lines of a text file: decoded strictly, and numbered as an editor numbers them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from luthier.data.sources.encoded import check_encoding, check_start, undecodable
from luthier.data.sources.reading import MAX_CELL, Reading

MAX_LINE = 4 * MAX_CELL
MARK = "\ufeff"


class Lines:
    """Lines with their endings; ends are `\\n`, `\\r\\n` and a lone `\\r`.

    Attributes:
        number: of the line handed out last, from 1.
        last: that line.
        since: the lines handed out since `mark`.
        characters: how many characters were handed out in all.
        nul: number of the first line since `mark` that holds a NUL.
    """

    def __init__(self, stream: TextIO, reading: Reading) -> None:
        self._stream = stream
        self._reading = reading
        self._again: deque[str] = deque()
        self.number = 0
        self.last = ""
        self.since: list[str] = []
        self.characters = 0
        self.nul: int | None = None

    def __iter__(self) -> Iterator[str]:
        while line := self._again.popleft() if self._again else self._stream.readline(MAX_LINE):
            self.number += 1
            if self.number == 1 and line[0] == MARK:
                line = line[1:]
                self._reading.repair("byte-order-mark", "the byte-order mark was taken off", line=1)
            if len(line) >= MAX_LINE:
                raise self._reading.error(
                    f"a line must be shorter than {MAX_LINE:,} characters.",
                    line=self.number,
                    fix="Check that this is a text file with one row per line.",
                )
            if "\0" in line and self.nul is None:
                self.nul = self.number
            self.last = line
            self.characters += len(line)
            self.since.append(line)
            yield line

    def mark(self) -> None:
        """Forget the lines handed out so far."""
        self.since.clear()
        self.nul = None

    def push_back(self, lines: Sequence[str]) -> None:
        """Take back the lines handed out last, to hand them out again."""
        self._again.extendleft(reversed(lines))
        self.number -= len(lines)
        self.mark()


@contextmanager
def open_lines(path: Path, reading: Reading) -> Iterator[Lines]:
    """Open a text file.

    Bytes that the encoding does not have are an error; under `data.bad_rows: skip` they come as lone surrogates, and
    whoever makes cells leaves those rows out.

    Raises:
        DataError: the encoding is unknown, the bytes do not fit it, or this is no text file.
    """
    encoding = check_encoding(reading.options.encoding)
    check_start(path, reading, encoding)
    errors = "surrogateescape" if reading.options.skip else "strict"
    with path.open(encoding=encoding, errors=errors, newline="") as stream:
        try:
            yield Lines(stream, reading)
        except UnicodeDecodeError:
            raise undecodable(path, reading, encoding) from None
        except UnicodeError as error:  # UTF-16 without a byte-order mark
            raise reading.error(f"cannot be read as {encoding}: {error}.", fix="Set data.encoding.") from None
