"""How a run looks in a terminal and in a log: events to lines, and a progress bar where there is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TextIO

from luthier.pipeline.events import as_line, duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from luthier.artifacts.check import CheckReport
    from luthier.artifacts.compression import CompressionReport
    from luthier.artifacts.runs import Difference, RunSummary
    from luthier.evaluation.compare import Comparison
    from luthier.pipeline.batch import ShownFeature
    from luthier.pipeline.events import RunEvent

LINE_SECONDS = 10.0


class Progress:
    """Shows a run's events: a bar on a terminal, plain lines otherwise.

    Args:
        stream: where to write; standard error by default, so that standard output holds results alone.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bar

        self._console = Console(file=stream or sys.stderr, highlight=False, soft_wrap=True)
        self._bar: Bar | None = None
        self._columns = (TextColumn("  {task.description}"), BarColumn(bar_width=30), TextColumn("{task.fields[text]}"))
        self._task: Any = None
        self._next_line = 0.0

    def __call__(self, event: RunEvent) -> None:
        """Show one event."""
        from luthier.training.events import StepDone

        if isinstance(event, StepDone):
            self._step(event)
            return
        line = as_line(event)
        if line:
            self._close_bar()
            self._console.print(line, markup=False)

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._close_bar()

    def _step(self, event: Any) -> None:
        text = (
            f"step {event.step}/{event.total}  loss {event.loss:.4f}  "
            f"{event.rows_per_second:.0f} rows/s  {duration(event.seconds_left)} left"
        )
        if not self._console.is_terminal:
            import time

            if time.monotonic() >= self._next_line or event.step == event.total:
                self._next_line = time.monotonic() + LINE_SECONDS
                self._console.print(f"  {text}", markup=False)
            return
        if self._bar is None:
            from rich.progress import Progress as Bar

            self._bar = Bar(*self._columns, console=self._console, transient=True)
            self._task = self._bar.add_task("training", total=event.total, text="")
            self._bar.start()
        self._bar.update(self._task, completed=event.step, text=text)

    def _close_bar(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def summary(result: Mapping[str, Any]) -> str:
    """Return the closing lines of a run."""
    name = result["headline"]
    test = result["test"]
    low, high = test.get(f"{name}_interval") or (None, None)
    around = f" ({low:.4f} to {high:.4f})" if low is not None else ""
    lines = [
        "",
        f"{name:<10} {test[name]:.4f}{around} on {test['rows']} test rows",
        *(
            f"{title:<10} {values[name]:.4f}"
            for title, values in result["baseline"].items()
            if values.get(name) is not None
        ),
        f"{'training':<10} {result['train']['rows_per_second']:.0f} rows/s",
        f"{'time':<10} {duration(result['seconds'])}",
        f"{'report':<10} {result['report']}",
        "",
        "Next:",
        f"  luthier predict {result['bundle']} YOUR.csv -o answers.csv",
        f"  luthier serve {result['bundle']}",
    ]
    return "\n".join(lines)


def check_lines(report: CheckReport) -> str:
    """Return a check report as text."""
    lines = []
    for name, split in report.splits.items():
        labels = ", ".join(f"{label} {count}" for label, count in list(split.labels.items())[:12])
        quantiles = split.length_quantiles
        lines.append(
            f"{name}: {split.rows} rows; {f'{labels}; ' if labels else ''}tokens: median {quantiles['0.5']}, "
            f"95 % up to {quantiles['0.95']}, longest {quantiles['1']}"
        )
    if report.padding_share is not None:
        lines.append(f"padding: {report.padding_share:.1%} of the tokens in training batches")
    if report.step is not None:
        step = report.step
        lines.append(
            f"steps: {step.rows_per_second:.0f} rows/s, about {duration(step.seconds_per_epoch)} per epoch, "
            f"peak memory {step.peak_memory_mib:.0f} MiB, {step.trainable_parameters:,} of "
            f"{step.parameters:,} parameters move"
        )
        lines += [f"  {name}: {choice}" for name, choice in step.choices.items()]
    lines.append("")
    for finding in report.findings:
        lines.append(f"{finding.severity}: {finding.code}: {finding.place}: {finding.message}")
        lines += [f"    {finding.fix}"] if finding.fix else []
        lines += [f"    {place}" for place in finding.examples]
    if not report.findings:
        lines.append("no findings")
    return "\n".join(lines)


def batch_lines(batch: Sequence[ShownFeature]) -> str:
    """Return the rows of a batch as text; what is learnt stands between ⟦ and ⟧."""
    tokens = sum(one.tokens for one in batch)
    lines = [f"the first batch: {len(batch)} sequences, {tokens} tokens; what is learnt stands between ⟦ and ⟧"]
    for one in batch:
        text = "".join(f"⟦{part.text}⟧" if part.learnt else part.text for part in one.segments)
        marked = any(part.learnt for part in one.segments)
        lines += ["", f"{one.place} ({one.tokens} tokens)", f"    {text if marked else f'{text} ⟦{one.target}⟧'}"]
    return "\n".join(lines)


def compression_lines(report: CompressionReport) -> str:
    """Return the points of a search as a table, and what came of it."""
    rows = [("", "point", "rows/s", "times", "p95 ms", "MiB", "points lost", "at most", "changed", "")]
    for point in report.points:
        loss = point.loss
        rows.append(
            (
                ">" if point.name == report.chosen else "*" if point.on_front else "",
                point.name,
                f"{point.rows_per_second:,.0f}",
                f"{point.ratio:.2f}",
                f"{point.p95_ms:.1f}",
                f"{point.bytes / 2**20:.1f}",
                f"{loss.drop:+.2f}",
                "" if loss.bound is None else f"{loss.bound:+.2f}",
                "" if loss.flips is None else f"{100 * loss.flips:.2f} %",
                "; ".join(point.misses),
            )
        )
    left = [f"{name}: left out: {why}" for name, why in report.left_out.items()]
    test = report.test
    end = []
    if test is not None:
        bound = "" if test.bound is None else f" (at most {test.bound:+.2f} at {test.confidence:.0%})"
        changed = "" if test.flips is None else f", {100 * test.flips:.2f} % of the answers changed"
        end = [f"{report.chosen} on {test.rows} test rows: {test.drop:+.2f} points lost{bound}{changed}"]
    if report.kept and test is None:
        end = ["the model as it is keeps the contract, and no other point does: no bundle was written"]
    about = f"validation: {report.points[0].loss.rows} rows; * no other point beats it; > chosen"
    if not report.complete:
        end.append(
            f"the time was up after {report.seconds:.0f} s, before all was tried: a larger --seconds goes on from here"
        )
    return "\n".join([*_table(rows), *left, about, *end])


def run_lines(found: Sequence[RunSummary]) -> str:
    """Return a table of runs."""
    head = ("run", "state", "metric", "value", "interval", "baseline", "rows/s", "time", "written")
    rows = [head, *(_run_row(one) for one in found)]
    damaged = [f"{one.folder}: {one.detail}" for one in found if one.state == "damaged"]
    return "\n".join([*_table(rows), *damaged])


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a line per row, the columns below each other."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _run_row(one: RunSummary) -> tuple[str, ...]:
    where = f" ({one.detail})" if one.detail and one.state != "damaged" else ""
    between = f"{one.interval[0]:.4f} to {one.interval[1]:.4f}" if one.interval else "-"
    return (
        one.folder,
        f"{one.state}{where}",
        one.headline or "-",
        f"{one.value:.4f}" if one.value is not None else "-",
        between,
        f"{one.baseline:.4f}" if one.baseline is not None else "-",
        f"{one.rows_per_second:.0f}" if one.rows_per_second is not None else "-",
        duration(one.seconds) if one.seconds is not None else "-",
        one.date.removesuffix("+00:00").replace("T", " "),
    )


def difference_lines(found: Difference) -> str:
    """Return how two runs differ in plan and results as text."""
    plan = [(key, str(pair[0]), str(pair[1])) for key, pair in found.plan.items()]
    results = [(name, *(_result(value) for value in pair)) for name, pair in found.results.items()]
    rows = [("", "first", "second"), *plan, *results]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    same = [] if plan else ["the two plans are the same"]
    return "\n".join([*lines[: 1 + len(plan)], *same, "", *lines[1 + len(plan) :], ""])


def _result(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def comparison_lines(found: Comparison, before: str, after: str) -> str:
    """Return a comparison of two runs as text."""
    result = found.result
    interval = f" ({result.interval[0]:+.4f} to {result.interval[1]:+.4f})" if result.interval else ""
    lines = [
        f"{found.rows} test rows in both runs"
        + (
            f"; left out: {found.only_before} of the first, {found.only_after} of the second"
            * bool(found.only_before or found.only_after)
        ),
        f"{found.headline}: {_number(found.before)} in {before}",
        f"{found.headline}: {_number(found.after)} in {after}",
        f"difference: {_number(result.difference, '+')}{interval}, p = {_number(result.p_value)}",
        *_flips(found),
    ]
    return "\n".join(lines)


def _flips(found: Comparison) -> list[str]:
    if found.mcnemar_p is None or found.flips is None:
        return []
    return [f"McNemar p = {found.mcnemar_p:.4f}; {found.flips:.2%} of the predictions changed"]


def _number(value: float | None, sign: str = "") -> str:
    return "undefined" if value is None else f"{value:{sign}.4f}"
