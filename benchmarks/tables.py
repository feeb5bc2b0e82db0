"""From measurements to one table, one JSON line, and a section of a page."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from contestants import NAMES
from contestants.job import Measured
from luthier.metrics.intervals import wilson
from measurement import BUSY


def summarise(
    rounds: Mapping[str, Sequence[Measured]], whole: Mapping[str, Measured], peaks: Mapping[str, Sequence[float]]
) -> dict[str, Any]:
    """Return medians, ratios to luthier's median, and shares of the peak.

    Args:
        rounds: `{contestant: its measurement of each round}`.
        whole: `{contestant: its run to the end}`; empty where that was not asked.
        peaks: `{precision: FLOP/s of each round}`; the best one counts, of the precision that is faster here.
    """
    best = {precision: max(values) for precision, values in peaks.items()}
    found: dict[str, Any] = {
        "ratios": ratios(rounds),
        "contestants": {
            name: {**figures(measured), "share_of_peak": _share(measured, max(best.values()))}
            for name, measured in rounds.items()
        },
        "peak_gflops": {precision: round(value / 1e9, 1) for precision, value in best.items()},
    }
    for name, measured in whole.items():
        found["contestants"][name]["whole_run"] = _whole(measured)
    return found


def ratios(rounds: Mapping[str, Sequence[Measured]]) -> dict[str, float]:
    """Return `{"luthier/other": Luthier's median over the other's}`."""
    medians = {name: statistics.median(m.rows_per_second for m in found) for name, found in rounds.items()}
    own = medians.pop("luthier", None)
    return {} if own is None else {f"luthier/{name}": round(own / value, 2) for name, value in medians.items()}


def figures(measured: Sequence[Measured]) -> dict[str, Any]:
    """Return a contestant's speed over the rounds, and what its batches were like."""
    speeds = [one.rows_per_second for one in measured]
    return {
        "rows_per_second": {
            "median": round(statistics.median(speeds), 2),
            "min": round(min(speeds), 2),
            "max": round(max(speeds), 2),
            "rounds": [round(speed, 2) for speed in speeds],
        },
        "rows_per_processor_second": round(statistics.median(m.rows / m.cpu_seconds for m in measured), 2),
        "tokens_per_row": round(sum(m.tokens for m in measured) / sum(m.rows for m in measured), 1),
        "padding_share": round(1 - sum(m.tokens for m in measured) / sum(m.padded_tokens for m in measured), 3),
        "cpu_seconds_per_second": round(sum(m.cpu_seconds for m in measured) / sum(m.seconds for m in measured), 2),
        "rows": [one.rows for one in measured],
        "steps": [one.steps for one in measured],
    }


def _share(measured: Sequence[Measured], peak: float) -> float:
    return round(statistics.median(m.flops_per_second for m in measured) / peak, 3)


def _whole(measured: Measured) -> dict[str, Any]:
    assert measured.correct is not None, "a whole run scores the test rows"
    assert measured.tested, "the test split has rows"
    low, high = wilson(measured.correct, measured.tested)
    return {
        "accuracy": round(measured.correct / measured.tested, 4),
        "accuracy_interval": [round(low, 4), round(high, 4)],
        "seconds": round(measured.seconds, 1),
        "rows_per_second": round(measured.rows_per_second, 1),
    }


def grid(head: Sequence[str], lines: Sequence[Sequence[str]], *, names: bool = True) -> str:
    """Return a Markdown table of figures.

    Args:
        head: of the columns.
        lines: cells.
        names: whether the first column holds names, which stand on the left.
    """
    rule = ["---" if names and not place else "---:" for place in range(len(head))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, rule, *lines])


def speed_cells(name: str, one: Mapping[str, Any], ratio: float | None) -> list[str]:
    """Return a contestant's name, speed, Luthier's ratio to it, and its padding."""
    speed = one["rows_per_second"]
    return [
        name,
        f"{speed['median']:.1f} ({speed['min']:.1f} to {speed['max']:.1f})",
        f"{ratio:.2f}" if ratio is not None else "",
        f"{one['padding_share']:.1%}",
    ]


SPEED_HEAD = ("", "rows/s, median (min to max)", "Luthier over this", "padding")


def table(summary: Mapping[str, Any]) -> str:
    """Return the figures as a Markdown table."""
    with_accuracy = any("whole_run" in one for one in summary["contestants"].values())
    head = [*SPEED_HEAD, "share of the peak"]
    if with_accuracy:
        head += ["test accuracy (95 % interval)", "training, s"]
    found = summary["contestants"].items()
    return grid(
        head, [_line(name, one, summary["ratios"].get(f"luthier/{name}"), with_accuracy) for name, one in found]
    )


def _line(name: str, one: Mapping[str, Any], ratio: float | None, with_accuracy: bool) -> list[str]:
    cells = [*speed_cells(NAMES[name], one, ratio), f"{one['share_of_peak']:.1%}"]
    if with_accuracy:
        whole = one.get("whole_run")
        cells += ["", ""] if whole is None else [_accuracy(whole), f"{whole['seconds']:.0f}"]
    return cells


def _accuracy(whole: Mapping[str, Any]) -> str:
    low, high = whole["accuracy_interval"]
    return f"{whole['accuracy']:.3f} ({low:.3f} to {high:.3f})"


