from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.artifacts.evaluation import ReliabilityBin
from luthier.reporting import charts, curves
from luthier.reporting.charts import Bar, Series
from luthier.reporting.charts.front import Place, edge
from luthier.reporting.svg import Frame, nice_ticks, shorten, tag, text_units, tick_text, whole_ticks

REAL = st.floats(-1e6, 1e6, allow_nan=False)
COMMON = {"title": "T", "description": "D"}


def with_class(svg: str, name: str) -> list[ET.Element]:
    return [one for one in ET.fromstring(svg).iter() if name in one.attrib.get("class", "").split()]


def points(line: ET.Element) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in (pair.split(",") for pair in line.attrib["points"].split())]


# --- scales ---------------------------------------------------------------------------------------------------------


@given(REAL, st.floats(1e-3, 1e6), st.integers(4, 8))
def test_ticks_are_round_even_and_inside(low: float, span: float, most: int) -> None:
    high = low + span
    ticks = nice_ticks(low, high, most)
    assert 1 <= len(ticks) <= most
    assert all(low - 1e-6 * span <= tick <= high + 1e-6 * span for tick in ticks)
    gaps = [b - a for a, b in pairwise(ticks)]
    if gaps:
        mantissa = gaps[0] / 10 ** math.floor(math.log10(gaps[0]) + 1e-9)
        assert min(abs(mantissa - round_one) for round_one in (1, 2, 2.5, 5, 10)) < 1e-3
        assert gaps == pytest.approx([gaps[0]] * len(gaps), rel=1e-4)


@pytest.mark.parametrize(
    ("low", "high", "expected"), [(0, 1, [0, 0.25, 0.5, 0.75, 1]), (0, 594, [0, 200, 400]), (3, 3, [3])]
)
def test_ticks_by_hand(low: float, high: float, expected: list[float]) -> None:
    assert nice_ticks(low, high) == pytest.approx(expected)


def test_whole_ticks_hold_no_fractions() -> None:
    assert whole_ticks(0, 3) == [0, 1, 2, 3]
    assert whole_ticks(0, 1) == [0, 1]


@pytest.mark.parametrize(
    ("ticks", "expected"),
    [
        ([0, 0.25, 0.5], ["0.00", "0.25", "0.50"]),
        ([0, 2.5, 5], ["0.0", "2.5", "5.0"]),
        ([0, 5e-5, 1e-4], ["0", "5e-5", "1e-4"]),
        ([-1, 0, 1], ["\u22121", "0", "1"]),
        ([0, 20_000], ["0", "20,000"]),
    ],
)
def test_tick_texts_tell_ticks_apart(ticks: list[float], expected: list[str]) -> None:
    assert [tick_text(ticks)(tick) for tick in ticks] == expected


def test_a_frame_maps_corners() -> None:
    frame = Frame(10, 110, 20, 220, 0, 5, -1, 1)
    assert (frame.x(0), frame.x(5), frame.x(2.5)) == (10, 110, 60)
    assert (frame.y(-1), frame.y(1), frame.y(0)) == (220, 20, 120)
    assert frame.y(99) == 20


@given(st.text(max_size=60), st.integers(3, 30))
def test_shortened_texts_fit(words: str, units: int) -> None:
    flat = " ".join(words.split())
    short = shorten(words, units)
    assert text_units(short) <= units
    assert (short == flat) == (text_units(flat) <= units)


def test_tags_escape_content_and_attributes() -> None:
    made = tag("text", "<b>&", class_='"><script>', text_anchor="end", x=1.25, y=2.0, fill=None)
    assert made == '<text class="&#34;&gt;&lt;script&gt;" text-anchor="end" x="1.2" y="2">&lt;b&gt;&amp;</text>'


# --- charts ---------------------------------------------------------------------------------------------------------


def test_a_line_goes_through_its_points() -> None:
    series = [Series("s", [0, 50, 100], [0.0, 1.0, 0.5], "s1", dots=True)]
    svg = charts.line_chart(series, **COMMON, x_label="x", y_label="y", x_range=(0, 100), marks=[50], chosen=100)
    drawn = points(with_class(svg, "curve")[0])
    assert [x for x, _ in drawn] == [52, 251, 450]
    low, high = -0.05, 1.05
    bottom, top = 290 - 46, 28
    expected = [bottom - (bottom - top) * (value - low) / (high - low) for value in (0.0, 1.0, 0.5)]
    assert [y for _, y in drawn] == pytest.approx(expected, abs=0.051)
    assert len(with_class(svg, "dot")) == 3
    assert [one.attrib["x1"] for one in with_class(svg, "mark")] == ["251"]
    assert [one.attrib["x1"] for one in with_class(svg, "chosen")] == ["450"]


