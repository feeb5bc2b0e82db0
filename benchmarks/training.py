"""Rows per second of fine-tuning: a plain script, Transformers' Trainer, the Trainer tuned, and Luthier.

    python benchmarks/training.py [--accuracy] [--write docs/benchmarks.md]

The contestants take turns, each measurement in a fresh process. The machine should be idle: one busy core is enough to
make every figure meaningless. It needs the extra `luthier[test]` and, after the samples are fetched, no network.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from contestants import NAMES
from contestants.job import Job, Measured
from quality import DATA, head_only, time_to_quality
from tables import section, summarise, table, write_section

HERE = Path(__file__).resolve().parent
RECIPE = HERE.parent / "recipes" / "movie-sentiment.yaml"
PADDED_LENGTH = 128
PEER_EPOCHS = 3
SORTED = {"trainer_tuned", "luthier"}
BUSY = 0.5
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description="Rows per second of fine-tuning, against peers, in one run.")
    parser.add_argument("--rounds", type=_positive, default=3, help="measurements of each contestant")
    parser.add_argument(
        "--rows", type=_positive, default=1500, help="rows of a measurement after the warm-up, at least"
    )
    parser.add_argument(
        "--rows-sorted",
        type=_positive,
        default=6400,
        help="the same for those whose batches hold rows of one length, where few batches say little; "
        "multiples of 1600 are whole megabatches of the tuned Trainer",
    )
    parser.add_argument("--warm-steps", type=_positive, default=5, help="steps before the clock starts")
    parser.add_argument("--threads", type=_positive, default=None, help="of every contestant; default: physical cores")
    parser.add_argument("--seed", type=int, default=13, help="of the first round; each round adds one")
    parser.add_argument("--only", type=_names, default=list(NAMES), help=f"some of {','.join(NAMES)}")
    parser.add_argument("--project", default=str(RECIPE), help="Luthier's project file")
    parser.add_argument("--accuracy", action="store_true", help="train each to its end once more, and test (long)")
    parser.add_argument("--full", action="store_true", help="time to equal quality as well, over --seeds (hours)")
    parser.add_argument("--seeds", type=_positive, default=5, help="of --full")
    parser.add_argument("--quality-data", type=_data, default=list(DATA), help=f"of --full: some of {','.join(DATA)}")
    parser.add_argument("--no-head", action="store_true", help="leave out training the head alone")
    parser.add_argument(
        "--join",
        type=_positive,
        default=None,
        metavar="TOKENS",
        help="train on long texts instead: rows of one label joined to about this many tokens",
    )
    parser.add_argument("--json", action="store_true", help="print the JSON line alone")
    parser.add_argument("--write", type=Path, default=None, help="page whose section is replaced by this run's")
    return parser.parse_args(given)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1; got {text}")
    return value


def _names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in NAMES]:
        raise argparse.ArgumentTypeError(f"must be among {', '.join(NAMES)}; got {', '.join(unknown)}")
    return [name for name in NAMES if name in names]


def _data(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in DATA]:
        raise argparse.ArgumentTypeError(f"must be among {', '.join(DATA)}; got {', '.join(unknown)}")
    return names


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
    import psutil

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
    return Job(
        project=str(Path(options.project).resolve()),
        model=str(prepared.model.folder),
        texts=str(path),
        max_length=prepared.max_length,
        padded_length=padded,
        threads=options.threads or psutil.cpu_count(logical=False) or os.cpu_count() or 1,
        seed=options.seed,
        warm_steps=options.warm_steps,
        rows=options.rows,
        whole=False,
        epochs=PEER_EPOCHS,
        folder="",
        overrides=tuple(overrides),
    )


def measure(name: str, job: Job) -> Measured:
    """Return one contestant's measurement, made in a fresh process."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        job_path, result_path = Path(folder) / "job.json", Path(folder) / "result.json"
        replace(job, folder=str(Path(folder) / "run")).write(job_path)
        _python(["-m", "contestants", name, str(job_path), str(result_path)], job.threads)
        measured = Measured(**json.loads(result_path.read_text(encoding="utf-8")))
    print(f"  {name}: {measured.rows_per_second:.1f} rows/s over {measured.seconds:.1f} s", file=sys.stderr, flush=True)
    return measured


def _python(command: Sequence[str], threads: int) -> str:
    """Run Python with equal threads and no network libraries looking outside; return what it printed."""
    path = os.pathsep.join([str(HERE), str(HERE.parent / "src")])
    environment = {**os.environ, **OFFLINE, "PYTHONPATH": path, "TOKENIZERS_PARALLELISM": "false"}
    environment |= {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    done = subprocess.run(
        [sys.executable, *command], env=environment, cwd=HERE, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{shlex.join(command)} failed:\n{done.stderr[-4000:]}")
    return done.stdout


def main(given: Sequence[str] | None = None) -> None:
    """Measure, and print one table and one JSON line."""
    options = arguments(given)
    load = os.getloadavg()[0]
    if load > BUSY:
        print(f"warning: the machine is not idle (load {load:.1f}); the figures will mean little", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        job = prepare(options, Path(folder))
        rounds: dict[str, list[Measured]] = {name: [] for name in options.only}
        peaks: dict[str, list[float]] = {"bf16": [], "fp32": []}
        machine: dict[str, Any] = {}
        for number in range(options.rounds):
            print(f"round {number + 1} of {options.rounds}", file=sys.stderr, flush=True)
            for name, measured in rounds.items():
                rows = options.rows_sorted if name in SORTED else options.rows
                measured.append(measure(name, replace(job, rows=rows, seed=options.seed + number)))
            found = json.loads(_python([str(HERE / "machine.py"), str(job.threads)], job.threads))
            machine = found["machine"]
            for precision, values in peaks.items():
                values.append(found[precision])
        head = {} if options.no_head else head_only(replace(job, rows=options.rows), min(2, options.rounds), measure)
        jobs = {name: prepare(options, Path(folder), DATA[name]) for name in options.quality_data if options.full}
        seeds = range(options.seed, options.seed + options.seeds)
        quality = time_to_quality(jobs, seeds, measure) if options.full else {}
        whole = {name: measure(name, replace(job, whole=True)) for name in options.only if options.accuracy}
    setup = {
        "command": shlex.join(["python", "benchmarks/training.py", *(sys.argv[1:] if given is None else given)]),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "rounds": options.rounds,
        "warm_steps": options.warm_steps,
        "threads": job.threads,
        "load_at_start": round(load, 2),
    }
    summary = {"benchmark": "training", **summarise(rounds, whole, peaks), "machine": machine, "setup": setup}
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


if __name__ == "__main__":
    main()
