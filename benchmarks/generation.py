"""Rows per second of LoRA on a chat model: Transformers' Trainer with PEFT, the same tuned, and Luthier.

    python benchmarks/generation.py [--rounds 3] [--json] [--write docs/benchmarks.md]

SmolLM2-135M learns `sample:support-chat` with the loss on the completions alone: the same rows, the same chat template,
rank 8 on queries and values for all. The contestants take turns, each measurement in a fresh process. The machine
should be idle. It needs the extra `luthier[test]` and, after the samples are fetched, no network.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from contestants import CHAT_NAMES
from contestants.job import Job, Measured
from measurement import (
    RECIPES,
    contest_options,
    job_of,
    load_now,
    machine_and_peaks,
    measure,
    one_round,
    positive,
    setup,
)
from tables import SPEED_HEAD, figures, grid, origin, ratios, speed_cells, write_section

BY_LENGTH = {"chat_trainer_tuned", "luthier"}


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description="Rows per second of LoRA on a chat model, against peers, in one run.")
    contest_options(parser, CHAT_NAMES, recipe=RECIPES / "chat.yaml")
    parser.add_argument("--rows", type=positive, default=160, help="rows of a measurement after the warm-up, at least")
    parser.add_argument("--rows-sorted", type=positive, default=800, help="the same for those that sort by length")
    parser.add_argument("--warm-steps", type=positive, default=2, help="steps before the clock starts")
    return parser.parse_args(given)


def prepare(options: argparse.Namespace, folder: Path) -> Job:
    """Return the job that all measurements are variations of, with the recipe's own training rows in a file."""
    from luthier.pipeline.run import open_project

    _, prepared = open_project(options.project)
    dataset, columns = prepared.dataset, prepared.columns
    rows = {role: dataset.cells("train", columns[role]) for role in ("prompt", "completion")}
    path = folder / "texts.json"
    path.write_text(json.dumps({"train": rows}), encoding="utf-8")
    prepared.part("train")  # tokenised once here, so that every round finds the rows in the cache
    return job_of(options, prepared, path, padded_length=prepared.max_length)


def summarise(rounds: Mapping[str, Sequence[Measured]]) -> dict[str, Any]:
    """Return medians, and ratios to luthier's median: by the clock, and by processor time."""
    contestants = {
        name: {**figures(found), "trained_parameters": found[0].parameters} for name, found in rounds.items()
    }
    by_processor = {name: one["rows_per_processor_second"] for name, one in contestants.items()}
    own = by_processor.pop("luthier", None)
    return {
        "ratios": ratios(rounds),
        "processor_ratios": {f"luthier/{n}": round(own / value, 2) for n, value in by_processor.items() if own},
        "contestants": contestants,
    }


def table(summary: Mapping[str, Any]) -> str:
    """Return the figures as a Markdown table."""
    head = [*SPEED_HEAD, "rows per processor second", "Luthier over this"]
    return grid(head, [_line(name, summary) for name in summary["contestants"]])


def _line(name: str, summary: Mapping[str, Any]) -> list[str]:
    one, other = summary["contestants"][name], f"luthier/{name}"
    by_processor = summary["processor_ratios"].get(other)
    return [
        *speed_cells(CHAT_NAMES[name], one, summary["ratios"].get(other)),
        f"{one['rows_per_processor_second']:.2f}",
        f"{by_processor:.2f}" if by_processor is not None else "",
    ]


def section(summary: Mapping[str, Any]) -> str:
    """Return the table with all that its reader must know."""
    how = summary["setup"]
    return "\n".join(
        [
            "## LoRA on a chat model",
            "",
            "`sample:smollm2` (SmolLM2-135M) learns `sample:support-chat`, loss on the completions alone, LoRA of rank "
            "8 on queries and values for all, the same rows and chat template. Each measurement runs in a process of "
            f"its own; the contestants take turns; rounds: {how['rounds']}. Rows/s is rows trained over wall time "
            f"after {how['warm_steps']} steps of warm-up; where others use the machine, rows per second of the "
            "process's own processor time say more. Luthier's checkpoints count in its time; the others write none.",
            "",
            table(summary),
            "",
            *origin(summary["machine"], how, "peft", "accelerate"),
        ]
    )


def main(given: Sequence[str] | None = None) -> None:
    """Measure, and print one table and one JSON line."""
    options = arguments(given)
    load = load_now()
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        job = prepare(options, Path(folder))
        found = [one_round(number, options, job, BY_LENGTH, measure) for number in range(options.rounds)]
    summary = {
        "benchmark": "generation",
        **summarise({name: [one[name] for one in found] for name in options.only}),
        "machine": machine_and_peaks(job.threads)["machine"],
        "setup": setup(
            "generation.py", given, load, rounds=options.rounds, warm_steps=options.warm_steps, threads=job.threads
        ),
    }
    if not options.json:
        print(table(summary))
    print(json.dumps(summary))
    if options.write is not None:
        write_section(options.write, "generation", section(summary))


if __name__ == "__main__":
    main()
