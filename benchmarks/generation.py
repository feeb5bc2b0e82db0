"""Rows per second of LoRA on a chat model: Transformers' Trainer with PEFT, the same tuned, and Luthier.

    python benchmarks/generation.py [--rounds 3] [--json]

SmolLM2-135M learns `sample:support-chat` with the loss on the completions alone: the same rows, the same chat template,
rank 8 on queries and values for all. The contestants take turns, each measurement in a fresh process. The machine
should be idle. It needs the extra `luthier[test]` and, after the samples are fetched, no network.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shlex
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from contestants import CHAT_NAMES
from contestants.job import Job, Measured
from training import BUSY, HERE, _positive, _python, measure

RECIPE = HERE.parent / "recipes" / "chat.yaml"


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description="Rows per second of LoRA on a chat model, against peers, in one run.")
    parser.add_argument("--rounds", type=_positive, default=3, help="measurements of each contestant")
    parser.add_argument("--rows", type=_positive, default=160, help="rows of a measurement after the warm-up, at least")
    parser.add_argument("--rows-sorted", type=_positive, default=800, help="the same for those that sort by length")
    parser.add_argument("--warm-steps", type=_positive, default=2, help="steps before the clock starts")
    parser.add_argument("--threads", type=_positive, default=None, help="of every contestant; default: physical cores")
    parser.add_argument("--seed", type=int, default=13, help="of the first round; each round adds one")
    parser.add_argument("--only", type=_names, default=list(CHAT_NAMES), help=f"some of {','.join(CHAT_NAMES)}")
    parser.add_argument("--project", default=str(RECIPE), help="Luthier's project file")
    parser.add_argument("--json", action="store_true", help="print the JSON line alone")
    return parser.parse_args(given)


def _names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in CHAT_NAMES]:
        raise argparse.ArgumentTypeError(f"must be among {', '.join(CHAT_NAMES)}; got {', '.join(unknown)}")
    return [name for name in CHAT_NAMES if name in names]


def prepare(options: argparse.Namespace, folder: Path) -> Job:
    """Return the job that all measurements are variations of, with the recipe's own training rows in a file."""
    import psutil

    from luthier.pipeline.run import open_project

    _, prepared = open_project(options.project)
    dataset, columns = prepared.dataset, prepared.columns
    rows = {role: dataset.cells("train", columns[role]) for role in ("prompt", "completion")}
    path = folder / "texts.json"
    path.write_text(json.dumps({"train": rows}), encoding="utf-8")
    prepared.part("train")  # tokenised once here, so that every round finds the rows in the cache
    return Job(
        project=str(Path(options.project).resolve()),
        model=str(prepared.model.folder),
        texts=str(path),
        max_length=prepared.max_length,
        padded_length=prepared.max_length,
        threads=options.threads or psutil.cpu_count(logical=False) or os.cpu_count() or 1,
        seed=options.seed,
        warm_steps=options.warm_steps,
        rows=options.rows,
        whole=False,
        epochs=3,
        folder="",
    )


def summarise(rounds: Mapping[str, Sequence[Measured]]) -> dict[str, Any]:
    """Return medians, and ratios to luthier's median."""
    medians = {name: statistics.median(m.rows_per_second for m in found) for name, found in rounds.items()}
    own = medians.get("luthier")
    return {
        "ratios": {f"luthier/{n}": round(own / v, 2) for n, v in medians.items() if own and n != "luthier"},
        "contestants": {name: _figures(found) for name, found in rounds.items()},
    }


def _figures(found: Sequence[Measured]) -> dict[str, Any]:
    speeds = [one.rows_per_second for one in found]
    return {
        "rows_per_second": {
            "median": round(statistics.median(speeds), 2),
            "min": round(min(speeds), 2),
            "max": round(max(speeds), 2),
        },
        "tokens_per_row": round(sum(m.tokens for m in found) / sum(m.rows for m in found), 1),
        "padding_share": round(1 - sum(m.tokens for m in found) / sum(m.padded_tokens for m in found), 3),
        "cpu_seconds_per_second": round(sum(m.cpu_seconds for m in found) / sum(m.seconds for m in found), 2),
        "rows": [one.rows for one in found],
        "steps": [one.steps for one in found],
        "trained_parameters": found[0].parameters,
    }


def table(summary: Mapping[str, Any]) -> str:
    """Return the figures as a Markdown table."""
    lines = [["", "rows/s, median (min to max)", "Luthier over this", "padding"], ["---", "---:", "---:", "---:"]]
    for name, figures in summary["contestants"].items():
        speed = figures["rows_per_second"]
        ratio = summary["ratios"].get(f"luthier/{name}")
        shown = f"{speed['median']:.1f} ({speed['min']:.1f} to {speed['max']:.1f})"
        share = f"{figures['padding_share']:.1%}"
        lines.append([CHAT_NAMES[name], shown, f"{ratio:.2f}" if ratio is not None else "", share])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def main(given: Sequence[str] | None = None) -> None:
    """Measure, and print one table and one JSON line."""
    options = arguments(given)
    load = os.getloadavg()[0]
    if load > BUSY:
        print(f"warning: the machine is not idle (load {load:.1f}); the figures will mean little", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        job = prepare(options, Path(folder))
        rounds: dict[str, list[Measured]] = {name: [] for name in options.only}
        for number in range(options.rounds):
            print(f"round {number + 1} of {options.rounds}", file=sys.stderr, flush=True)
            for name, measured in rounds.items():
                rows = options.rows if name == "chat_trainer" else options.rows_sorted
                measured.append(measure(name, replace(job, rows=rows, seed=options.seed + number)))
        machine = json.loads(_python([str(HERE / "machine.py"), str(job.threads)], job.threads))["machine"]
    setup = {
        "command": shlex.join(["python", "benchmarks/generation.py", *(sys.argv[1:] if given is None else given)]),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "rounds": options.rounds,
        "warm_steps": options.warm_steps,
        "threads": job.threads,
        "load_at_start": round(load, 2),
    }
    summary = {"benchmark": "generation", **summarise(rounds), "machine": machine, "setup": setup}
    if not options.json:
        print(table(summary))
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
