"""The histogram of lengths."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from luthier.reporting.svg import WIDTH, Frame, axes, chart, hint, line, tag, text, whole_ticks

HEIGHT = 290.0


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

    A last bin that is wider than the first, which holds the few longest rows, is drawn as wide as the first.

    Args:
        bins: (from, to, rows) in tokens, `to` excluded; at least one.
        limit: tokens; drawn where a row reaches it.
        title: what it shows.
        description: for who cannot see it.
        x_label: with the unit.
        y_label: with the unit.
        limit_label: beside the line.
    """
    step = bins[0][1] - bins[0][0]
    low, tail, longest = bins[0][0], bins[-1][0], bins[-1][1]
    high, most = min(tail + step, longest), max(rows for _, _, rows in bins) or 1
    frame = Frame(52, WIDTH - 10, 28, HEIGHT - 46, low, high, 0, 1.06 * most)
    drawn = axes(
        frame,
        x_ticks=whole_ticks(low, tail if longest > high else high, 6),
        y_ticks=whole_ticks(0, 1.06 * most),
        x_label=x_label,
        y_label=y_label,
        x_text=lambda value: f"{value:,.0f}",
        y_text=lambda value: f"{value:,.0f}",
    )
    for start, end, rows in bins:
        if rows:
            left, right, top = frame.x(start), frame.x(min(end, high)), frame.y(rows)
            height, style = max(0.8, frame.bottom - top), "bar other" if start > limit else "bar main"
            note = hint(f"{start}\u2013{end - 1}: {rows:,}")
            drawn.append(
                tag("rect", note, x=left + 0.5, y=top, width=max(0.8, right - left - 1), height=height, class_=style)
            )
    if limit < longest:
        drawn += _limit(frame, frame.x(limit if limit <= tail else min(limit, tail + step / 2)), limit_label)
    return chart(drawn, width=WIDTH, height=HEIGHT, title=title, description=description, kind="lengths")


def _limit(frame: Frame, at: float, label: str) -> list[Markup]:
    anchor, gap = ("end", -6) if at > (frame.left + frame.right) / 2 else ("start", 6)
    words = text(at + gap, frame.top + 10, label, class_="label", anchor=anchor)
    return [line(at, frame.top, at, frame.bottom, class_="chosen"), words]
