"""The confusion matrix as a heat map."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from luthier.reporting.svg import WIDTH, chart, hint, shorten, tag, text

ROOMY = 12  # classes up to which a matrix fills the width and shows its counts
SMALL_CELL = 20.0
LABEL_UNITS, LARGE_LABEL_UNITS = 12, 17
LEFT, LARGE_LEFT = 108.0, 132.0


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
    left = LEFT if roomy else LARGE_LEFT
    cell = min(112.0, (WIDTH - left - 8) / max(1, len(labels))) if roomy else SMALL_CELL
    side = cell * len(labels)
    units = LABEL_UNITS if roomy else LARGE_LABEL_UNITS
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
    shown = shorten(label, LABEL_UNITS)
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
    tone = "on-dark" if strength > 0.7 else "on-light"
    large = size >= 56
    middle = x + size / 2
    figures = [text(middle, y + size / 2 + (0 if large else 4), f"{count:,}", class_=f"cell {tone}", anchor="middle")]
    if large:
        figures.append(text(middle, y + size / 2 + 17, f"{share:.0%}", class_=f"cell small {tone}", anchor="middle"))
    return tag("g", hint(note), shade, *figures)


def matrix_width(classes: int) -> float:
    """Return the width in pixels at which a large confusion matrix can still be read."""
    return LARGE_LEFT + SMALL_CELL * classes + 60.0
