"""The section on how training went: loss, validation metrics, learning rate, gradient norm."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
LOSS_LIKE = "log_loss"


def training(data: ReportData, words: Words) -> Section | None:
    """Return the section, or None where there is no history."""
    steps = [line for line in data.history if line.get("kind") == "step"]
    validations = [line for line in data.history if line.get("kind") == "validation"]
    if not steps:
        return None
    marks = charts.epoch_ends([(int(line["step"]), int(line["epoch"])) for line in steps])
    best = next((float(line["step"]) for line in reversed(validations) if line.get("best")), None)
    figures = [_loss(steps, validations, marks, best, words)]
    figures += _metrics(validations, marks, best, words)
    figures += [_rate(steps, marks, words), _norm(data, steps, marks, words)]
    about = words(
        "curves.about",
        steps=numbers.count(int(steps[-1]["step"])),
        epochs=numbers.count(1 + int(steps[-1]["epoch"])),
        rows=numbers.count(sum(int(line.get("rows", 0)) for line in steps)),
    )
    return Section("training", words("curves.title"), about, tuple(one for one in figures if one is not None))


def _curve(lines: Sequence[Mapping[str, Any]], key: str) -> tuple[curves.FloatArray, curves.FloatArray]:
    return curves.finite([float(line["step"]) for line in lines], [line.get(key) for line in lines])


def _loss(
    steps: Sequence[Mapping[str, Any]],
    validations: Sequence[Mapping[str, Any]],
    marks: list[float],
    best: float | None,
    words: Words,
) -> Figure | None:
    x, y = _curve(steps, "loss")
    if not len(x):
        return None
    smoothed = curves.smooth(y) if len(y) >= SMOOTH_FROM else y
    series = [_series(words("curves.loss.smooth"), *curves.evenly(x, smoothed), "s1")]
    if len(y) >= SMOOTH_FROM:
        series.insert(0, _series(words("curves.loss.raw"), *curves.envelope(x, y), "raw"))
    vx, vy = _curve(validations, LOSS_LIKE)
    if len(vx):
        label = words("curves.validation", metric=numbers.look_of(LOSS_LIKE, words.language).label)
        series.append(_series(label, vx, vy, "s2", dots=True))
    description = f"{numbers.plain(smoothed[0])} \u2192 {numbers.plain(smoothed[-1])}"
    return _figure(
        series, words("curves.loss"), description, words("curves.loss.axis"), words, marks=marks, chosen=best
    )


def _metrics(
    validations: Sequence[Mapping[str, Any]], marks: list[float], best: float | None, words: Words
) -> list[Figure]:
    """Return one figure for all metrics that are percentages, and one for each other; log loss stands with the loss."""
    names = [name for name in dict.fromkeys(key for line in validations for key in line) if name not in NOT_METRICS]
    looks = {name: numbers.look_of(name, words.language) for name in names if name != LOSS_LIKE}
    groups = [[name for name, look in looks.items() if look.percent]]
    groups += [[name] for name, look in looks.items() if not look.percent]
    figures = []
    for group in groups:
        found = {name: _curve(validations, name) for name in group}
        series = [
            _series(looks[name].label, x, y, STYLES[place % len(STYLES)], dots=len(x) <= 40)
            for place, (name, (x, y)) in enumerate(found.items())
            if len(x)
        ]
        if series:
            percent = looks[group[0]].percent
            title = words("curves.metrics") if len(series) > 1 else words("curves.validation", metric=series[0].name)
            description = "; ".join(f"{one.name}: {_shown(one.y[-1], percent)}" for one in series)
            axis = words("curves.metric.axis")
            figures.append(_figure(series, title, description, axis, words, marks=marks, chosen=best, percent=percent))
    return figures


def _rate(steps: Sequence[Mapping[str, Any]], marks: list[float], words: Words) -> Figure | None:
    x, y = _curve(steps, "lr")
    if not len(x):
        return None
    series = [_series(words("curves.lr"), *curves.evenly(x, y), "s1")]
    description = f"max {y.max():.3g}"
    axis = words("curves.lr.axis")
    return _figure(series, words("curves.lr"), description, axis, words, marks=marks, from_zero=True)


def _norm(data: ReportData, steps: Sequence[Mapping[str, Any]], marks: list[float], words: Words) -> Figure | None:
    x, y = _curve(steps, "grad_norm")
    if not len(x):
        return None
    series = [_series(words("curves.loss.smooth"), *curves.evenly(x, curves.smooth(y)), "s1")]
    if len(y) >= SMOOTH_FROM:
        series.insert(0, _series(words("curves.loss.raw"), *curves.envelope(x, y), "raw"))
    clip = data.plan.only(TrainStage).spec.clip_norm
    if clip is not None:
        name = words("curves.norm.clip", value=f"{clip:g}")
        series.append(_series(name, x[[0, -1]], np.asarray([clip, clip]), "reference"))
    description = f"{numbers.plain(y[0])} \u2192 {numbers.plain(y[-1])}"
    axis = words("curves.norm.axis")
    return _figure(series, words("curves.norm"), description, axis, words, marks=marks, from_zero=True)


def _series(name: str, x: curves.FloatArray, y: curves.FloatArray, style: str, dots: bool = False) -> Series:
    return Series(name, [float(value) for value in x], [float(value) for value in y], style, dots)


def _figure(
    series: Sequence[Series],
    title: str,
    description: str,
    axis: str,
    words: Words,
    *,
    marks: Sequence[float] = (),
    chosen: float | None = None,
    from_zero: bool = False,
    percent: bool = False,
) -> Figure:
    svg = charts.line_chart(
        series,
        title=title,
        description=description,
        x_label=words("curves.step"),
        y_label=axis,
        marks=marks,
        chosen=chosen,
        from_zero=from_zero,
        y_text=percent_ticks if percent else tick_text,
    )
    legend = [(one.style, one.name) for one in series] if len(series) > 1 or chosen is not None else []
    if chosen is not None:
        legend.append(("chosen", words("curves.best")))
    return Figure(svg=svg, title=title, legend=tuple(legend), table=_table(series, words, percent))


def percent_ticks(ticks: Sequence[float]) -> Callable[[float], str]:
    """Return how shares are written at ticks: as percentages."""
    written = tick_text([100 * tick for tick in ticks])
    return lambda value: f"{written(100 * value)}%"


def _table(series: Sequence[Series], words: Words, percent: bool) -> Table:
    """Return up to a few rows of the curves that are not raw."""
    kept = [one for one in series if one.style not in {"raw", "reference"}]
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
