"""Speed against loss of the points of a search, and the front that no point beats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from luthier.reporting.svg import WIDTH, Frame, axes, chart, hint, line, nice_ticks, path, tag, tick_text

HEIGHT = 310.0
LEAST, MOST = 3.0, 11.0  # radius of the smallest and of the largest bundle


@dataclass(frozen=True)
class Place:
    """A point: how many times as fast, how many points lost, and its size as a share of the largest one's.

    `style` is a class of the style sheet: `s1` on the front, `reference` beside it, `s2` for the chosen one.
    """

    name: str
    speed: float
    lost: float
    size: float
    style: str


def front_chart(
    places: Sequence[Place], *, limit: float, title: str, description: str, x_label: str, y_label: str
) -> Markup:
    """Return a dot per point, as large as its bundle, the front as a line, and the limit on the loss.

    Args:
        places: in any order.
        limit: points that may be lost.
        title: what it shows.
        description: for who cannot see it.
        x_label: of the speed.
        y_label: of the loss.
    """
    speeds, losses = [one.speed for one in places], [one.lost for one in places]
    low, high = min(0.0, *losses), max(limit, *losses)
    room = 0.12 * (high - low or 1.0)
    frame = Frame(52, WIDTH - 14, 28, HEIGHT - 46, 0.0, 1.08 * max(speeds), low - room, high + room)
    y_ticks = nice_ticks(frame.y_low, frame.y_high)
    x_ticks = nice_ticks(frame.x_low, frame.x_high)
    drawn = axes(
        frame,
        x_ticks=x_ticks,
        y_ticks=y_ticks,
        x_label=x_label,
        y_label=y_label,
        x_text=tick_text(x_ticks),
        y_text=tick_text(y_ticks),
    )
    drawn.append(line(frame.left, frame.y(limit), frame.right, frame.y(limit), class_="chosen"))
    drawn.append(path([(frame.x(one.speed), frame.y(one.lost)) for one in edge(places)], class_="curve reference"))
    for one in sorted(places, key=lambda one: -one.size):
        radius = LEAST + (MOST - LEAST) * one.size**0.5
        note = hint(f"{one.name}: {one.speed:.2f}\u00d7, {one.lost:+.2f}")
        drawn.append(
            tag("circle", note, cx=frame.x(one.speed), cy=frame.y(one.lost), r=radius, class_=f"dot {one.style}")
        )
    return chart(drawn, width=WIDTH, height=HEIGHT, title=title, description=description, kind="front")


def edge(places: Sequence[Place]) -> list[Place]:
    """Return the places that none both faster and better beats, the fastest first; a gain is no better than no loss.

    Points that are on the front for their size alone are not among them.
    """
    found: list[Place] = []
    for one in sorted(places, key=lambda one: (-one.speed, max(0.0, one.lost))):
        if not found or max(0.0, one.lost) < max(0.0, found[-1].lost):
            found.append(one)
    return found
