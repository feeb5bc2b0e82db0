from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import annotated_types as at
import pytest

from luthier.config import Names, Roles, load_project
from luthier.errors import ProjectError

SMALLEST = """\
version: 1
name: reviews
task: text-classification
model: sample:minilm
data:
  train: reviews.csv
"""


@dataclass(frozen=True)
class Adapter:
    """Settings as a method would declare them."""

    rank: Annotated[int, at.Ge(1), at.Le(512)] = field(default=8, metadata={"description": "Rank of the update."})
    alpha: Annotated[float, at.Gt(0)] = 16.0
    where: Literal["attention", "all"] = "attention"
    layers: tuple[int, ...] = ()
    bias: bool = False


@dataclass(frozen=True)
class Sized:
    """Settings with one that must be given."""

    width: Annotated[int, at.Ge(1)]

    def __post_init__(self) -> None:
        if self.width % 2:
            raise ValueError(f"width must be even; got {self.width}.")


NAMES = Names(
    tasks={"text-classification": None, "tagging": Sized},
    methods={"full": None, "adapter": Adapter},
    metrics=("accuracy", "f1_macro"),
    baselines=("majority", "tfidf"),
    roles={"text-classification": Roles(required=("text", "label"), optional=("text_pair",))},
    samples=("minilm", "movie-reviews"),
    findings=("near-duplicates", "rows-cut"),
)


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
