"""A registry as a caller would give it, with settings as tasks and methods declare them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

import annotated_types as at

from luthier.config import Names, Roles


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
