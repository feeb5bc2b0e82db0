"""The charts of the report, each a pure function from numbers to an SVG drawing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from luthier.artifacts.evaluation import ReliabilityBin
from luthier.reporting.svg import (
    WIDTH,
    Frame,
    axes,
    chart,
    hint,
    line,
    nice_ticks,
    path,
    shorten,
    tag,
    text,
    text_units,
    tick_text,
    whole_ticks,
)

HEIGHT = 290.0
ROW = 30.0
UNIT = 7.9  # drawing units of a Latin letter at the larger of the two label sizes
LABEL_UNITS = 17
MATRIX_LABEL_UNITS = 12
LARGE_LEFT = 132.0
ROOMY = 12  # classes up to which a matrix fills the width and shows its counts


@dataclass(frozen=True)
class Series:
    """One curve.

    Attributes:
        name: in the legend.
        x: places, rising.
        y: values.
        style: a class of the style sheet: `raw`, `s1` ... `s4`, or `reference`.
        dots: whether each point is marked; for few points.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    style: str
    dots: bool = False


@dataclass(frozen=True)
class Bar:
    """One bar with its whisker.

    Attributes:
        label: of the row.
        value: length; None where undefined.
        interval: ends of the whisker.
        shown: the value as text.
        note: what the pointer brings up.
        style: `main`, `other` or `plain`.
    """

    label: str
    value: float | None
    interval: tuple[float, float] | None
    shown: str
    note: str
    style: str = "main"


# --- lines ----------------------------------------------------------------------------------------------------------


def line_chart(
    series: Sequence[Series],
    *,
    title: str,
    description: str,
    x_label: str,
    y_label: str,
    x_range: tuple[float, float],
    marks: Sequence[float] = (),
    chosen: float | None = None,
    from_zero: bool = False,
    y_text: Callable[[Sequence[float]], Callable[[float], str]] = tick_text,
) -> Markup:
    """Return curves over a common axis.

    Args:
        series: back to front.
        title: what it shows.
        description: for who cannot see it.
        x_label: with the unit.
        y_label: with the unit.
        x_range: ends of the lying scale.
        marks: places of upright dotted lines, such as ends of epochs.
        chosen: place of an upright line that matters.
        from_zero: whether the upright scale starts at 0.
        y_text: from the ticks to how one is written.
    """
    low, high = _span([float(value) for one in series for value in one.y], from_zero)
    y_ticks = nice_ticks(low, high)
    frame = Frame(52, WIDTH - 10, 28, HEIGHT - 46, *x_range, low, high)
    drawn = axes(
        frame,
        x_ticks=whole_ticks(frame.x_low, frame.x_high),
        y_ticks=y_ticks,
        x_label=x_label,
        y_label=y_label,
        x_text=lambda value: f"{value:,.0f}",
        y_text=y_text(y_ticks),
    )
    drawn += [line(frame.x(at), frame.top, frame.x(at), frame.bottom, class_="mark") for at in marks]
    if chosen is not None:
        drawn.append(line(frame.x(chosen), frame.top, frame.x(chosen), frame.bottom, class_="chosen"))
    for one in series:
        points = [(frame.x(x), frame.y(y)) for x, y in zip(one.x, one.y, strict=True)]
        drawn.append(path(points, class_=f"curve {one.style}"))
        if one.dots or len(points) == 1:
            drawn += [tag("circle", cx=x, cy=y, r=3.5, class_=f"dot {one.style}") for x, y in points]
    return chart(drawn, width=WIDTH, height=HEIGHT, title=title, description=description, kind="line")


def _span(values: Sequence[float], from_zero: bool) -> tuple[float, float]:
    """Return the ends of a scale: a little more than the values; the top thousandth may stick out of a long curve."""
    if not values:
        return 0.0, 1.0
    ordered = sorted(values)
    low, high = ordered[0], ordered[-1]
    if len(ordered) >= 200 and high - low > 3 * (typical := ordered[int(0.998 * (len(ordered) - 1))] - low) > 0:
        high = low + 1.2 * typical
    if high - low < 1e-12:
        low, high = low - (abs(low) * 0.1 or 0.5), high + (abs(high) * 0.1 or 0.5)
    margin = 0.05 * (high - low)
    return (min(0.0, low) if from_zero else low - margin), high + margin


