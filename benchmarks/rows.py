"""Time and peak memory of all that comes before training as rows grow, up to the first step.

    python benchmarks/rows.py [--rows 10000,100000,1000000] [--json] [--write docs/benchmarks.md]

Rows are synthetic: short sentences of made-up words with a label that follows from one of them. Each size runs in a
process of its own, with an empty cache, and reports the largest resident memory before the model is loaded, and with
the first training step.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from measurement import HERE, load_now, output_options, python, setup
from tables import grid, origin, write_section

if TYPE_CHECKING:
    from luthier.pipeline.prepared import Prepared

ROWS = (10_000, 100_000, 1_000_000)


def write_rows(path: Path, rows: int) -> None:
    """Write a CSV of that many short rows, all different."""
    draw = random.Random(rows)
    words = [f"{a}{b}" for a in ("ka", "lo", "mi", "ne", "pa", "ru", "so", "ti") for b in ("ber", "dan", "fol", "gim")]
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["text", "label"])
        for number in range(rows):
            label = draw.choice(("good", "bad"))
            filler = " ".join(draw.choices(words, k=draw.randint(4, 14)))
            writer.writerow([f"{filler} {label} {number}", label])


def measure(path: Path) -> dict[str, float]:
    """Measure one size in this process."""
    from luthier.pipeline.checking import data_check
    from luthier.pipeline.run import open_project
    from luthier.training.step_check import peak_memory_mib

    project = {
        "version": 1,
        "name": "rows",
        "task": "text-classification",
        "model": "sample:minilm",
        "data": {"train": str(path)},
    }
    _, prepared = open_project(project)
    seconds = {}
    begun, processor = time.perf_counter(), time.process_time()
    for name, step in {
        "read": lambda: prepared.sources,
        "split": lambda: prepared.dataset,
        "tokenise": lambda: prepared.features,
        "check": lambda: data_check(prepared),
    }.items():
        step()
        seconds[name] = round(time.perf_counter() - begun, 2)
        begun = time.perf_counter()
    data_mib, processor = round(peak_memory_mib()), time.process_time() - processor
    first_step(prepared)
    seconds["first_step"] = round(time.perf_counter() - begun, 2)
    rows = len(prepared.sources["train"])
    per_row = round(1e6 * sum(value for name, value in seconds.items() if name != "first_step") / rows, 1)
    return {
        "rows": rows,
        **seconds,
        "microseconds_per_row": per_row,
        "processor_microseconds_per_row": round(1e6 * processor / rows, 1),
        "peak_mib": data_mib,
        "peak_mib_with_a_step": round(peak_memory_mib()),
    }


def first_step(prepared: Prepared) -> None:
    """Load the model and take the first optimiser step."""
    from luthier.pipeline.training import TrainJob, choose, engine
    from luthier.training.events import StepDone

    job = TrainJob(prepared, choose(prepared))
    with engine(job.choices), tempfile.TemporaryDirectory() as folder:
        assert isinstance(next(iter(job.fit(job.assemble(), folder=Path(folder)))), StepDone)


def run_one(rows: int) -> dict[str, float]:
    """Measure one size in a process of its own."""
    from luthier.samples import path as sample_path

    sample_path("minilm")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "rows.csv"
        write_rows(source, rows)
        home = Path(folder) / "home"
        home.mkdir()
        (home / "samples").symlink_to(sample_path("minilm").path.parents[1])
        printed = python([str(HERE / "rows.py"), "--measure", str(source)], LUTHIER_HOME=str(home))
        found: dict[str, float] = json.loads(printed.splitlines()[-1])
        return found


def table(found: Sequence[Mapping[str, float]]) -> str:
    """Return the figures as a Markdown table."""
    titles = {name: f"{name.replace('_', ' ')}, s" for name in ("read", "split", "tokenise", "check", "first_step")}
    titles |= {
        "microseconds_per_row": "data, µs a row",
        "processor_microseconds_per_row": "the same of processor time",
        "peak_mib": "peak, MiB",
        "peak_mib_with_a_step": "with a step",
    }
    names = list(found[0])
    head = [titles.get(name, name) for name in names]
    return grid(head, [[f"{one[name]:,}" for name in names] for one in found], names=False)


def section(summary: Mapping[str, Any]) -> str:
    """Return the table with how and when it was made."""
    return "\n".join(
        [
            "## Memory and time as rows grow",
            "",
            "Synthetic short rows in a CSV, each size in a process of its own with an empty cache: reading, splitting "
            "by text, tokenising, the data check, then loading `sample:minilm` and one training step. The time of the "
            "data part a row is given on the clock and of the processor; memory is the largest resident, before and "
            "with the step.",
            "",
            table(summary["sizes"]),
            "",
            *origin(summary["machine"], summary["setup"]),
        ]
    )


def main(given: Sequence[str] | None = None) -> None:
    """Print a table and a JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default=",".join(map(str, ROWS)), help="sizes, with commas between")
    output_options(parser)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(given)
    if options.measure is not None:
        print(json.dumps(measure(options.measure)))
        return
    from machine import describe

    load = load_now()
    found = [run_one(int(rows)) for rows in options.rows.split(",")]
    summary = {"benchmark": "rows", "sizes": found, "machine": describe(), "setup": setup("rows.py", given, load)}
    if not options.json:
        print(table(found))
    print(json.dumps(summary))
    if options.write is not None:
        write_section(options.write, "rows", section(summary))


if __name__ == "__main__":
    main()
