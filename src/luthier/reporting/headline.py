"""What stands on top: the verdict, a few large numbers, the headline against baselines, slices, what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from luthier.artifacts.evaluation import ExamplesBlock, MetricValue, SliceRow
from luthier.reporting import charts, numbers
from luthier.reporting.charts import Bar
from luthier.reporting.contents import ReportData
from luthier.reporting.data_part import worst_first
from luthier.reporting.parts import Advice, Commands, Figure, Section, plain_table
from luthier.reporting.svg import tick_text
from luthier.reporting.training_part import percent_ticks
from luthier.reporting.verdict import Verdict, verdict
from luthier.reporting.words import Words

CUT_SHARE = 0.02


@dataclass(frozen=True)
class Headline:
    """The top of the page.

    Attributes:
        verdict: in words.
        number: the headline metric.
        interval: of it.
        metric: its name.
        tiles: (value, what it is) pairs.
        figure: the headline against baselines.
    """

    verdict: Verdict
    number: str
    interval: str
    metric: str
    tiles: tuple[tuple[str, str], ...]
    figure: Figure


def headline(data: ReportData, words: Words) -> Headline:
    """Return the top of the page."""
    evaluation = data.evaluation
    look = numbers.look_of(evaluation.headline, words.language)
    value = evaluation.metrics.get(evaluation.headline, MetricValue(value=None))
    found = verdict(evaluation, words)
    return Headline(
        verdict=found,
        number=numbers.metric_text(value.value, look),
        interval=numbers.interval_text(value, look, words),
        metric=look.label,
        tiles=tuple(_tiles(data, found, words)),
        figure=_against_baselines(data, words),
    )


def _tiles(data: ReportData, found: Verdict, words: Words) -> list[tuple[str, str]]:
    look = numbers.look_of(data.evaluation.headline, words.language)
    tiles = [(numbers.count(data.evaluation.rows), words("tile.rows"))]
    if found.rival is not None and found.lead is not None and found.lead.value is not None:
        lead = numbers.difference(found.lead.value, look, words)
        plus = "+" if found.lead.value > 0 else ""
        tiles.insert(0, (f"{plus}{lead}", words("tile.lead", baseline=words.named("baseline", found.rival.name))))
    if data.stages:
        total = sum(stage.seconds for stage in data.stages.values())
        tiles.append((numbers.seconds(total, words), words("tile.time")))
    trained = data.stages["train"].result if "train" in data.stages else {}
    if trained.get("seconds"):
        speed = trained["rows"] / trained["seconds"]
        tiles.append((numbers.plain(speed, 1) if speed < 10 else numbers.count(speed), words("tile.speed")))
    if data.check is not None and data.check.step is not None:
        tiles.append((numbers.millions(data.check.step.trainable_parameters), words("tile.parameters")))
    return tiles


def _against_baselines(data: ReportData, words: Words) -> Figure:
    evaluation = data.evaluation
    look = numbers.look_of(evaluation.headline, words.language)
    named = [(words("this_model"), evaluation.metrics, "main")]
    named += [(words.named("baseline", one.name), one.metrics, "other") for one in evaluation.baselines]
    found = [(name, metrics.get(evaluation.headline, MetricValue(value=None)), style) for name, metrics, style in named]
    bars = [_bar(name, value, look, words, style) for name, value, style in found]
    title = words("headline.title", metric=look.label)
    svg = charts.bar_chart(
        bars,
        title=title,
        description="; ".join(bar.note for bar in bars),
        x_label=look.label,
        scale=(0.0, 1.0) if look.percent else charts.scale_of(_ends([value for _, value, _ in found]), from_zero=True),
        x_text=percent_ticks if look.percent else tick_text,
    )
    leads = ["", *(numbers.difference(one.lead.value, look, words) for one in evaluation.baselines)]
    between = ["", *(numbers.interval_text(one.lead, look, words) for one in evaluation.baselines)]
    table = plain_table(
        (words("name"), look.label, words("interval"), words("headline.lead"), words("interval")),
        [
            [name, numbers.metric_text(value.value, look), numbers.interval_text(value, look, words), lead, ends]
            for (name, value, _), lead, ends in zip(found, leads, between, strict=True)
        ],
    )
    about = words(
        "headline.about", confidence=numbers.percent(evaluation.confidence, 0), rows=numbers.count(evaluation.rows)
    )
    return Figure(svg=svg, title=title, caption=about, table=table)


def _ends(values: Sequence[MetricValue]) -> list[float | None]:
    return [end for one in values for end in (one.value, *(one.interval or ()))]


def _bar(name: str, value: MetricValue, look: numbers.MetricLook, words: Words, style: str, rows: str = "") -> Bar:
    shown, interval = numbers.metric_text(value.value, look), numbers.interval_text(value, look, words)
    note = f"{name}: {shown}" + (f" ({interval})" if interval else "") + rows
    return Bar(name, value.value, value.interval, shown, note, style)


# --- slices ---------------------------------------------------------------------------------------------------------


def slices_section(data: ReportData, words: Words) -> Section | None:
    """Return the headline metric on parts of the rows, a figure per column; None where there are no slices."""
    evaluation = data.evaluation
    if not evaluation.slices:
        return None
    look = numbers.look_of(evaluation.headline, words.language)
    whole = evaluation.metrics.get(evaluation.headline, MetricValue(value=None)).value
    low, high = charts.scale_of([whole, *_ends([one.metric for one in evaluation.slices])], from_zero=False)
    scale = (max(0.0, low), min(1.0, high)) if look.percent else (low, high)
    figures = tuple(
        _slice_figure(column, [one for one in evaluation.slices if one.column == column], scale, whole, look, words)
        for column in dict.fromkeys(one.column for one in evaluation.slices)
    )
    about = words("slices.about", metric=look.label, confidence=numbers.percent(evaluation.confidence, 0))
    return Section("slices", words("slices.title"), about, figures)


def _slice_figure(
    column: str,
    rows: Sequence[SliceRow],
    scale: tuple[float, float],
    whole: float | None,
    look: numbers.MetricLook,
    words: Words,
) -> Figure:
    names = [_slice_name(one, words) for one in rows]
    bars = [
        _bar(name, one.metric, look, words, "main", f", {numbers.count(one.rows)} {words('rows')}")
        for name, one in zip(names, rows, strict=True)
    ]
    title = words("slices.by", column=words.named("slices.column", column))
    svg = charts.bar_chart(
        bars,
        title=title,
        description="; ".join(bar.note for bar in bars[:8]),
        x_label=look.label,
        scale=scale,
        reference=whole,
        dots=True,
        x_text=percent_ticks if look.percent else tick_text,
    )
    table = plain_table(
        (words.named("slices.column", column), words("rows"), look.label, words("interval")),
        [
            [name, numbers.count(one.rows), bar.shown, numbers.interval_text(one.metric, look, words)]
            for name, one, bar in zip(names, rows, bars, strict=True)
        ],
    )
    return Figure(svg=svg, title=title, table=table)


def _slice_name(one: SliceRow, words: Words) -> str:
    """Return a slice's value; bands of tokens in the report's own word."""
    if one.column == "length" and one.value.endswith(" tokens"):
        return f"{one.value.removesuffix(' tokens').replace('-', chr(0x2013))} {words('slices.tokens')}"
    return one.value


# --- next -----------------------------------------------------------------------------------------------------------


def next_section(data: ReportData, found: Verdict, words: Words) -> Section:
    """Return the two commands to try, and where to look."""
    commands = Commands(
        words("next.where"),
        (
            (words("next.predict"), "luthier predict bundle input.csv -o answers.csv"),
            (words("next.serve"), "luthier serve bundle"),
        ),
    )
    return Section("next", words("next.title"), "", (commands, Advice(tuple(_advice(data, found, words)))))


def _advice(data: ReportData, found: Verdict, words: Words) -> list[tuple[str, str]]:
    advice = []
    evaluated = [line for line in data.ledger if line.get("stage", "evaluate") == "evaluate"]
    weights = {str(line.get("weights_sha256")) for line in evaluated}
    if len(weights) > 1:
        advice.append((words("next.ledger", count=numbers.count(len(evaluated))), "run"))
    if found.standing in {"level", "behind"} and found.rival is not None:
        advice.append((words("next.simple", baseline=words.named("baseline", found.rival.name)), "metrics"))
    serious = [one for one in worst_first(data.check) if one.severity != "note"] if data.check is not None else []
    if serious:
        names = dict.fromkeys(words.named("finding", one.code) for one in serious)
        advice.append((words("next.findings", names=words("and").join(names)), "findings"))
    advice += _cut_advice(data, words)
    examples = {one.name: one for one in data.evaluation.blocks if isinstance(one, ExamplesBlock)}
    if "mistakes" in examples and examples["mistakes"].rows:
        advice.append((words("next.mistakes"), "mistakes"))
    if "label_issues" in examples and examples["label_issues"].total:
        advice.append((words("next.labels", count=numbers.count(examples["label_issues"].total)), "label_issues"))
    return advice


def _cut_advice(data: ReportData, words: Words) -> list[tuple[str, str]]:
    train = data.check.splits.get("train") if data.check is not None else None
    if data.check is None or train is None or train.cut_rows < CUT_SHARE * max(1, train.rows):
        return []
    share, limit = numbers.percent(train.cut_rows / train.rows), numbers.count(data.check.max_length)
    return [(words("next.cut", share=share, limit=limit), "data")]
