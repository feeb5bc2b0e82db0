"""The sections on the rows and on what the check found."""

from __future__ import annotations

from collections.abc import Sequence

from luthier.artifacts.check import CheckReport, Finding, SplitStatistics
from luthier.reporting import charts, numbers
from luthier.reporting.charts import Bar
from luthier.reporting.parts import Cell, Figure, Findings, FindingShown, Part, Prose, Section, Table, plain_table
from luthier.reporting.training_part import percent_ticks
from luthier.reporting.words import Words

TOP_LABELS = 20
TAIL_SHARE = 0.005
SEVERITIES = ("error", "warning", "note")
QUANTILES = {"median": "0.5", "p99": "0.99", "longest": "1"}
Bins = list[tuple[int, int, int]]


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
    bins, tail = without_tail(train.length_histogram, limit)
    svg = charts.length_histogram(
        bins,
        limit=limit,
        title=words("data.lengths"),
        description=", ".join(f"{key}: {value}" for key, value in train.length_quantiles.items()),
        x_label=words("data.lengths.x"),
        y_label=words("data.lengths.y"),
        limit_label=words("data.lengths.limit", limit=numbers.count(limit)),
    )
    if train.cut_rows:
        about = words(
            "data.lengths.cut",
            count=numbers.count(train.cut_rows),
            rows=numbers.count(train.rows),
            limit=numbers.count(limit),
        )
    else:
        about = words("data.lengths.fits", limit=numbers.count(limit)) if bins and limit > bins[-1][1] else ""
    if tail:
        beyond = words("data.lengths.tail", count=numbers.count(tail), low=numbers.count(bins[-1][1]))
        about = f"{about} {beyond}".strip()
    table = plain_table(
        (words("data.lengths.from"), words("data.lengths.to"), words("rows")),
        [[numbers.count(low), numbers.count(high), numbers.count(rows)] for low, high, rows in train.length_histogram],
        words=0,
    )
    return Figure(svg=svg, title=words("data.lengths"), caption=about, table=table)


def without_tail(bins: Sequence[tuple[int, int, int]], limit: int) -> tuple[Bins, int]:
    """Return the bins without a thin tail that would squeeze the rest, and how many rows that leaves out.

    The tail is at most 1 row in 200, and is left out only where it is longer than the rest. The bin of the limit stays
    where any row reaches it.

    Args:
        bins: (from, to, rows), rising.
        limit: tokens.
    """
    total = sum(rows for _, _, rows in bins)
    kept, seen = list(bins), 0
    for place, (_, high, rows) in enumerate(bins):
        seen += rows
        if seen >= (1 - TAIL_SHARE) * total and high >= min(limit, bins[-1][1]):
            kept = list(bins[: place + 1])
            break
    left_out = sum(rows for _, _, rows in bins[len(kept) :])
    worth = bool(kept) and bins[-1][1] > 2 * kept[-1][1]
    return (kept, left_out) if worth else (list(bins), 0)


def findings_section(check: CheckReport, words: Words) -> Section:
    """Return the findings, the worst first."""
    ordered = sorted(check.findings, key=lambda one: SEVERITIES.index(one.severity))
    part: Part = Findings(tuple(_finding(one, words) for one in ordered)) if ordered else Prose(words("findings.none"))
    return Section("findings", words("findings.title"), "", (part,))


def _finding(finding: Finding, words: Words) -> FindingShown:
    places = words("findings.examples", places=", ".join(finding.examples)) if finding.examples else ""
    word = words(f"severity.{finding.severity}")
    return FindingShown(finding.severity, word, finding.code, finding.place, finding.message, finding.fix, places)
