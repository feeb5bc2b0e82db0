"""What several packages' tests share. Being here, it also makes `tiny_bundle` importable from all of them."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a random two-layer BERT that reads the column `text`. Do not change it."""
    from tiny_bundle import make_bundle  # imports torch, which most tests do without

    return make_bundle(tmp_path_factory.mktemp("tiny"))