# --- bars -----------------------------------------------------------------------------------------------------------


def bar_chart(
    bars: Sequence[Bar],
    *,
    title: str,
    description: str,
    x_label: str,
    scale: tuple[float, float],
    reference: float | None = None,
    dots: bool = False,
    x_text: Callable[[Sequence[float]], Callable[[float], str]] = tick_text,
) -> Markup:
    """Return lying bars, or dots, each with a whisker and its value in figures.

    Args:
        bars: top to bottom.
        title: what it shows.
        description: for who cannot see it.
        x_label: with the unit.
        scale: ends of the lying scale; bars start at 0, so it should hold 0 unless there are dots.
        reference: place of an upright line, such as the value on all rows.
        dots: mark values by dots; their place can be read on any scale, a bar's length only from 0.
        x_text: from the ticks to how one is written.
    """
    bottom = 10 + ROW * len(bars)
    units = max((text_units(shorten(bar.label, LABEL_UNITS)) for bar in bars), default=0)
    frame = Frame(14 + UNIT * max(units, 5), WIDTH - 62, 10, bottom, *scale, 0, 1)
    ticks = nice_ticks(frame.x_low, frame.x_high, 6)
    written = x_text(ticks)
    drawn = [line(frame.x(tick), frame.top, frame.x(tick), bottom, class_="grid") for tick in ticks]
    drawn += [text(frame.x(tick), bottom + 18, written(tick), class_="tick", anchor="middle") for tick in ticks]
    drawn.append(text(frame.right, bottom + 37, x_label, class_="axis", anchor="end"))
    if reference is not None:
        drawn.append(line(frame.x(reference), frame.top - 6, frame.x(reference), bottom, class_="chosen"))
    drawn += [_bar(bar, frame, 10 + ROW * place, dots) for place, bar in enumerate(bars)]
    return chart(drawn, width=WIDTH, height=bottom + 46, title=title, description=description, kind="bars")


def _bar(bar: Bar, frame: Frame, top: float, dots: bool) -> Markup:
    middle = top + ROW / 2
    label = shorten(bar.label, LABEL_UNITS)
    parts = [hint(bar.note), text(frame.left - 12, middle + 4.5, label, class_="label", anchor="end")]
    if bar.value is not None and not dots:
        start, end = sorted((frame.x(0), frame.x(bar.value)))
        width = max(1.0, end - start)
        parts.append(tag("rect", x=start, y=top + 6, width=width, height=ROW - 12, rx=2, class_=f"bar {bar.style}"))
    if bar.interval is not None:
        low, high = (frame.x(bound) for bound in bar.interval)
        parts += _whisker(low, high, middle, plain=dots)
    if bar.value is not None and dots:
        parts.append(tag("circle", cx=frame.x(bar.value), cy=middle, r=5, class_=f"spot {bar.style}"))
    parts.append(text(WIDTH, middle + 4.5, bar.shown, class_="figure", anchor="end"))
    return tag("g", *parts)


def _whisker(low: float, high: float, middle: float, *, plain: bool) -> list[Markup]:
    """Return an interval: a plain line, or one with ends and a halo that shows on a bar."""
    if plain:
        return [line(low, middle, high, middle, class_="span")]
    ends = [(low, middle, high, middle), (low, middle - 4, low, middle + 4), (high, middle - 4, high, middle + 4)]
    return [line(*end, class_=style) for style in ("halo", "whisker") for end in ends]


# --- confusion ------------------------------------------------------------------------------------------------------


