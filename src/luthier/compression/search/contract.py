"""What a compressed model may lose and must reach, and which of several points keeps that.

References: for the choice among points, the Pareto front: those that no other point beats in one respect without being
worse in another.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Prefer = Literal["speed", "size"]
EPSILON = 1e-9


@dataclass(frozen=True)
class Contract:
    """Limits; None stands for no limit.

    Attributes:
        max_drop: points of the headline metric that may be lost, on average over the rows (a point is a hundredth).
        confidence: where set, not the mean but its one-sided upper bound must keep `max_drop`.
        max_flips: share of the rows, 0 to 1, whose answer may change.
        max_calibration_drift: points by which the calibration error may rise.
        max_slice_drop: points that a slice of the rows may lose.
        rows_per_second: at least so many in batches, end to end.
        p95_ms: at most, for one request at a time.
        mib: at most, of all files of the bundle.
        prefer: what is sought among points that keep all of it.
    """

    max_drop: float = 0.5
    confidence: float | None = None
    max_flips: float | None = None
    max_calibration_drift: float | None = None
    max_slice_drop: float | None = None
    rows_per_second: float | None = None
    p95_ms: float | None = None
    mib: float | None = None
    prefer: Prefer = "speed"


@dataclass(frozen=True)
class Loss:
    """What a point's answers are worth beside those of the model that it was made of, on the same rows.

    Attributes:
        rows: how many were compared.
        drop: points of the headline metric that are lost; negative where it is better.
        bound: one-sided upper bound of that by a paired bootstrap; None where it is undefined.
        confidence: of the bound.
        flips: share of the rows whose answer changed, numbers aside; None where answers are numbers alone.
        divergence: mean distance of the numbers in the answers, such as probabilities.
        calibration_drift: points by which the calibration error rose; None where there is none.
        slice_drop: points that the worst slice lost; None without slices.
        worst_slice: its name.
    """

    rows: int
    drop: float
    bound: float | None
    confidence: float
    flips: float | None
    divergence: float
    calibration_drift: float | None = None
    slice_drop: float | None = None
    worst_slice: str | None = None


@dataclass(frozen=True)
class Rate:
    """How fast a point answers, measured in turns with the model that it was made of.

    Attributes:
        rows_per_second: in batches, from cells to answers.
        ratio: that over the other model's.
        p50_ms: of one request at a time.
        p95_ms: of one request at a time.
    """

    rows_per_second: float
    ratio: float
    p50_ms: float
    p95_ms: float


@dataclass(frozen=True)
class Point:
    """One way to run the model, measured.

    Attributes:
        name: the moves that made it.
        runtime: what runs it.
        precision: what it computes with.
        bytes: of all files of its bundle.
        loss: on validation rows.
        rate: on this processor.
        seconds: to make and measure it.
    """

    name: str
    runtime: str
    precision: str
    bytes: int
    loss: Loss
    rate: Rate
    seconds: float

    @property
    def mib(self) -> float:
        """Size of the bundle."""
        return self.bytes / 2**20

    def as_dict(self) -> dict[str, Any]:
        """Return JSON-like values."""
        return asdict(self)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Point:
        """Return the point that `as_dict` wrote."""
        return cls(**{**values, "loss": Loss(**values["loss"]), "rate": Rate(**values["rate"])})


@dataclass(frozen=True)
class Miss:
    """A limit that a point does not keep.

    Attributes:
        key: of the contract.
        limit: as written.
        value: the point's.
        excess: how far it is off, as a share of the limit.
    """

    key: str
    limit: float
    value: float
    excess: float

    def __str__(self) -> str:
        return f"{self.key} {self.value:.4g} (asked for {self.limit:g})"


def quality_misses(contract: Contract, loss: Loss) -> list[Miss]:
    """Return the limits on quality that a loss does not keep."""
    dropped = loss.drop if contract.confidence is None else loss.bound
    found = [
        _above("max_drop", contract.max_drop, math.inf if dropped is None else dropped),
        _above("max_flips", contract.max_flips, loss.flips),
        _above("max_calibration_drift", contract.max_calibration_drift, loss.calibration_drift),
        _above("max_slice_drop", contract.max_slice_drop, loss.slice_drop),
    ]
    return [miss for miss in found if miss is not None]


def misses(contract: Contract, point: Point) -> list[Miss]:
    """Return the limits that a point does not keep, on validation rows and this processor."""
    found = [
        *quality_misses(contract, point.loss),
        _above("p95_ms", contract.p95_ms, point.rate.p95_ms),
        _above("mib", contract.mib, point.mib),
    ]
    wanted = contract.rows_per_second
    if wanted is not None and point.rate.rows_per_second < wanted:
        short = wanted / max(point.rate.rows_per_second, EPSILON) - 1
        found.append(Miss("rows_per_second", wanted, point.rate.rows_per_second, short))
    return [miss for miss in found if miss is not None]


def _above(key: str, limit: float | None, value: float | None) -> Miss | None:
    """Return the miss of a value above a limit; a value that is not defined misses nothing."""
    if limit is None or value is None or value <= limit + EPSILON:
        return None
    return Miss(key, limit, value, (value - limit) / max(abs(limit), 0.1))


def front(points: Sequence[Point]) -> list[Point]:
    """Return the points that no other beats: as fast, as small and as good in every respect, better in one.

    Quality is the mean drop of the headline metric, and no better than not at all: a gain on a few rows is luck.
    """

    def axes(point: Point) -> tuple[float, float, float]:
        return -point.rate.ratio, float(point.bytes), max(0.0, point.loss.drop)

    def beaten(point: Point) -> bool:
        own = axes(point)
        others = [axes(other) for other in points if other is not point]
        return any(all(a <= b for a, b in zip(other, own, strict=True)) and other != own for other in others)

    return [point for point in points if not beaten(point)]


def best(contract: Contract, points: Sequence[Point]) -> Point | None:
    """Return the fastest (or smallest) point that keeps a contract; of equals the one with fewest changed answers."""
    kept = [point for point in points if not misses(contract, point)]
    if not kept:
        return None
    sought = (lambda p: -p.rate.ratio) if contract.prefer == "speed" else (lambda p: float(p.bytes))
    return min(kept, key=lambda point: (sought(point), point.loss.flips or 0.0, point.loss.divergence))


def nearest(contract: Contract, points: Sequence[Point]) -> tuple[Point, list[Miss]] | None:
    """Return the point that misses a contract by least (the sum of the excesses), with what it misses."""
    missing = [(point, misses(contract, point)) for point in points]
    return min(missing, key=lambda pair: sum(miss.excess for miss in pair[1]), default=None)


def rows_needed(loss: Loss, max_drop: float) -> int | None:
    """Return how many rows it would take until the bound keeps a drop, if the mean stays; None where it never would.

    The distance of the bound from the mean shrinks with the square root of the number of rows.
    """
    if loss.bound is None or loss.drop >= max_drop:
        return None
    return math.ceil(loss.rows * ((loss.bound - loss.drop) / (max_drop - loss.drop)) ** 2)
