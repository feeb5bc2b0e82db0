"""Rows per second of fine-tuning: a plain script, Transformers' Trainer, the Trainer tuned, and Luthier.

    python benchmarks/training.py [--accuracy] [--write docs/benchmarks.md]

The contestants take turns, each measurement in a fresh process. The machine should be idle: one busy core is enough to
make every figure meaningless. It needs the extra `luthier[test]` and, after the samples are fetched, no network.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from contestants import NAMES
from contestants.job import Job
from measurement import (
    RECIPES,
    contest_options,
    job_of,
    kept,
    load_now,
    machine_and_peaks,
    measure,
    names_among,
    one_round,
    positive,
    setup,
)
from quality import DATA, head_only, time_to_quality
from tables import quality_section, section, summarise, table, write_section

PADDED_LENGTH = 128
BY_LENGTH = {"trainer_tuned", "luthier"}


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description="Rows per second of fine-tuning, against peers, in one run.")
    contest_options(parser, NAMES, recipe=RECIPES / "movie-sentiment.yaml")
    parser.add_argument("--rows", type=positive, default=1500, help="rows of a measurement after the warm-up, at least")
    parser.add_argument(
        "--rows-sorted",
        type=positive,
        default=6400,
        help="the same for those whose batches hold rows of one length, where few batches say little; "
        "multiples of 1600 are whole megabatches of the tuned Trainer",
    )
    parser.add_argument("--warm-steps", type=positive, default=5, help="steps before the clock starts")
    parser.add_argument("--accuracy", action="store_true", help="train each to its end once more, and test (long)")
    parser.add_argument("--full", action="store_true", help="time to equal quality as well, over --seeds (hours)")
    parser.add_argument("--seeds", type=positive, default=5, help="of --full")
    parser.add_argument(
        "--quality-data", type=names_among(DATA), default=list(DATA), help=f"of --full: some of {','.join(DATA)}"
    )
    parser.add_argument(
        "--keep",
        type=Path,
        metavar="FILE",
        help="of --full: add each run to a file, and take from there what an earlier command ran on the same job",
    )
    parser.add_argument("--no-head", action="store_true", help="leave out training the head alone")
    parser.add_argument(
        "--join",
        type=positive,
        default=None,
        metavar="TOKENS",
        help="train on long texts instead: rows of one label joined to about this many tokens",
    )
    return parser.parse_args(given)


def join_rows(project: str, tokens: int, path: Path) -> None:
    """Write a data file in which training rows of one label are joined to texts of about some tokens each.

    Args:
        project: the project whose rows are joined, in the order of its training split.
        tokens: a text is full when the next row would make it longer.
        path: the JSON Lines file.
    """
    from luthier.pipeline.run import open_project

    _, prepared = open_project(project)
    dataset = prepared.dataset
    features, index = prepared.part("train")
    texts = dataset.cells("train", prepared.columns["text"])
    labels = [dataset.targets["labels"][number] for number in dataset.target("train")]
    open_texts: dict[str, tuple[list[str], int]] = {}
    lines = []
    for text, label, cost in zip(texts, labels, features.total_cost[index] - 2, strict=True):
        parts, length = open_texts.get(label, ([], 2))
        if parts and length + cost > tokens:
            lines.append({"text": " ".join(parts), "label": label})
            parts, length = [], 2
        open_texts[label] = ([*parts, text], length + int(cost))
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")


def prepare(options: argparse.Namespace, folder: Path, overrides: Sequence[str] = ()) -> Job:
    """Return the job that all measurements are variations of, with the recipe's own splits in a file."""
    from luthier.pipeline.run import open_project

    if options.join:
        join_rows(options.project, options.join, folder / "joined.jsonl")
        overrides = [*overrides, f"data.train={folder / 'joined.jsonl'}", f"model.max_length={options.join}"]
    _, prepared = open_project(options.project, overrides)
    dataset = prepared.dataset
    column = prepared.columns["text"]
    texts: dict[str, Any] = {"classes": dataset.targets["labels"]}
    for split in ("train", "validation", "test"):
        texts[split] = {"text": dataset.cells(split, column), "label": dataset.target(split).tolist()}
    path = folder / f"texts-{len(list(folder.iterdir()))}.json"
    path.write_text(json.dumps(texts), encoding="utf-8")
    features, index = prepared.part("train")  # tokenised once here, so that every round finds them in the cache
    longest = int(features.total_cost[index].max())
    padded = options.join or PADDED_LENGTH
    assert longest <= padded, f"the script would cut rows: the longest has {longest} tokens"
    return job_of(options, prepared, path, padded_length=padded, overrides=overrides)


def main(given: Sequence[str] | None = None) -> None:
    """Measure, and print one table and one JSON line."""
    options = arguments(given)
    load = load_now()
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        job = prepare(options, Path(folder))
        rounds, limits = [], []
        for number in range(options.rounds):
            rounds.append(one_round(number, options, job, BY_LENGTH, measure))
            limits.append(machine_and_peaks(job.threads))
        head = {} if options.no_head else head_only(replace(job, rows=options.rows), min(2, options.rounds), measure)
        jobs = {name: prepare(options, Path(folder), DATA[name]) for name in options.quality_data if options.full}
        seeds = range(options.seed, options.seed + options.seeds)
        quality = time_to_quality(jobs, seeds, kept(measure, options.keep)) if options.full else {}
        whole = {name: measure(name, replace(job, whole=True)) for name in options.only if options.accuracy}
    speeds = {name: [one[name] for one in rounds] for name in options.only}
    peaks = {precision: [one[precision] for one in limits] for precision in ("bf16", "fp32")}
    summary = {
        "benchmark": "training",
        **summarise(speeds, whole, peaks),
        "machine": limits[-1]["machine"],
        "setup": setup(
            "training.py", given, load, rounds=options.rounds, warm_steps=options.warm_steps, threads=job.threads
        ),
    }
    if head:
        summary["head_only"] = head
        summary["ratios"]["head_only: luthier/trainer"] = head["ratio"]
    for name, found in quality.items():
        summary.setdefault("time_to_quality", {})[name] = found
        summary["ratios"][f"time to quality on {name}: trainer/luthier"] = found["ratio"]
    report(summary, options)


def report(summary: dict[str, Any], options: argparse.Namespace) -> None:
    """Print the summary, and write it into a page where that was asked."""
    if not options.json:
        print(table(summary))
    print(json.dumps(summary))
    if options.write is not None:
        write_section(options.write, "training", section(summary))
        if "time_to_quality" in summary:
            write_section(options.write, "quality", quality_section(summary))


if __name__ == "__main__":
    main()
