"""What every chart is made of: escaped tags, nice ticks, a frame with two scales.

Charts hold no colour and no font: classes point at the page's variables, so that one drawing serves both themes.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

WIDTH = 460.0


def tag(name: str, *content: str, **attributes: str | float | None) -> Markup:
    """Return an element. Content that is not Markup is escaped; `class_` is `class`, `text_anchor` is `text-anchor`.

    Args:
        name: of the element.
        content: texts and elements.
        attributes: numbers are written short; None leaves one out.
    """
    inner = Markup("").join(content)
    written = Markup("").join(
        Markup(' {}="{}"').format(Markup(key.rstrip("_").replace("_", "-")), number(value))
        for key, value in attributes.items()
        if value is not None
    )
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), written, inner)


def number(value: str | float) -> str:
    """Return a coordinate with at most one decimal; a text as it is."""
    if isinstance(value, str):
        return value
    text = f"{value:.1f}"
    return text[:-2] if text.endswith(".0") else text


def chart(content: Iterable[Markup], *, width: float, height: float, title: str, description: str, kind: str) -> Markup:
    """Return a whole drawing that a screen reader announces as one picture.

    Args:
        content: elements, back to front.
        width: in drawing units; 1 is a pixel at full size.
        height: the same.
        title: what it shows.
        description: what there is to see in it, in a sentence.
        kind: such as `line`; becomes `data-chart`.
    """
    return Markup(
        '<svg role="img" viewBox="0 0 {width} {height}" data-chart="{kind}" aria-label="{title}">'
        "<title>{title}</title><desc>{description}</desc>{content}</svg>"
    ).format(
        width=number(width),
        height=number(height),
        kind=kind,
        title=title,
        description=description,
        content=Markup("").join(content),
    )


def text(x: float, y: float, words: str, *, class_: str, anchor: str | None = None) -> Markup:
    """Return a line of text with its base line at y."""
    return tag("text", words, x=x, y=y, class_=class_, text_anchor=anchor)


def line(x1: float, y1: float, x2: float, y2: float, *, class_: str) -> Markup:
    """Return a straight line."""
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def path(points: Sequence[tuple[float, float]], *, class_: str) -> Markup:
    """Return a polyline through points in drawing units."""
    steps = " ".join(f"{number(x)},{number(y)}" for x, y in points)
    return tag("polyline", points=steps, class_=class_)


def hint(words: str) -> Markup:
    """Return what is shown when the pointer rests on an element."""
    return tag("title", words)


def text_units(words: str) -> int:
    """Return a text's width, where a Chinese character is two units wide and a Latin one one."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in words)


def shorten(words: str, units: int) -> str:
    """Return a text on one line, cut to a width in units of `text_units`."""
    flat = " ".join(words.split())
    if text_units(flat) <= units:
        return flat
    kept = flat[:units]
    while kept and text_units(kept) > units - 1:
        kept = kept[:-1]
    return f"{kept.rstrip()}\u2026"


def nice_ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Return round numbers from at or above `low` to at or below `high`, at most `most` of them where that is enough.

    Steps are 1, 2, 2.5 or 5 times a power of ten.
    """
    if not high > low:
        return [low]
    rough = (high - low) / max(1, most - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def whole_ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Return nice ticks that are whole numbers."""
    return sorted({float(round(tick)) for tick in nice_ticks(low, high, most) if abs(tick - round(tick)) < 1e-9})


def tick_text(ticks: Sequence[float]) -> Callable[[float], str]:
    """Return how ticks are written: as many decimals as tell them apart, `2e-05` for the very small."""
    largest = max((abs(tick) for tick in ticks), default=0.0)
    gap = min((b - a for a, b in pairwise(ticks)), default=largest or 1.0)
    if 0 < largest < 1e-3:
        return lambda value: "0" if value == 0 else f"{value:.1e}".replace(".0e", "e").replace("e-0", "e-")
    digits = max(0, -math.floor(math.log10(gap) + 1e-9)) if gap > 0 else 0
    if round(gap * 10**digits, 6) % 1:  # a step of 2.5
        digits += 1
    return lambda value: f"{value:,.{digits}f}".replace("-", "\u2212")


@dataclass(frozen=True)
class Frame:
    """The part of a drawing inside its axes, with a linear scale each way.

    Attributes:
        left: of the plot, in drawing units.
        right: the same.
        top: the same.
        bottom: the same.
        x_low: value at the left edge.
        x_high: value at the right edge.
        y_low: value at the bottom edge.
        y_high: value at the top edge.
    """

    left: float
    right: float
    top: float
    bottom: float
    x_low: float
    x_high: float
    y_low: float
    y_high: float

    def x(self, value: float) -> float:
        """Return where a value lies across."""
        span = self.x_high - self.x_low or 1.0
        return self.left + (self.right - self.left) * (value - self.x_low) / span

    def y(self, value: float) -> float:
        """Return where a value lies down the page; one beyond the scale lies on its edge."""
        span = self.y_high - self.y_low or 1.0
        share = min(1.0, max(0.0, (value - self.y_low) / span))
        return self.bottom - (self.bottom - self.top) * share


def axes(
    frame: Frame,
    *,
    x_ticks: Sequence[float],
    y_ticks: Sequence[float],
    x_label: str,
    y_label: str,
    x_text: Callable[[float], str],
    y_text: Callable[[float], str],
) -> list[Markup]:
    """Return grid, ticks and both labels; the upright axis has its own above it, to be read without turning."""
    drawn = [text(0, 12, y_label, class_="axis")]
    for tick in y_ticks:
        drawn.append(line(frame.left, frame.y(tick), frame.right, frame.y(tick), class_="grid"))
        drawn.append(text(frame.left - 8, frame.y(tick) + 4, y_text(tick), class_="tick", anchor="end"))
    drawn.append(line(frame.left, frame.bottom, frame.right, frame.bottom, class_="base"))
    drawn += [text(frame.x(tick), frame.bottom + 18, x_text(tick), class_="tick", anchor="middle") for tick in x_ticks]
    drawn.append(text(frame.right, frame.bottom + 37, x_label, class_="axis", anchor="end"))
    return drawn
