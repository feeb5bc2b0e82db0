from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from declared_settings import NAMES

from luthier.config import Names, load_project
from luthier.errors import ProjectError

SMALLEST = """\
version: 1
name: reviews
task: text-classification
model: sample:minilm
data:
  train: reviews.csv
"""


@pytest.fixture
def names() -> Names:
    return NAMES


@pytest.fixture
def smallest() -> str:
    return SMALLEST


@pytest.fixture
def mistakes(tmp_path: Path) -> Callable[..., list[str]]:
    """Load a project that must be refused; return its problems with the file called project.yaml."""

    def load(source: Any, *overrides: str, names: Names | None = None) -> list[str]:
        if isinstance(source, str | bytes):
            file = tmp_path / "project.yaml"
            file.write_bytes(source.encode() if isinstance(source, str) else source)
            source = file
        with pytest.raises(ProjectError) as caught:
            load_project(source, overrides=overrides, names=names)
        assert caught.value.exit_code == 2
        assert str(caught.value).splitlines() == [str(problem) for problem in caught.value.problems]
        return [str(problem).replace(f"{tmp_path}/", "") for problem in caught.value.problems]

    return load
