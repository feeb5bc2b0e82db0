"""The sections on the rows and on what the check found."""

from __future__ import annotations

from luthier.artifacts.check import CheckReport, Finding, SplitStatistics
from luthier.reporting import charts, numbers
from luthier.reporting.charts import Bar
from luthier.reporting.parts import Cell, Figure, Findings, FindingShown, Part, Prose, Section, Table, plain_table
from luthier.reporting.training_part import percent_ticks
from luthier.reporting.words import Words

TOP_LABELS = 20
SEVERITIES = ("error", "warning", "note")
QUANTILES = {"median": "0.5", "p99": "0.99", "longest": "1"}


def rows_section(check: CheckReport, words: Words) -> Section:
    """Return splits, label balance and lengths."""
    parts: list[Part] = [_splits(check, words)]
    train = check.splits.get("train")
    if train is not None and train.labels:
        parts.append(_balance(check, train, words))
    if train is not None and train.length_histogram:
        parts.append(_lengths(train, check.max_length, words))
    padding = check.padding_share
    about = "" if padding is None else words("data.padding", share=numbers.percent(padding))
    return Section("data", words("data.title"), about, tuple(parts))


def _splits(check: CheckReport, words: Words) -> Table:
    total = sum(split.rows for split in check.splits.values()) or 1
    head = ("split", "rows", "tokens", "median", "p99", "longest", "cut", "unknown")
    rows = tuple(
        (
            Cell(words.named("split", name), small=_scripts(split)),
            Cell(numbers.count(split.rows), small=numbers.percent(split.rows / total, 0)),
            Cell(numbers.count(split.tokens)),
            *(Cell(_quantile(split, key)) for key in QUANTILES.values()),
            Cell(numbers.count(split.cut_rows), small=numbers.small_share(split.cut_rows / max(1, split.rows))),
            Cell(numbers.small_share(split.unknown_share)),
        )
        for name, split in check.splits.items()
    )
    return Table(head=tuple(words(f"data.{name}") for name in head), rows=rows, title=words("data.splits"))


def _scripts(split: SplitStatistics, most: int = 2) -> str:
    ordered = sorted(split.scripts.items(), key=lambda pair: -pair[1])
    return ", ".join(f"{name} {numbers.small_share(share)}" for name, share in ordered[:most])


def _quantile(split: SplitStatistics, key: str) -> str:
    for name, value in split.length_quantiles.items():
        if float(name) == float(key):
            return numbers.count(value)
    return numbers.UNDEFINED


def _balance(check: CheckReport, train: SplitStatistics, words: Words) -> Figure:
    ordered = sorted(train.labels.items(), key=lambda pair: (-pair[1], pair[0]))
    total = sum(train.labels.values()) or 1
    bars = [
        Bar(name, rows / total, None, numbers.small_share(rows / total), f"{name}: {numbers.count(rows)}")
        for name, rows in ordered[:TOP_LABELS]
    ]
    svg = charts.bar_chart(
        bars,
        title=words("data.balance"),
        description="; ".join(f"{bar.label}: {bar.shown}" for bar in bars[:8]),
        x_label=words("data.balance.axis"),
        scale=charts.scale_of([bar.value for bar in bars], from_zero=True),
        x_text=percent_ticks,
    )
    cut = words("data.balance.cut", shown=str(TOP_LABELS), total=str(len(ordered))) if len(ordered) > TOP_LABELS else ""
    return Figure(svg=svg, title=words("data.balance"), caption=cut, table=_label_table(check, words))


def _label_table(check: CheckReport, words: Words) -> Table:
    names = dict.fromkeys(label for split in check.splits.values() for label in split.labels)
    rows = [[name, *(numbers.count(split.labels.get(name, 0)) for split in check.splits.values())] for name in names]
    return plain_table((words("per_class.label"), *(words.named("split", name) for name in check.splits)), rows)


def _lengths(train: SplitStatistics, limit: int, words: Words) -> Figure:
    bins = train.length_histogram
    svg = charts.length_histogram(
        bins,
        limit=limit,
        title=words("data.lengths"),
        description=", ".join(f"{key}: {value}" for key, value in train.length_quantiles.items()),
        x_label=words("data.lengths.x"),
        y_label=words("data.lengths.y"),
        limit_label=words("data.lengths.limit", limit=numbers.count(limit)),
    )
    shown, rows, cut = numbers.count(limit), numbers.count(train.rows), numbers.count(train.cut_rows)
    about = [words("data.lengths.cut" if train.cut_rows else "data.lengths.fits", limit=shown, rows=rows, count=cut)]
    low, high, tail = bins[-1]
    if high - low > bins[0][1] - bins[0][0] and tail:
        about.append(words("data.lengths.tail", count=numbers.count(tail), low=numbers.count(low)))
    table = plain_table(
        (words("data.lengths.from"), words("data.lengths.to"), words("rows")),
        [[numbers.count(low), numbers.count(high - 1), numbers.count(rows)] for low, high, rows in bins],
        words=0,
    )
    return Figure(svg=svg, title=words("data.lengths"), caption=" ".join(about), table=table)


def worst_first(check: CheckReport) -> list[Finding]:
    """Return the findings, errors before warnings before notes."""
    return sorted(check.findings, key=lambda one: SEVERITIES.index(one.severity))


def findings_section(check: CheckReport, words: Words) -> Section:
    """Return the findings, the worst first."""
    ordered = worst_first(check)
    part: Part = Findings(tuple(_finding(one, words) for one in ordered)) if ordered else Prose(words("findings.none"))
    return Section("findings", words("findings.title"), "", (part,))


def _finding(finding: Finding, words: Words) -> FindingShown:
    places = words("findings.examples", places=", ".join(finding.examples)) if finding.examples else ""
    return FindingShown(
        severity=finding.severity,
        word=words(f"severity.{finding.severity}"),
        title=words.named("finding", finding.code),
        code=finding.code,
        place=finding.place,
        message=finding.message,
        fix=finding.fix,
        examples=places,
    )
