"""Limits, the front, the choice, the nearest miss."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.compression.search.contract import (
    Contract,
    Loss,
    Point,
    Rate,
    best,
    front,
    misses,
    nearest,
    quality_misses,
    rows_needed,
)


def point(name: str, ratio: float, size: int = 100, drop: float = 0.0, **loss: float) -> Point:
    lost = Loss(rows=1000, drop=drop, bound=drop + 1.0, confidence=0.95, flips=0.01, divergence=0.0)
    rate = Rate(rows_per_second=100 * ratio, ratio=ratio, p50_ms=5 / ratio, p95_ms=10 / ratio)
    return Point(name, "torch", "fp32", size * 2**20, replace(lost, **loss), rate, 1.0)


POINTS = [
    point("whole", 1.0),
    point("fast", 3.0, size=50, drop=0.4),
    point("slower and larger", 2.0, size=60, drop=0.6),
    point("tiny", 8.0, size=20, drop=4.0),
    point("lucky", 1.5, size=100, drop=-0.5),
]


def test_the_front_holds_what_no_other_beats() -> None:
    assert [one.name for one in front(POINTS)] == ["fast", "tiny", "lucky"]


@given(
    st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(-2, 5)), min_size=1, max_size=12, unique=True)
)
def test_everything_beside_the_front_is_beaten_by_a_point_on_it(drawn: list[tuple[int, int, int]]) -> None:
    points = [point(str(number), ratio, size, drop) for number, (ratio, size, drop) in enumerate(drawn)]
    ahead = front(points)
    assert ahead
    for one in points:
        beaten = [
            other
            for other in ahead
            if other.rate.ratio >= one.rate.ratio
            and other.bytes <= one.bytes
            and max(0, other.loss.drop) <= max(0, one.loss.drop)
        ]
        assert beaten
        assert one in ahead or any(other is not one for other in beaten)


@pytest.mark.parametrize(
    ("contract", "name"),
    [
        (Contract(max_drop=0.5), "fast"),
        (Contract(max_drop=0.0), "lucky"),
        (Contract(max_drop=0.5, prefer="size"), "fast"),
        (Contract(max_drop=5.0), "tiny"),
        (Contract(max_drop=5.0, mib=55), "tiny"),
        (Contract(max_drop=0.5, rows_per_second=250), "fast"),
        (Contract(max_drop=0.5, confidence=0.95), "lucky"),
        (Contract(max_drop=0.5, rows_per_second=400), None),
        (Contract(max_drop=0.5, p95_ms=2), None),
        (Contract(max_drop=5.0, max_flips=0.001), None),
    ],
)
def test_the_fastest_point_that_keeps_all_is_chosen(contract: Contract, name: str | None) -> None:
    chosen = best(contract, POINTS)
    assert (None if chosen is None else chosen.name) == name


def test_the_nearest_miss_says_what_is_missed() -> None:
    contract = Contract(max_drop=0.5, rows_per_second=310)
    found = nearest(contract, POINTS)
    assert found is not None
    assert found[0].name == "fast"
    assert [str(miss) for miss in found[1]] == ["rows_per_second 300 (asked for 310)"]


def test_every_limit_is_looked_at() -> None:
    one = point("x", 1.0, drop=2.0, flips=0.2, calibration_drift=3.0, slice_drop=9.0)
    contract = Contract(
        max_drop=1, max_flips=0.1, max_calibration_drift=1, max_slice_drop=5, rows_per_second=101, p95_ms=9, mib=99
    )
    assert {miss.key for miss in misses(contract, one)} == {
        "max_drop",
        "max_flips",
        "max_calibration_drift",
        "max_slice_drop",
        "rows_per_second",
        "p95_ms",
        "mib",
    }
    assert misses(Contract(max_drop=2.0), one) == []


def test_a_bound_that_is_not_defined_keeps_nothing() -> None:
    lost = replace(POINTS[0].loss, bound=None)
    assert [miss.key for miss in quality_misses(Contract(confidence=0.95), lost)] == ["max_drop"]


def test_how_many_rows_a_bound_would_take() -> None:
    lost = replace(POINTS[0].loss, drop=0.1, bound=1.1)  # 1000 rows: the bound is 1 point above the mean
    assert rows_needed(lost, 0.6) == 4000  # half the distance takes four times the rows
    assert rows_needed(lost, 0.1) is None
    assert rows_needed(replace(lost, bound=None), 0.6) is None


def test_a_point_survives_being_written() -> None:
    assert [Point.of(one.as_dict()) for one in POINTS] == POINTS
