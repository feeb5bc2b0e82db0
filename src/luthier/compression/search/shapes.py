"""The sizes that a model is tried in: how many layers, how wide each is, and what its matrices are made of."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from luthier.compression.search.sparse import STORED

DEPTHS = (Fraction(2, 3), Fraction(1, 2), Fraction(1, 3))
NARROW, NARROWER = Fraction(3, 4), Fraction(1, 2)


@dataclass(frozen=True)
class Shape:
    """A size.

    Attributes:
        layers: how many.
        of: how many the whole model has.
        width: the share of heads and feed-forward units that each layer keeps.
        rank: the share of parameters that the matrices of the layers keep as products.
        sparse: which half of the matrices' numbers is zero, a key of `sparse.STORED`; empty for none.
        larger: the shape that it begins as; None for the whole model.
    """

    layers: int
    of: int
    width: Fraction = Fraction(1)
    rank: Fraction = Fraction(1)
    sparse: str = ""
    larger: Shape | None = None

    @property
    def name(self) -> str:
        """As points are named."""
        depth = [f"{self.layers} layers"] if self.layers < self.of else []
        width = [f"{self.width} as wide"] if self.width < 1 else []
        rank = [f"low rank {self.rank}"] if self.rank < 1 else []
        return ", ".join([*depth, *width, *rank, *([f"sparse {self.sparse}"] if self.sparse else [])])


def shallower(depth: int) -> list[Shape]:
    """Return the shapes with fewer layers than a depth, each begun as the one before it."""
    found: list[Shape] = []
    for number in dict.fromkeys(round(depth * share) for share in DEPTHS):
        if 0 < number < depth:
            found.append(Shape(number, depth, larger=found[-1] if found else None))
    return found


def shapes(depth: int, *, layers_may_go: bool, may_be_narrow: bool, may_be_thin: bool) -> list[Shape]:
    """Return the shapes that are tried, in that order: what loses little first.

    Args:
        depth: layers of the whole model.
        layers_may_go: whether there are shapes with fewer.
        may_be_narrow: whether there are shapes with narrower ones.
        may_be_thin: whether there are shapes with matrices of low rank.
    """
    shallow = shallower(depth) if layers_may_go else []
    last = [Shape(depth, depth, rank=NARROWER)] if may_be_thin else []
    last += [Shape(depth, depth, sparse=pattern) for pattern in STORED]
    if not may_be_narrow:
        return [*shallow, *last]
    narrow = Shape(depth, depth, NARROW)
    narrower = Shape(depth, depth, NARROWER, larger=narrow)
    both = [Shape(first.layers, depth, NARROW, larger=first) for first in shallow[:1]]
    return [narrow, *shallow[:2], *both, *shallow[2:], narrower, *last]
