"""Time and peak memory of check and tokenisation as rows grow: reading, splitting, tokenising, the data check.

    python benchmarks/rows.py [--rows 10000,100000,1000000] [--json]

Rows are synthetic: short sentences of made-up words with a label that follows from one of them. Each size runs in a
process of its own, with an empty cache, and reports the process's largest resident memory.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

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
    begun = time.perf_counter()
    for name, step in {
        "read": lambda: prepared.sources,
        "split": lambda: prepared.dataset,
        "tokenise": lambda: prepared.features,
        "check": lambda: data_check(prepared),
    }.items():
        step()
        seconds[name] = round(time.perf_counter() - begun, 2)
        begun = time.perf_counter()
    return {"rows": len(prepared.sources["train"]), **seconds, "peak_mib": round(peak_memory_mib())}


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
        environment = {**os.environ, "LUTHIER_HOME": str(home)}
        command = [sys.executable, __file__, "--measure", str(source)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        return found


def main() -> None:
    """Print a table and a JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default=",".join(map(str, ROWS)), help="sizes, with commas between")
    parser.add_argument("--json", action="store_true", help="print the JSON line alone")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure is not None:
        print(json.dumps(measure(options.measure)))
        return
    found = [run_one(int(rows)) for rows in options.rows.split(",")]
    if not options.json:
        names = list(found[0])
        print("| " + " | ".join(name if name in {"rows", "peak_mib"} else f"{name} s" for name in names) + " |")
        print("|" + "---:|" * len(names))
        for one in found:
            print("| " + " | ".join(f"{one[name]:,}" for name in names) + " |")
    print(json.dumps({"benchmark": "rows", "sizes": found}))


if __name__ == "__main__":
    main()
