"""One driver for all chaos tests: torch is imported once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.chaos.scenarios import Driver


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    with Driver(tmp_path_factory.mktemp("chaos")) as started:
        yield started
