"""What the tests of sources share: a folder with a file in it, read with a cache of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from luthier.data.rows import Rows
from luthier.data.sources import read

Reader = Callable[..., Rows]


@contextmanager
def reader(folder: Path) -> Iterator[Reader]:
    """Give a function that writes a file into a folder and reads it."""

    def read_file(name: str, content: bytes | str, **options: Any) -> Rows:
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return read(name, folder=folder, cache=folder / "cache", **options)

    yield read_file


@contextmanager
def throwaway_reader() -> Iterator[Reader]:
    """Give the same in a folder of its own, for tests that run many examples."""
    with TemporaryDirectory() as folder, reader(Path(folder)) as read_file:
        yield read_file