def origin(machine: Mapping[str, Any], setup: Mapping[str, Any], *packages: str) -> list[str]:
    """Return the lines that say on what, when and by which command figures were measured, and beside which load.

    Args:
        machine: from `machine.describe`.
        setup: from `measurement.setup`.
        packages: whose versions matter beside those of Luthier, PyTorch and Transformers.
    """
    named = ("luthier", "torch", "transformers", *packages)
    versions = ", ".join(f"{name} {machine[name]}" for name in named if machine.get(name))
    threads = f"threads: {setup['threads']}, " if setup.get("threads") else ""
    busy = f" The machine was not idle: load {setup['load_at_start']} at the start." if is_busy(setup) else ""
    flags = f" ({', '.join(machine['matrix_flags'])})" if machine.get("matrix_flags") else ""
    return [
        f"Machine: {machine['processor']}{flags}, {machine['cores']} cores, {threads}{machine['memory_gib']} GiB, "
        f"{machine['system']}. {versions}.{busy}",
        "",
        f"`{setup['command']}`, {setup['date']}.",
    ]


def is_busy(setup: Mapping[str, Any]) -> bool:
    """Return whether others used the machine when a measurement began."""
    return bool(setup.get("load_at_start", 0.0) > BUSY)


def section(summary: Mapping[str, Any]) -> str:
    """Return the table with all that its reader must know: how, on what, when, by which command."""
    setup, peaks = summary["setup"], summary["peak_gflops"]
    return "\n".join(
        [
            "## Training speed",
            "",
            "Full fine-tuning of `sample:minilm` on the training rows of `sample:movie-reviews`, the same rows and "
            "tokenizer for all. Each measurement runs in a process of its own with the same number of threads; the "
            f"contestants take turns; rounds: {setup['rounds']}. Rows/s is rows trained over wall time after "
            f"{setup['warm_steps']} steps of warm-up. Luthier's checkpoints count in its time, validation does not; "
            "the others write no checkpoints.",
            "",
            table(summary),
            "",
            "Share of the peak: 6 FLOPs per non-embedding parameter and real token (padding is no work), over the best "
            "median of a 4096 x 1024 x 1024 matrix product in the same run, in whichever precision is faster: "
            f"{peaks['bf16']:.0f} GFLOP/s in bf16, {peaks['fp32']:.0f} in fp32.",
            *head_lines(summary),
            "",
            *origin(summary["machine"], setup, "accelerate", "python"),
        ]
    )


def head_lines(summary: Mapping[str, Any]) -> list[str]:
    """Return what was measured of the head alone, where it was."""
    head = summary.get("head_only")
    if head is None:
        return []
    ours, theirs = (statistics.median(head[f"{who}_rows_per_second"]) for who in ("luthier", "trainer"))
    return [
        "",
        f"**The head alone** (backbone frozen, no dropout): Luthier {ours:.0f} rows/s over three epochs with the "
        f"states of the backbone computed within that time, Trainer {theirs:.0f}: {head['ratio']:.1f} times.",
    ]


def quality_section(summary: Mapping[str, Any]) -> str:
    """Return time to equal quality with all that its reader must know."""
    lines = [
        "## Time to equal quality",
        "",
        "What Trainer reaches on validation rows with its defaults after 3 epochs, beside Luthier. The same rows, "
        "splits and seeds for both; the two take turns, each run in a process of its own. Seconds are those from the "
        "first batch to the last step, Luthier's checkpoints included and validation left out; medians. Accuracies "
        "are means.",
    ]
    for name, found in summary["time_to_quality"].items():
        error = found["difference_standard_error_points"]
        spread = "one seed" if error is None else f"standard error {error:.2f} over {found['seeds']} seeds"
        mean = statistics.mean(found["difference_points"])
        lines += [
            "",
            f"**{name}**: Trainer's defaults, 3 epochs: {found['trainer_accuracy']:.4f} on "
            f"{found['rows']} validation rows in {found['trainer_seconds']:.0f} s; Luthier, one epoch: "
            f"{found['luthier_accuracy']:.4f} in {found['luthier_seconds']:.0f} s, {found['ratio']:.1f} times sooner; "
            f"difference {mean:+.2f} points ({spread}), {verdict(mean, error)}. "
            "Processor time, which others on the machine lengthen less: "
            f"{found['trainer_processor_seconds']:.0f} s and {found['luthier_processor_seconds']:.0f} s, "
            f"{found['processor_ratio']:.1f} times.",
        ]
    return "\n".join([*lines, "", *origin(summary["machine"], summary["setup"], "accelerate", "python")])


def verdict(difference: float, error: float | None) -> str:
    """Return in words whether a mean difference in points is one, by two standard errors."""
    if error is None:
        return "which one seed cannot tell from luck"
    if abs(difference) <= 2 * error:
        return "within two standard errors"
    return "so the quality is better" if difference > 0 else "so the quality is **not** equal"


def write_section(page: Path, name: str, text: str) -> None:
    """Put a text between a page's markers `<!-- name:begin -->` and `<!-- name:end -->`; add them where they lack."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    old = page.read_text(encoding="utf-8") if page.exists() else "# Benchmarks\n"
    block = f"{begin}\n{text}\n{end}"
    if begin in old and end in old.partition(begin)[2]:
        before, _, rest = old.partition(begin)
        new = before + block + rest.partition(end)[2]
    else:
        new = f"{old.rstrip()}\n\n{block}\n"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(new, encoding="utf-8")
