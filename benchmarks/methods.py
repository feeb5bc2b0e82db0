"""The methods side by side under fixed conditions: what trains, memory, time, quality.

    python benchmarks/methods.py [--rows N] [--epochs N] [--only lora,full] [--write docs/methods.md] [--json]

Each file of recipes/methods/ is trained in a process of its own: the same rows in the same order, the same number of
epochs, the learning rate that the recipe gives. Accuracy is that of the chosen weights on the validation rows, with a
95 % Wilson interval; the rows also chose the best of the epochs, for every method alike. Time is that of the training
steps and of computing the states of frozen layers, checkpoints included, validation left out. Memory is the largest of
the whole process, libraries included.
Methods that do not run here (qlora without bitsandbytes) are named and left out.
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
import time
from pathlib import Path
from typing import Any

from contestants.loop import no_kept_states
from tables import write_section

HERE = Path(__file__).resolve().parent
RECIPES = HERE.parent / "recipes" / "methods"


def measure(name: str, rows: int | None, threads: int | None, epochs: int | None) -> dict[str, Any]:
    """Train one recipe in this process, and return its figures."""
    import numpy as np

    from luthier.errors import LuthierError
    from luthier.metrics.intervals import wilson
    from luthier.pipeline.run import open_project
    from luthier.pipeline.training import TrainJob, choose, engine, forward
    from luthier.training.events import Finished
    from luthier.training.step_check import peak_memory_mib

    overrides = ["train.checkpoint_seconds=3600"]
    overrides += [f"data.limit={rows}"] if rows else []
    overrides += [f"train.epochs={epochs}"] if epochs else []
    overrides += [f"train.threads={threads}"] if threads else []
    try:
        _, prepared = open_project(RECIPES / f"{name}.yaml", overrides)
        job = TrainJob(prepared, choose(prepared))
        with tempfile.TemporaryDirectory() as folder, engine(job.choices), no_kept_states():
            assembled = job.assemble()
            began = time.perf_counter()
            fit = job.fit(assembled, folder=Path(folder))
            set_up = time.perf_counter() - began  # with it the states of frozen layers are computed
            finished = [event for event in fit if isinstance(event, Finished)][-1]
            features, index = prepared.part("validation")
            outputs = forward(assembled.model, features, index, precision="fp32")
    except LuthierError as error:
        return {"method": name, "refused": str(error)}
    correct = int(np.sum(outputs["logits"].argmax(axis=1) == prepared.dataset.target("validation")))
    low, high = wilson(correct, len(index))
    moving = {name: p.numel() for name, p in assembled.model.named_parameters() if name in fit.kept}
    return {
        "method": name,
        "learning_rate": job.spec.learning_rate,
        "trainable": sum(moving.values()),
        "trainable_without_head": sum(size for name, size in moving.items() if not name.startswith("heads.")),
        "peak_mib": round(peak_memory_mib()),
        "seconds": round(finished.seconds + set_up, 1),
        "epochs": job.spec.epochs,
        "steps": finished.steps,
        "best_step": finished.best_step,
        "rows": finished.rows,
        "validation_rows": len(index),
        "accuracy": round(correct / len(index), 4),
        "interval": [round(low, 4), round(high, 4)],
    }


def run_one(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Measure one recipe in a process of its own."""
    command = [sys.executable, str(HERE / "methods.py"), "--measure", name]
    command += ["--rows", str(options.rows)] if options.rows else []
    command += ["--threads", str(options.threads)] if options.threads else []
    command += ["--epochs", str(options.epochs)] if options.epochs else []
    environment = {**os.environ, **({"OMP_NUM_THREADS": str(options.threads)} if options.threads else {})}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        raise SystemExit(f"{name} failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def table(found: list[dict[str, Any]]) -> str:
    """Return the figures as a Markdown table."""
    head = [
        "method",
        "learning rate",
        "trainable",
        "beside the head",
        "peak MiB",
        "training s",
        "accuracy (95 % interval)",
    ]
    lines = [head, ["---", *["---:"] * (len(head) - 1)]]
    for one in found:
        if "refused" in one:
            continue
        low, high = one["interval"]
        lines.append(
            [
                f"[`{one['method']}`](../recipes/methods/{one['method']}.yaml)",
                f"{one['learning_rate']:g}",
                f"{one['trainable']:,}",
                f"{one['trainable_without_head']:,}",
                f"{one['peak_mib']:,}",
                f"{one['seconds']:.0f}",
                f"{one['accuracy']:.3f} ({low:.3f} to {high:.3f})",
            ]
        )
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def section(summary: dict[str, Any]) -> str:
    """Return the table with all that its reader must know."""
    found, machine = summary["methods"], summary["machine"]
    first = next(one for one in found if "refused" not in one)
    versions = ", ".join(
        f"{name} {machine[name]}" for name in ("luthier", "torch", "transformers") if machine.get(name)
    )
    left_out = [one["method"] for one in found if "refused" in one]
    return "\n".join(
        [
            "## Measured",
            "",
            f"`sample:minilm` on `sample:movie-reviews`, epochs: {first['epochs']}, one seed, each method in a process "
            f"of its own at the learning rate of its recipe; {first['rows']:,} rows trained in all. Accuracy is on "
            f"{first['validation_rows']:,} validation rows, which also chose the best epoch; time is that of the "
            "training steps and, where layers are frozen, of computing their states; memory is the largest of the "
            "whole process. Read no order into neighbours."
            + (f" Left out, since it does not run here: {', '.join(left_out)}." if left_out else ""),
            "",
            table(found),
            "",
            f"Machine: {machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB. {versions}.",
            "",
            f"`{summary['setup']['command']}`, {summary['setup']['date']}.",
        ]
    )


def main(given: list[str] | None = None) -> None:
    """Print a table and a JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, help="use the first N rows of the data (all)")
    parser.add_argument("--only", help="methods, with commas between (all)")
    parser.add_argument("--threads", type=int, help="of PyTorch (all)")
    parser.add_argument("--epochs", type=int, help="passes over the rows (those of the recipes)")
    parser.add_argument("--json", action="store_true", help="print the JSON line alone")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the table into a page")
    parser.add_argument("--measure", metavar="METHOD", help=argparse.SUPPRESS)
    options = parser.parse_args(given)
    if options.measure:
        print(json.dumps(measure(options.measure, options.rows, options.threads, options.epochs)))
        return
    from luthier.models.tuning.table import METHODS
    from machine import describe

    found = []
    for name in options.only.split(",") if options.only else METHODS:
        print(name, file=sys.stderr, flush=True)
        found.append(run_one(name, options))
    command = shlex.join(["python", "benchmarks/methods.py", *(sys.argv[1:] if given is None else given)])
    setup = {"command": command, "date": datetime.datetime.now(datetime.UTC).date().isoformat(), "rows": options.rows}
    summary = {"benchmark": "methods", "methods": found, "machine": describe(), "setup": setup}
    if not options.json:
        print(table(found))
    print(json.dumps(summary))
    if options.write is not None:
        write_section(options.write, "methods", section(summary))


if __name__ == "__main__":
    main()