def confusion_matrix(
    labels: Sequence[str],
    counts: Sequence[Sequence[int]],
    *,
    title: str,
    description: str,
    truth: str,
    predicted: str,
) -> Markup:
    """Return a heat map of (truth, prediction), shaded by the share of the truth's row; empty cells are not drawn.

    Args:
        labels: of rows and columns.
        counts: (C, C); rows are truth.
        title: what it shows.
        description: for who cannot see it.
        truth: word at the rows.
        predicted: word at the columns.
    """
    roomy = len(labels) <= ROOMY
    left = 96.0 if roomy else LARGE_LEFT
    cell = min(112.0, (WIDTH - left - 8) / max(1, len(labels))) if roomy else 20.0
    side = cell * len(labels)
    units = MATRIX_LABEL_UNITS if roomy else LABEL_UNITS
    tilted = cell < 80
    top = 66.0 if tilted else 44.0
    width = max(WIDTH, left + side + (60 if tilted else 8))
    drawn = [
        text(0 if tilted else left, 12, f"{predicted} \u2192", class_="axis"),
        text(0, 30 if tilted else 12, f"{truth} \u2193", class_="axis"),
        tag("rect", x=left, y=top, width=side, height=side, class_="empty"),
    ]
    for place, label in enumerate(labels):
        middle = cell * (place + 0.5)
        drawn.append(_column_label(left + middle, top - 8, label, tilted))
        drawn.append(
            tag("g", hint(label), text(left - 8, top + middle + 4, shorten(label, units), class_="tick", anchor="end"))
        )
    for i, row in enumerate(counts):
        total = sum(row)
        for j, count in enumerate(row):
            if count:
                note = f"{truth} {labels[i]}, {predicted} {labels[j]}: {count:,} ({count / total:.1%})"
                corner = (left + cell * j, top + cell * i)
                drawn.append(_cell(corner, cell, count, count / total, note=note, right=i == j, written=roomy))
    return chart(drawn, width=width, height=top + side + 10, title=title, description=description, kind="confusion")


def _column_label(x: float, y: float, label: str, tilted: bool) -> Markup:
    shown = shorten(label, MATRIX_LABEL_UNITS)
    if not tilted:
        return tag("g", hint(label), text(x, y, shown, class_="tick", anchor="middle"))
    turn = f"rotate(-40 {x:.1f} {y:.1f})"
    return tag("g", hint(label), tag("text", shown, x=x - 3, y=y, class_="tick", transform=turn))


def _cell(
    place: tuple[float, float], size: float, count: int, share: float, *, note: str, right: bool, written: bool
) -> Markup:
    x, y = place
    strength = share**0.5 if not right else share  # a rare confusion must still be seen
    shade = tag(
        "rect",
        x=x + 0.5,
        y=y + 0.5,
        width=size - 1,
        height=size - 1,
        class_="hit" if right else "miss",
        fill_opacity=f"{0.08 + 0.92 * strength:.2f}",
    )
    if not written:
        return tag("g", hint(note), shade)
    tone = "on-dark" if strength > 0.52 else "on-light"
    large = size >= 56
    middle = x + size / 2
    figures = [text(middle, y + size / 2 + (0 if large else 4), f"{count:,}", class_=f"cell {tone}", anchor="middle")]
    if large:
        figures.append(text(middle, y + size / 2 + 17, f"{share:.0%}", class_=f"cell small {tone}", anchor="middle"))
    return tag("g", hint(note), shade, *figures)


# --- reliability ----------------------------------------------------------------------------------------------------


def reliability_diagram(
    before: Sequence[ReliabilityBin],
    after: Sequence[ReliabilityBin],
    *,
    title: str,
    description: str,
    x_label: str,
    y_label: str,
    strip_label: str,
) -> Markup:
    """Return confidence against the share right, with the diagonal, and how many rows stand behind each bin.

    Args:
        before: bins before calibration.
        after: bins after it.
        title: what it shows.
        description: for who cannot see it.
        x_label: with the unit.
        y_label: with the unit.
        strip_label: of the small bars below.
    """
    curves = [
        [(b.confidence, b.accuracy) for b in bins if b.confidence is not None and b.accuracy is not None]
        for bins in (before, after)
    ]
    low = _tenth_below([value for curve in curves for point in curve for value in point])
    frame = Frame(52, WIDTH - 10, 28, 268, low, 1.0, low, 1.0)
    ticks = nice_ticks(low, 1.0, 6)

    def written(value: float) -> str:
        return f"{100 * value:.0f}%"

    drawn = axes(frame, x_ticks=ticks, y_ticks=ticks, x_label=x_label, y_label=y_label, x_text=written, y_text=written)
    drawn.append(path([(frame.x(low), frame.y(low)), (frame.x(1), frame.y(1))], class_="curve reference"))
    for style, curve in zip(("s2", "s1"), curves, strict=True):
        points = [(frame.x(a), frame.y(b)) for a, b in curve]
        drawn.append(path(points, class_=f"curve {style}"))
        drawn += [tag("circle", cx=x, cy=y, r=3.5, class_=f"dot {style}") for x, y in points]
    drawn += _strip(after, frame, 318, strip_label)
    return chart(drawn, width=WIDTH, height=384, title=title, description=description, kind="reliability")


