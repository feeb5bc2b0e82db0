"""The section on the search for a smaller and faster model."""

from __future__ import annotations

from luthier.artifacts.compression import CompressionReport, PointRow
from luthier.reporting import charts, numbers
from luthier.reporting.charts.front import Place
from luthier.reporting.parts import Cell, Figure, Prose, Section, Table
from luthier.reporting.words import Words

MIB = 2**20


def compression_section(report: CompressionReport, words: Words) -> Section:
    """Return the points as a picture and a table, and what came of them."""
    about = words(
        "compress.about", points=numbers.count(len(report.points)), rows=numbers.count(report.points[0].loss.rows)
    )
    return Section(
        "compression",
        words("compress.title"),
        about,
        (_outcome(report, words), _figure(report, words), _table(report, words)),
    )


def _outcome(report: CompressionReport, words: Words) -> Prose:
    test = report.test
    if test is not None:
        bound = (
            ""
            if test.bound is None
            else words("compress.bound", bound=_plain(test.bound), share=_share(test.confidence))
        )
        flips = "" if test.flips is None else words("compress.flips", flips=numbers.percent(test.flips))
        text = words(
            "compress.chosen",
            name=str(report.chosen),
            rows=numbers.count(test.rows),
            lost=_plain(test.drop),
            bound=bound,
            flips=flips,
        )
    else:
        text = words("compress.as_is") if report.chosen else words("compress.nearest", name=str(report.nearest))
    kept = words("compress.kept") if report.kept else words("compress.missed", misses="; ".join(report.misses))
    needed = "" if report.rows_needed is None else words("compress.rows_needed", rows=numbers.count(report.rows_needed))
    ended = "" if report.complete else words("compress.time_up")
    return Prose(" ".join(part for part in (text, kept, needed, ended) if part))


def _figure(report: CompressionReport, words: Words) -> Figure:
    largest = max(point.bytes for point in report.points)
    places = [
        Place(point.name, point.ratio, point.loss.drop, point.bytes / largest, _style(point, report))
        for point in report.points
    ]
    title = words("compress.figure")
    svg = charts.front_chart(
        places,
        limit=float(report.contract["max_drop"]),
        title=title,
        description="; ".join(f"{one.name}: {one.speed:.2f}, {one.lost:+.2f}" for one in places),
        x_label=words("compress.speed"),
        y_label=words("compress.lost"),
    )
    legend = [("s1", words("compress.on_front"))]
    if report.chosen is not None:
        legend.append(("s2", words("compress.taken")))
    legend.append(("chosen", words("compress.limit")))
    return Figure(svg=svg, title=title, caption=words("compress.caption"), legend=tuple(legend))


def _style(point: PointRow, report: CompressionReport) -> str:
    if point.name == report.chosen:
        return "s2"
    return "s1" if point.on_front else "reference"


def _table(report: CompressionReport, words: Words) -> Table:
    head = tuple(
        words(f"compress.{name}")
        for name in ("point", "times", "rows_per_second", "p95", "mib", "lost", "changed", "misses")
    )
    rows: list[tuple[Cell, ...]] = []
    for point in report.points:
        loss, strong = point.loss, point.name == report.chosen
        bound = "" if loss.bound is None else words("compress.at_most", bound=_points(loss.bound))
        rows.append(
            (
                Cell(point.name, strong=strong),
                Cell(f"{point.ratio:.2f}"),
                Cell(numbers.count(point.rows_per_second)),
                Cell(f"{point.p95_ms:.1f}"),
                Cell(f"{point.bytes / MIB:.1f}"),
                Cell(_points(loss.drop), small=bound),
                Cell("" if loss.flips is None else numbers.percent(loss.flips)),
                Cell("; ".join(point.misses)),
            )
        )
    rows += [(Cell(name), *[Cell("")] * 6, Cell(why)) for name, why in report.left_out.items()]
    return Table(head=head, rows=tuple(rows), title=words("compress.table"))


def _plain(value: float) -> str:
    return f"{value:.2f}".replace("-", "\u2212")


def _points(value: float) -> str:
    return f"{value:+.2f}".replace("-", "\u2212")


def _share(value: float) -> str:
    return f"{100 * value:.3g}%"
