"""The reliability diagram."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from luthier.artifacts.evaluation import ReliabilityBin
from luthier.reporting.svg import WIDTH, Frame, axes, chart, hint, nice_ticks, path, tag, text


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
