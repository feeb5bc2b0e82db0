"""From measurements to one table, one JSON line, and a section of a page."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from contestants import NAMES
from contestants.job import Measured
from luthier.metrics.intervals import wilson


def summarise(
    rounds: Mapping[str, Sequence[Measured]], whole: Mapping[str, Measured], peaks: Mapping[str, Sequence[float]]
) -> dict[str, Any]:
    """Return medians, ratios to luthier's median, and shares of the peak.

    Args:
        rounds: `{contestant: its measurement of each round}`.
        whole: `{contestant: its run to the end}`; empty where that was not asked.
        peaks: `{precision: FLOP/s of each round}`; the best one counts.
    """
    best = {precision: max(values) for precision, values in peaks.items()}
    found: dict[str, Any] = {
        "ratios": _ratios(rounds),
        "contestants": {name: _figures(measured, best["bf16"]) for name, measured in rounds.items()},
        "peak_gflops": {precision: round(value / 1e9, 1) for precision, value in best.items()},
    }
    for name, measured in whole.items():
        found["contestants"][name]["whole_run"] = _whole(measured)
    return found


def _ratios(rounds: Mapping[str, Sequence[Measured]]) -> dict[str, float]:
    medians = {name: statistics.median(m.rows_per_second for m in found) for name, found in rounds.items()}
    own = medians.pop("luthier", None)
    return {} if own is None else {f"luthier/{name}": round(own / value, 2) for name, value in medians.items()}


def _figures(measured: Sequence[Measured], peak: float) -> dict[str, Any]:
    speeds = [one.rows_per_second for one in measured]
    return {
        "rows_per_second": {
            "median": round(statistics.median(speeds), 1),
            "min": round(min(speeds), 1),
            "max": round(max(speeds), 1),
            "rounds": [round(speed, 1) for speed in speeds],
        },
        "tokens_per_row": round(sum(m.tokens for m in measured) / sum(m.rows for m in measured), 1),
        "padding_share": round(1 - sum(m.tokens for m in measured) / sum(m.padded_tokens for m in measured), 3),
        "share_of_bf16_peak": round(statistics.median(m.flops_per_second for m in measured) / peak, 3),
        "cpu_seconds_per_second": round(sum(m.cpu_seconds for m in measured) / sum(m.seconds for m in measured), 2),
        "rows": [one.rows for one in measured],
        "steps": [one.steps for one in measured],
    }


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


def table(summary: Mapping[str, Any]) -> str:
    """Return the figures as a Markdown table."""
    with_accuracy = any("whole_run" in figures for figures in summary["contestants"].values())
    head = ["", "rows/s, median (min to max)", "Luthier over this", "padding", "share of bf16 peak"]
    if with_accuracy:
        head += ["test accuracy (95 % interval)", "training, s"]
    lines = [head, ["---", *["---:"] * (len(head) - 1)]]
    for name, figures in summary["contestants"].items():
        lines.append(_line(name, figures, summary["ratios"].get(f"luthier/{name}"), with_accuracy))
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _line(name: str, figures: Mapping[str, Any], ratio: float | None, with_accuracy: bool) -> list[str]:
    speed = figures["rows_per_second"]
    cells = [
        NAMES[name],
        f"{speed['median']:.1f} ({speed['min']:.1f} to {speed['max']:.1f})",
        f"{ratio:.2f}" if ratio is not None else "",
        f"{figures['padding_share']:.1%}",
        f"{figures['share_of_bf16_peak']:.1%}",
    ]
    if with_accuracy:
        whole = figures.get("whole_run")
        cells += ["", ""] if whole is None else [_accuracy(whole), f"{whole['seconds']:.0f}"]
    return cells


def _accuracy(whole: Mapping[str, Any]) -> str:
    low, high = whole["accuracy_interval"]
    return f"{whole['accuracy']:.3f} ({low:.3f} to {high:.3f})"


def section(summary: Mapping[str, Any]) -> str:
    """Return the table with all that its reader must know: how, on what, when, by which command."""
    machine, peaks = summary["machine"], summary["peak_gflops"]
    versions = ", ".join(
        f"{name} {machine[name]}"
        for name in ("luthier", "torch", "transformers", "accelerate", "python")
        if machine.get(name)
    )
    setup = summary["setup"]
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
            "median of a 4096 x 1024 x 1024 matrix product in the same run: "
            f"{peaks['bf16']:.0f} GFLOP/s in bf16, {peaks['fp32']:.0f} in fp32.",
            *more_lines(summary),
            "",
            f"Machine: {machine['processor']}, {machine['cores']} cores, threads: {setup['threads']}, "
            f"{machine['memory_gib']} GiB, {machine['system']}. {versions}.",
            "",
            f"`{setup['command']}`, {setup['date']}.",
        ]
    )


def more_lines(summary: Mapping[str, Any]) -> list[str]:
    """Return what was measured beside the table: the head alone, and time to equal quality."""
    lines = []
    if head := summary.get("head_only"):
        ours, theirs = (statistics.median(head[f"{who}_rows_per_second"]) for who in ("luthier", "trainer"))
        lines += [
            "",
            f"**The head alone** (backbone frozen, no dropout): Luthier {ours:.0f} rows/s over three epochs with the "
            f"states of the backbone computed within that time, Trainer {theirs:.0f}: {head['ratio']:.1f} times.",
        ]
    for name, found in summary.get("time_to_quality", {}).items():
        error = found["difference_standard_error_points"]
        spread = "one seed" if error is None else f"standard error {error:.2f} over {found['seeds']} seeds"
        mean = statistics.mean(found["difference_points"])
        lines += [
            "",
            f"**Time to equal quality** on {name}: Trainer's defaults, 3 epochs: {found['trainer_accuracy']:.4f} on "
            f"{found['rows']} validation rows in {found['trainer_seconds']:.0f} s; Luthier, one epoch: "
            f"{found['luthier_accuracy']:.4f} in {found['luthier_seconds']:.0f} s. {found['ratio']:.1f} times sooner; "
            f"difference {mean:+.2f} points ({spread}).",
        ]
    return lines


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
