from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from source_files import Reader, reader


@pytest.fixture
def read_file(tmp_path: Path) -> Iterator[Reader]:
    """Give a function that writes a file and reads it."""
    with reader(tmp_path) as read_file:
        yield read_file