def _tenth_below(values: Sequence[float]) -> float:
    return max(0.0, min(0.9, int(10 * min(values, default=0.0) + 1e-9) / 10))


def _strip(bins: Sequence[ReliabilityBin], frame: Frame, top: float, label: str) -> list[Markup]:
    """Return upright bars of rows per bin under a diagram's own axis."""
    most = max((b.count for b in bins), default=0) or 1
    drawn = [text(0, top + 4, label, class_="axis")]
    for b in bins:
        if not b.count:
            continue
        left, right = frame.x(max(b.lower, frame.x_low)), frame.x(b.upper)
        height = max(1.0, 48 * b.count / most)
        note = hint(f"{b.lower:.2f}\u2013{b.upper:.2f}: {b.count:,}")
        bar = tag("rect", note, x=left + 1, y=top + 60 - height, width=max(1.0, right - left - 2), height=height)
        drawn.append(tag("g", bar, class_="strip"))
    return drawn


# --- lengths --------------------------------------------------------------------------------------------------------


def length_histogram(
    bins: Sequence[tuple[int, int, int]],
    *,
    limit: int,
    title: str,
    description: str,
    x_label: str,
    y_label: str,
    limit_label: str,
) -> Markup:
    """Return rows by length, with the limit beyond which they are cut.

    Args:
        bins: (from, to, rows) in tokens.
        limit: tokens; drawn where it lies within the bins.
        title: what it shows.
        description: for who cannot see it.
        x_label: with the unit.
        y_label: with the unit.
        limit_label: beside the line.
    """
    low = min((b[0] for b in bins), default=0)
    high = max((b[1] for b in bins), default=1)
    most = max((b[2] for b in bins), default=1)
    frame = Frame(52, WIDTH - 10, 28, HEIGHT - 46, low, high, 0, 1.06 * most)
    ticks = whole_ticks(0, 1.06 * most)
    drawn = axes(
        frame,
        x_ticks=whole_ticks(low, high, 6),
        y_ticks=ticks,
        x_label=x_label,
        y_label=y_label,
        x_text=lambda value: f"{value:,.0f}",
        y_text=lambda value: f"{value:,.0f}",
    )
    for start, end, rows in bins:
        if rows:
            note = hint(f"{start}\u2013{end}: {rows:,}")
            left, right = frame.x(start), frame.x(end)
            shape = {"x": left + 0.5, "width": max(0.8, right - left - 1), "y": frame.y(rows)}
            style = "bar other" if start >= limit else "bar main"
            drawn.append(tag("rect", note, **shape, height=max(0.8, frame.bottom - frame.y(rows)), class_=style))
    if low < limit <= high:
        at = frame.x(limit)
        drawn.append(line(at, frame.top, at, frame.bottom, class_="chosen"))
        anchor, gap = ("end", -6) if at > (frame.left + frame.right) / 2 else ("start", 6)
        drawn.append(text(at + gap, frame.top + 10, limit_label, class_="label", anchor=anchor))
    return chart(drawn, width=WIDTH, height=HEIGHT, title=title, description=description, kind="lengths")


def epoch_ends(steps: Sequence[tuple[int, int]]) -> list[float]:
    """Return the last step of every epoch but the last one, from (step, epoch) pairs; none where there are too many."""
    ends = [float(step) for (step, epoch), (_, following) in pairwise(steps) if following != epoch]
    return ends if len(ends) <= 20 else []


def scale_of(values: Sequence[float | None], *, from_zero: bool) -> tuple[float, float]:
    """Return the ends of a scale that holds some values (None is left out) with a margin, and 0 where it must."""
    known = [value for value in values if value is not None]
    low, high = min(known, default=0.0), max(known, default=1.0)
    if from_zero:
        low, high = min(0.0, low), max(0.0, high)
    margin = 0.06 * (high - low) or 0.5
    return (low - margin if low < 0 or not from_zero else 0.0), (high + margin if high > 0 or not from_zero else 0.0)


def matrix_width(classes: int) -> float:
    """Return the width in pixels at which a large confusion matrix can still be read."""
    return LARGE_LEFT + 20.0 * classes + 60.0