def test_one_spike_does_not_flatten_a_long_curve() -> None:
    y = [1.0 + 0.1 * math.sin(i) for i in range(400)]
    y[7] = 500.0
    svg = charts.line_chart(
        [Series("s", list(range(400)), y, "raw")], **COMMON, x_label="", y_label="", x_range=(0, 400)
    )
    heights = [height for _, height in points(with_class(svg, "curve")[0])]
    assert max(heights) - sorted(heights)[1] > 100  # the waves fill the frame
    assert min(heights) == 28  # the spike ends at its edge


def test_bars_start_at_zero_and_whiskers_span_the_interval() -> None:
    bars = [Bar("model", 0.8, (0.7, 0.9), "80 %", "note"), Bar("none", None, None, "–", "note", "other")]
    svg = charts.bar_chart(bars, **COMMON, x_label="", scale=(0.0, 1.0))
    rect = with_class(svg, "bar")
    assert len(rect) == 1
    left, right = float(rect[0].attrib["x"]), 460 - 70
    assert float(rect[0].attrib["width"]) == pytest.approx(0.8 * (right - left), abs=0.1)
    whisker = with_class(svg, "whisker")[0]
    assert float(whisker.attrib["x1"]) == pytest.approx(left + 0.7 * (right - left), abs=0.1)
    assert float(whisker.attrib["x2"]) == pytest.approx(left + 0.9 * (right - left), abs=0.1)
    assert [one.text for one in with_class(svg, "figure")] == ["80 %", "–"]


def test_negative_bars_reach_left_of_zero() -> None:
    svg = charts.bar_chart([Bar("a", -0.5, None, "", "")], **COMMON, x_label="", scale=(-1.0, 1.0))
    rect = with_class(svg, "bar")[0]
    zero = float(rect.attrib["x"]) + float(rect.attrib["width"])
    assert zero == pytest.approx((14 + 8.2 * 5 + 460 - 70) / 2, abs=0.11)


def test_dots_stand_at_their_values() -> None:
    svg = charts.bar_chart([Bar("a", 0.85, (0.8, 0.9), "", "")], **COMMON, x_label="", scale=(0.8, 0.9), dots=True)
    assert with_class(svg, "bar") == []
    spot, span = with_class(svg, "spot")[0], with_class(svg, "span")[0]
    assert float(spot.attrib["cx"]) == pytest.approx((float(span.attrib["x1"]) + float(span.attrib["x2"])) / 2, abs=0.1)


@given(st.lists(st.none() | st.floats(-10, 10), min_size=1), st.booleans())
def test_a_scale_holds_its_values(values: list[float | None], from_zero: bool) -> None:
    low, high = charts.scale_of(values, from_zero=from_zero)
    assert low < high
    assert all(low <= value <= high for value in values if value is not None)
    assert not from_zero or low <= 0 <= high


def test_a_confusion_matrix_shades_by_share_and_skips_empty_cells() -> None:
    svg = charts.confusion_matrix(["a", "b"], [[90, 10], [0, 0]], **COMMON, truth="truth", predicted="predicted")
    hit, miss = with_class(svg, "hit"), with_class(svg, "miss")
    assert [one.attrib["fill-opacity"] for one in hit] == [f"{0.08 + 0.92 * 0.9:.2f}"]
    assert [one.attrib["fill-opacity"] for one in miss] == [f"{0.08 + 0.92 * math.sqrt(0.1):.2f}"]
    assert {one.text for one in with_class(svg, "cell")} == {"90", "10", "90%", "10%"}
    assert float(miss[0].attrib["x"]) > float(hit[0].attrib["x"])  # columns are predictions
    assert miss[0].attrib["y"] == hit[0].attrib["y"]


def test_a_reliability_diagram_leaves_empty_bins_out_and_starts_at_a_tenth() -> None:
    bins = [
        ReliabilityBin(lower=0.0, upper=0.5, confidence=None, accuracy=None, count=0),
        ReliabilityBin(lower=0.5, upper=0.75, confidence=0.65, accuracy=0.58, count=20),
        ReliabilityBin(lower=0.75, upper=1.0, confidence=0.9, accuracy=0.95, count=80),
    ]
    svg = charts.reliability_diagram(bins, bins, **COMMON, x_label="x", y_label="y", strip_label="rows")
    diagonal, before, after = with_class(svg, "curve")
    assert points(diagonal) == [(52, 268), (450, 28)]
    assert len(points(before)) == len(points(after)) == 2
    x, y = points(after)[1]
    assert (x, y) == (pytest.approx(52 + 398 * 0.4 / 0.5, abs=0.1), pytest.approx(268 - 240 * 0.45 / 0.5, abs=0.1))
    assert [one.text for one in with_class(svg, "tick")][:2] == ["50%", "60%"]
    heights = [float(one.attrib["height"]) for group in with_class(svg, "strip") for one in group.iter("rect")]
    assert heights == [pytest.approx(12), pytest.approx(48)]


