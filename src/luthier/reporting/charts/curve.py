"""Curves over optimiser steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from luthier.reporting.svg import WIDTH, Frame, axes, chart, line, nice_ticks, path, tag, tick_text, whole_ticks

HEIGHT = 290.0


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


def epoch_ends(steps: Sequence[tuple[int, int]]) -> list[float]:
    """Return the last step of every epoch but the last one, from (step, epoch) pairs; none where there are too many."""
    ends = [float(step) for (step, epoch), (_, following) in pairwise(steps) if following != epoch]
    return ends if len(ends) <= 20 else []
