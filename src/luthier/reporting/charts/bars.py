"""Lying bars and dots with whiskers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from luthier.reporting.svg import WIDTH, Frame, chart, hint, line, nice_ticks, shorten, tag, text, text_units, tick_text

ROW = 30.0
GUTTER = 70.0  # for a value in figures
UNIT = 8.2  # drawing units of a Latin letter at the larger of the two label sizes
LABEL_UNITS = 17


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
    frame = Frame(14 + UNIT * max(units, 5), WIDTH - GUTTER, 10, bottom, *scale, 0, 1)
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


def scale_of(values: Sequence[float | None], *, from_zero: bool) -> tuple[float, float]:
    """Return the ends of a scale that holds some values (None is left out) with a margin, and 0 where it must."""
    known = [value for value in values if value is not None]
    low, high = min(known, default=0.0), max(known, default=1.0)
    if from_zero:
        low, high = min(0.0, low), max(0.0, high)
    margin = 0.06 * (high - low) or 0.5
    below = 0.0 if from_zero and low == 0 else low - margin
    return below, 0.0 if from_zero and high == 0 and low < 0 else high + margin
