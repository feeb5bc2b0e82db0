"""Predicted means against true ones."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from luthier.artifacts.evaluation import MeansBin
from luthier.reporting.svg import WIDTH, Frame, axes, chart, hint, line, nice_ticks, path, tag, tick_text


def means_chart(bins: Sequence[MeansBin], *, title: str, description: str, x_label: str, y_label: str) -> Markup:
    """Return a dot per bin with the interval of its true mean, and the diagonal.

    Args:
        bins: from the lowest prediction up.
        title: what it shows.
        description: for who cannot see it.
        x_label: of the predictions.
        y_label: of the truth.
    """
    ends = [end for one in bins for end in (one.predicted, one.truth, *(one.interval or ()))]
    low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
    if low == high:
        low, high = low - 0.5, high + 0.5
    frame = Frame(60, WIDTH - 10, 28, 268, low, high, low, high)
    ticks = nice_ticks(low, high, 6)
    written = tick_text(ticks)
    drawn = axes(frame, x_ticks=ticks, y_ticks=ticks, x_label=x_label, y_label=y_label, x_text=written, y_text=written)
    drawn.append(path([(frame.x(low), frame.y(low)), (frame.x(high), frame.y(high))], class_="curve reference"))
    for one in bins:
        x = frame.x(one.predicted)
        if one.interval is not None:
            drawn.append(line(x, frame.y(one.interval[0]), x, frame.y(one.interval[1]), class_="curve s1"))
        note = hint(f"{one.predicted:.3g} \u2192 {one.truth:.3g} ({one.count:,})")
        drawn.append(tag("circle", note, cx=x, cy=frame.y(one.truth), r=3.5, class_="dot s1"))
    return chart(drawn, width=WIDTH, height=310, title=title, description=description, kind="means")
