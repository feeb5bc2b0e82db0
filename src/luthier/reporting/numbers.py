"""Numbers as people read them: 2,117 · 87.1 % · 85.6 to 88.5 · 2 min 5 s. Nothing here rounds what a file holds."""

from __future__ import annotations

import math
from dataclasses import dataclass

from luthier.artifacts.evaluation import MetricValue
from luthier.metrics.registry import METRICS
from luthier.reporting.words import Words

MINUS = "\u2212"
THIN = "\u202f"  # a narrow space that does not break
UNDEFINED = "\u2013"
MIB = 1024.0


@dataclass(frozen=True)
class MetricLook:
    """How a metric is named and written.

    Attributes:
        label: in the report's language.
        percent: whether 0.871 is written 87.1 %.
        greater_is_better: None where the metric is not registered here.
    """

    label: str
    percent: bool
    greater_is_better: bool | None


def look_of(name: str, language: str) -> MetricLook:
    """Return how a metric is shown; a metric that is not registered keeps its name."""
    metric = METRICS.get(name)
    if metric is None:
        return MetricLook(name, False, None)
    return MetricLook(
        metric.label_zh if language == "zh" else metric.label_en, metric.percent, metric.greater_is_better
    )


def signed(text: str) -> str:
    """Return a number's text with a real minus sign."""
    return text.replace("-", MINUS)


def count(number: float) -> str:
    """Return a whole number with its thousands apart."""
    return signed(f"{number:,.0f}")


def percent(share: float | None, digits: int = 1) -> str:
    """Return a share as a percentage."""
    return UNDEFINED if share is None or not math.isfinite(share) else signed(f"{100 * share:.{digits}f}{THIN}%")


def small_share(share: float) -> str:
    """Return a share that may be tiny: never 0.0 % for something that is there."""
    return percent(share) if share == 0 or share >= 0.0005 else f"< 0.1{THIN}%"


def plain(number: float | None, digits: int = 3) -> str:
    """Return a number with fixed digits."""
    return UNDEFINED if number is None or not math.isfinite(number) else signed(f"{number:.{digits}f}")


def metric_text(value: float | None, look: MetricLook) -> str:
    """Return a metric's value."""
    return percent(value) if look.percent else plain(value)


def interval_text(value: MetricValue, look: MetricLook, words: Words) -> str:
    """Return `85.6 to 88.5`, or nothing where there is no interval."""
    if value.interval is None:
        return ""
    scale, digits = (100, 1) if look.percent else (1, 3)
    low, high = (signed(f"{scale * bound:.{digits}f}") for bound in value.interval)
    return f"{low} {words('to')} {high}"


def difference(value: float | None, look: MetricLook, words: Words) -> str:
    """Return a difference of two values: points where the metric is a percentage."""
    if value is None or not math.isfinite(value):
        return UNDEFINED
    return words("points", value=plain(100 * value, 1)) if look.percent else plain(value)


def seconds(amount: float, words: Words) -> str:
    """Return a duration in its two largest units."""
    if amount < 59.95:
        return words("time.seconds", seconds=f"{amount:.1f}")
    minutes, rest = divmod(round(amount), 60)
    if minutes < 60:
        return words("time.minutes", minutes=str(minutes), seconds=str(rest))
    return words("time.hours", hours=count(minutes // 60), minutes=str(minutes % 60))


def mebibytes(amount: float) -> str:
    """Return an amount of memory given in MiB."""
    return f"{amount / MIB:.1f}{THIN}GiB" if amount >= MIB else f"{amount:.0f}{THIN}MiB"


def millions(number: float) -> str:
    """Return a large count in short: 22.7 M."""
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.1f}{THIN}{unit}"
    return count(number)
