"""The section on how training went: loss, validation metrics, learning rate, gradient norm."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from luthier.config import TrainStage
from luthier.reporting import charts, curves, numbers
from luthier.reporting.charts import Series
from luthier.reporting.contents import ReportData
from luthier.reporting.parts import Figure, Section, Table, plain_table
from luthier.reporting.svg import tick_text
from luthier.reporting.words import Words

SMOOTH_FROM = 12
TABLE_ROWS = 24
STYLES = ("s1", "s3", "s2", "s4")
NOT_METRICS = frozenset({"kind", "step", "epoch", "best"})
NOT_TOLD = frozenset({"raw", "reference"})
LOSS_LIKE = ("log_loss", "token_loss")  # metrics that are the training loss, on validation rows
MARKED = 40
Lines = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Ground:
    """What all figures of the section share: their lying scale, ends of epochs, the step whose weights were chosen."""

    steps: tuple[float, float]
    marks: tuple[float, ...]
    best: float | None
    words: Words


def training(data: ReportData, words: Words) -> Section | None:
    """Return the section, or None where there is no history."""
    steps = [line for line in data.history if line.get("kind") == "step"]
    validations = [line for line in data.history if line.get("kind") == "validation"]
    if not steps:
        return None
    ground = Ground(
        steps=(0.0, max(float(line["step"]) for line in (*steps, *validations))),
        marks=tuple(charts.epoch_ends([(int(line["step"]), int(line["epoch"])) for line in steps])),
        best=next((float(line["step"]) for line in reversed(validations) if line.get("best")), None),
        words=words,
    )
    clip = data.plan.only(TrainStage).spec.clip_norm
    figures = [_loss(steps, validations, ground), *_metrics(validations, ground)]
    figures += [_rate(steps, ground), _norm(steps, clip, ground)]
    about = words(
        "curves.about",
        steps=numbers.count(int(steps[-1]["step"])),
        epochs=numbers.count(1 + int(steps[-1]["epoch"])),
        rows=numbers.count(sum(int(line.get("rows", 0)) for line in steps)),
    )
    if ground.marks:
        about = f"{about} {words('curves.marks')}"
    return Section("training", words("curves.title"), about, tuple(one for one in figures if one is not None))


def _curve(lines: Lines, key: str) -> tuple[curves.FloatArray, curves.FloatArray]:
    return curves.finite([float(line["step"]) for line in lines], [line.get(key) for line in lines])


def _loss(steps: Lines, validations: Lines, ground: Ground) -> Figure | None:
    words = ground.words
    x, y = _curve(steps, "loss")
    if not len(x):
        return None
    series = _raw_and_smooth(x, y, words)
    for name in LOSS_LIKE:
        vx, vy = _curve(validations, name)
        if len(vx):
            label = words("curves.validation", metric=numbers.look_of(name, words.language).label)
            series.append(_series(label, vx, vy, "s2", dots=True))
    return _figure(series, "loss", ground, chosen=True)


def _metrics(validations: Lines, ground: Ground) -> list[Figure | None]:
    """Return one figure for all metrics that are percentages, and one for each other; log loss stands with the loss."""
    names = [name for name in dict.fromkeys(key for line in validations for key in line) if name not in NOT_METRICS]
    looks = {name: numbers.look_of(name, ground.words.language) for name in names if name not in LOSS_LIKE}
    groups = [[name for name, look in looks.items() if look.percent]]
    groups += [[name] for name, look in looks.items() if not look.percent]
    figures: list[Figure | None] = []
    for group in groups:
        found = {name: _curve(validations, name) for name in group}
        series = [
            _series(looks[name].label, x, y, STYLES[place % len(STYLES)], dots=len(x) <= MARKED)
            for place, (name, (x, y)) in enumerate(found.items())
            if len(x)
        ]
        if series:
            title = ground.words("curves.validation", metric=series[0].name) if len(series) == 1 else None
            figures.append(_figure(series, "metric", ground, title=title, chosen=True, percent=looks[group[0]].percent))
    return figures


def _rate(steps: Lines, ground: Ground) -> Figure | None:
    x, y = _curve(steps, "lr")
    series = [_series(ground.words("curves.lr"), *curves.evenly(x, y), "s1")]
    return _figure(series, "lr", ground, from_zero=True) if len(x) else None


def _norm(steps: Lines, clip: float | None, ground: Ground) -> Figure | None:
    x, y = _curve(steps, "grad_norm")
    if not len(x):
        return None
    series = _raw_and_smooth(x, y, ground.words)
    if clip is not None:
        name = ground.words("curves.norm.clip", value=f"{clip:g}")
        series.append(_series(name, np.asarray(ground.steps), np.asarray([clip, clip]), "reference"))
    return _figure(series, "norm", ground, from_zero=True)


def _raw_and_smooth(x: curves.FloatArray, y: curves.FloatArray, words: Words) -> list[Series]:
    """Return a noisy curve thin and its mean thick; a short one alone."""
    if len(y) < SMOOTH_FROM:
        return [_series(words("curves.loss.raw"), x, y, "s1", dots=True)]
    raw = _series(words("curves.loss.raw"), *curves.envelope(x, y), "raw")
    return [raw, _series(words("curves.loss.smooth"), *curves.evenly(x, curves.smooth(y)), "s1")]


def _series(name: str, x: curves.FloatArray, y: curves.FloatArray, style: str, dots: bool = False) -> Series:
    return Series(name, [float(value) for value in x], [float(value) for value in y], style, dots)


def _figure(
    series: Sequence[Series],
    name: str,
    ground: Ground,
    *,
    title: str | None = None,
    chosen: bool = False,
    from_zero: bool = False,
    percent: bool = False,
) -> Figure:
    words = ground.words
    shown = title or words(f"curves.{name}")
    best = ground.best if chosen else None
    svg = charts.line_chart(
        series,
        title=shown,
        description="; ".join(_ends(one, percent) for one in series if one.style not in NOT_TOLD),
        x_label=words("curves.step"),
        y_label=words(f"curves.{name}.axis"),
        x_range=ground.steps,
        marks=ground.marks,
        chosen=best,
        from_zero=from_zero,
        y_text=percent_ticks if percent else tick_text,
    )
    legend = [(one.style, one.name) for one in series] if len(series) > 1 or best is not None else []
    if best is not None:
        legend.append(("chosen", words("curves.best")))
    return Figure(svg=svg, title=shown, legend=tuple(legend), table=_table(series, words, percent))


def _ends(one: Series, percent: bool) -> str:
    return f"{one.name}: {_shown(one.y[0], percent)} \u2192 {_shown(one.y[-1], percent)}"


def percent_ticks(ticks: Sequence[float]) -> Callable[[float], str]:
    """Return how shares are written at ticks: as percentages."""
    written = tick_text([100 * tick for tick in ticks])
    return lambda value: f"{written(100 * value)}%"


def _table(series: Sequence[Series], words: Words, percent: bool) -> Table:
    """Return up to a few rows of the curves that are not raw."""
    kept = [one for one in series if one.style not in NOT_TOLD]
    values = [dict(zip(one.x, one.y, strict=True)) for one in kept]
    places = sorted({x for one in kept for x in _spread(one.x)})
    rows = [[numbers.count(x), *(_shown(found[x], percent) if x in found else "" for found in values)] for x in places]
    return plain_table((words("step"), *(one.name for one in kept)), rows, words=0)


def _spread(places: Sequence[float]) -> list[float]:
    chosen = np.unique(np.linspace(0, len(places) - 1, min(len(places), TABLE_ROWS)).round().astype(int))
    return [places[int(index)] for index in chosen]


def _shown(value: float, percent: bool) -> str:
    if percent:
        return numbers.percent(value)
    return f"{value:.2e}" if 0 < abs(value) < 1e-3 else numbers.plain(value, 4)