def test_a_histogram_draws_the_long_last_bin_as_one_bar_and_the_limit_inside_it() -> None:
    bins = [(0, 10, 5), (10, 20, 50), (20, 30, 20), (30, 400, 2)]
    texts = {"x_label": "", "y_label": "", "limit_label": "limit"}
    svg = charts.length_histogram(bins, limit=64, **COMMON, **texts)
    bars = with_class(svg, "bar")
    widths = [float(bar.attrib["width"]) for bar in bars]
    assert widths == pytest.approx([widths[0]] * 4, abs=0.11)
    heights = [float(bar.attrib["height"]) for bar in bars]
    assert heights[2] / heights[1] == pytest.approx(20 / 50, abs=0.01)
    limit = float(with_class(svg, "chosen")[0].attrib["x1"])
    assert limit == pytest.approx(52 + 398 * 35 / 40, abs=0.1)
    assert with_class(charts.length_histogram(bins, limit=512, **COMMON, **texts), "chosen") == []
    at_twenty = with_class(charts.length_histogram(bins, limit=20, **COMMON, **texts), "chosen")[0]
    assert float(at_twenty.attrib["x1"]) == pytest.approx(52 + 398 / 2, abs=0.1)


def test_ends_of_epochs() -> None:
    assert charts.epoch_ends([(1, 0), (2, 0), (3, 1), (4, 1), (5, 2)]) == [2.0, 4.0]
    assert charts.epoch_ends([(i, i) for i in range(40)]) == []


# --- curves ---------------------------------------------------------------------------------------------------------


def test_smoothing_is_a_centred_mean_and_keeps_a_slope() -> None:
    y = np.random.default_rng(0).normal(size=500)
    half = round(0.04 * 500 / 2)
    expected = np.convolve(y, np.ones(2 * half + 1) / (2 * half + 1), mode="valid")
    assert np.allclose(curves.smooth(y)[half:-half], expected)
    slope = np.arange(100.0)
    assert np.allclose(curves.smooth(slope), slope)
    assert curves.smooth(np.asarray([3.0])) == [3.0]


@given(st.integers(1, 3000), st.integers(0, 10**6))
def test_an_envelope_is_short_and_keeps_ends_and_extremes(length: int, seed: int) -> None:
    y = np.random.default_rng(seed).normal(size=length)
    x = np.arange(length, dtype=np.float64)
    short_x, short_y = curves.envelope(x, y, buckets=50)
    assert len(short_x) <= 102
    assert (short_x[0], short_x[-1]) == (0, length - 1)
    assert (np.diff(short_x) > 0).all()
    assert (short_y.min(), short_y.max()) == (y.min(), y.max())
    assert np.array_equal(y[short_x.astype(int)], short_y)


def test_points_without_a_number_are_dropped() -> None:
    x, y = curves.finite([1, 2, 3, 4], [0.5, None, float("nan"), 2])
    assert (x.tolist(), y.tolist()) == ([1, 4], [0.5, 2])
    assert curves.finite([], [])[0].shape == (0,)


PLACES = st.lists(st.builds(Place, st.just("p"), st.floats(0.1, 20), st.floats(-2, 5), st.just(0.5), st.just("s1")))


@given(PLACES)
def test_the_edge_of_a_front_falls_and_none_beats_it(places: list[Place]) -> None:
    found = edge(places)
    assert bool(found) == bool(places)
    assert all(a.speed > b.speed and max(0.0, a.lost) > max(0.0, b.lost) for a, b in pairwise(found))
    for one in found:
        assert not any(other.speed > one.speed and max(0.0, other.lost) <= max(0.0, one.lost) for other in places)


def test_a_point_that_is_only_small_is_off_the_edge() -> None:
    fast, good, small = (
        Place(name, speed, lost, size, "s1")
        for name, speed, lost, size in (("fast", 7.0, 0.8, 0.3), ("good", 5.0, -0.2, 0.4), ("small", 3.0, 1.1, 0.1))
    )
    assert edge([small, good, fast]) == [fast, good]
