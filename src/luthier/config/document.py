"""A project as it was written: plain values, the place of every key, and what is wrong so far."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

from luthier.errors import Problem

Path = tuple[Hashable, ...]


@dataclass(frozen=True)
class Place:
    """Where a value was written: words for the user, and a rank to sort by."""

    where: str
    rank: tuple[int, ...] = ()


@dataclass
class Document:
    """What a text says.

    Attributes:
        value: the plain value; None where the text is empty or not YAML.
        places: the place of each key (and list item), by its path; `()` is the whole.
        problems: what is wrong with the text itself, each with its place.
    """

    value: Any = None
    places: dict[Path, Place] = field(default_factory=dict)
    problems: list[tuple[Place, Problem]] = field(default_factory=list)

    def place(self, path: Path) -> Place:
        """Return the place of a path, or of the nearest block around it."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places.get(path, Place(""))

    def add_problem(self, path: Path, message: str, *, place: Place | None = None) -> None:
        """Note something wrong at a path."""
        place = place or self.place(path)
        self.problems.append((place, Problem(where=place.where, path=dotted(path), message=message)))

    def sorted_problems(self) -> list[Problem]:
        """Return the problems in the order of their places."""
        return [problem for _, problem in sorted(self.problems, key=lambda pair: pair[0].rank)]


def dotted(path: Path) -> str:
    """Return `("evaluate", "slices", 0)` as `evaluate.slices[0]`."""
    text = ""
    for key in path:
        name = str(key).lower() if isinstance(key, bool) else str(key)
        text += f"[{name}]" if isinstance(key, int) else f".{name}" if text else name
    return text
