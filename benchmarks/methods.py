"""The methods side by side under fixed conditions: what trains, memory, time, quality.

    python benchmarks/methods.py [--rows N] [--epochs N] [--only lora,full] [--tasks movie-reviews,support-chat]
        [--chat-rows N] [--chat-epochs N] [--write docs/methods.md] [--json]

Each file of recipes/methods/ is trained in a process of its own on each task: the same rows in the same order, the same
number of epochs. `movie-reviews` is that file as it stands. `support-chat` is recipes/chat.yaml with the file's
method, for those that go with text generation; where the file's learning rate is one for small encoders, `CHAT_RATES`
has another. Quality is that of the chosen weights on the validation rows, with a 95 % interval (Wilson's for accuracy,
the bootstrap over rows for perplexity); the rows also chose the best of the epochs, for every method alike. Time is
that of the training steps and of computing the states of frozen layers, checkpoints included, validation left out.
Memory is the largest of the whole process, libraries included. Methods that do not run here (qlora without
bitsandbytes) are named and left out.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contestants.loop import no_kept_states
from measurement import HERE, load_now, names_among, once, output_options, positive, python, setup
from method_tasks import TASKS, UNTUNED, judge, source
from tables import grid, origin, write_section

if TYPE_CHECKING:
    from luthier.models.assembly import Assembled
    from luthier.pipeline.training import TrainJob


def measure(task: str, name: str, overrides: Sequence[str]) -> dict[str, Any]:
    """Train by one method in this process, and return its figures; `untuned` trains nothing.

    Args:
        task: a key of `TASKS`.
        name: of the method.
        overrides: of the project, equal for all methods.
    """
    from luthier.errors import LuthierError
    from luthier.pipeline.run import open_project
    from luthier.pipeline.training import TrainJob, choose, engine, forward
    from luthier.training.step_check import peak_memory_mib

    project, more = source(task, name)
    try:
        _, prepared = open_project(project, [*more, *overrides])
        job = TrainJob(prepared, choose(prepared))
        with tempfile.TemporaryDirectory() as folder, engine(job.choices), no_kept_states():
            assembled = job.assemble()
            trained = {} if name == UNTUNED else train(job, assembled, Path(folder))
            outputs = forward(assembled.model, *prepared.part("validation"), precision="fp32")
    except LuthierError as error:
        return {"method": name, "refused": str(error)}
    value, (low, high) = judge(task, prepared, outputs)
    return {
        "method": name,
        **trained,
        "peak_mib": round(peak_memory_mib()),
        "validation_rows": len(prepared.part("validation")[1]),
        "quality": round(value, 4),
        "interval": [round(low, 4), round(high, 4)],
    }


def train(job: TrainJob, assembled: Assembled, folder: Path) -> dict[str, Any]:
    """Train to the end; the model holds the chosen weights afterwards. Return what that took."""
    from luthier.training.events import Finished, Validated

    began, mark = time.perf_counter(), time.process_time()
    fit = job.fit(assembled, folder=folder)
    set_up = time.perf_counter() - began  # with it the states of frozen layers are computed
    events, processor = [], 0.0
    for event in fit:
        now = time.process_time()
        processor += 0.0 if isinstance(event, Validated) else now - mark
        mark = now
        events.append(event)
    finished = events[-1]
    assert isinstance(finished, Finished), "nothing stops this run before its end"
    moving = {name: p.numel() for name, p in assembled.model.named_parameters() if name in fit.kept}
    return {
        "learning_rate": job.spec.learning_rate,
        "trainable": sum(moving.values()),
        "trainable_without_head": sum(size for name, size in moving.items() if not name.startswith("heads.")),
        "seconds": round(finished.seconds + set_up, 1),
        "processor_seconds": round(processor, 1),
        "epochs": job.spec.epochs,
        "steps": finished.steps,
        "best_step": finished.best_step,
        "rows": finished.rows,
    }


def run_one(task: str, name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Measure one method in a process of its own, or return what `--keep` holds of it."""
    conditions = conditions_of(task, options)

    def made() -> dict[str, Any]:
        print(f"{task}: {name}", file=sys.stderr, flush=True)
        printed = python([str(HERE / "methods.py"), "--measure", task, name, *conditions], options.threads)
        found: dict[str, Any] = json.loads(printed.splitlines()[-1])
        return found

    return once(options.keep, {"task": task, "method": name, "conditions": conditions}, made)


def conditions_of(task: str, options: argparse.Namespace) -> list[str]:
    """Return the overrides that are equal for all methods of a task."""
    chat = task == "support-chat"
    wanted = {
        "train.checkpoint_seconds": 3600,
        "train.threads": options.threads,
        "data.limit": options.chat_rows if chat else options.rows,
        "train.epochs": options.chat_epochs if chat else options.epochs,
    }
    return [f"{key}={value}" for key, value in wanted.items() if value is not None]


def methods_of(task: str, only: Sequence[str] | None) -> list[str]:
    """Return the methods to measure on a task: those that were asked for and go with it."""
    from luthier.models.tuning.table import METHODS, refusal

    wanted = list(only or METHODS)
    if task == "movie-reviews":
        return wanted
    return [UNTUNED, *(name for name in wanted if refusal(name, "llama", "text-generation") is None)]


def table(task: str, found: Sequence[Mapping[str, Any]]) -> str:
    """Return a task's figures as a Markdown table."""
    head = ["method", "learning rate", "trainable", "beside the head", "peak MiB", "training s", "processor s"]
    return grid([*head, TASKS[task].shown], [line(one) for one in found if "refused" not in one])


def line(one: Mapping[str, Any]) -> list[str]:
    """Return the cells of a method."""
    low, high = one["interval"]
    quality = f"{one['quality']:.3f} ({low:.3f} to {high:.3f})"
    if one["method"] == UNTUNED:
        return ["none: the pretrained model", "", "0", "0", f"{one['peak_mib']:,}", "0", "0", quality]
    return [
        f"[`{one['method']}`](../recipes/methods/{one['method']}.yaml)",
        f"{one['learning_rate']:g}",
        f"{one['trainable']:,}",
        f"{one['trainable_without_head']:,}",
        f"{one['peak_mib']:,}",
        f"{one['seconds']:.0f}",
        f"{one['processor_seconds']:.0f}",
        quality,
    ]


def section(task: str, summary: Mapping[str, Any]) -> str:
    """Return a task's table with all that its reader must know."""
    found = summary["tasks"][task]
    trained = next(one for one in found if "steps" in one)
    left_out = [one["method"] for one in found if "refused" in one]
    return "\n".join(
        [
            f"### {TASKS[task].title}",
            "",
            f"{TASKS[task].says}; epochs: {trained['epochs']}, one seed, {trained['rows']:,} rows trained in all. "
            f"Quality is on {trained['validation_rows']:,} validation rows, which also chose the best epoch; time is "
            "that of the training steps and, where layers are frozen, of computing their states, on the clock and of "
            "the processor, which says more where others use the machine; memory is the largest of the whole process, "
            "each method having one of its own. Read no order into neighbours."
            + (f" Left out, since it does not run here: {', '.join(left_out)}." if left_out else ""),
            "",
            table(task, found),
            "",
            *origin(summary["machine"], summary["setup"], "peft"),
        ]
    )


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the command line's options."""
    from luthier.models.tuning.table import METHODS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=names_among(TASKS), default=list(TASKS), help="with commas between (all)")
    parser.add_argument(
        "--rows",
        type=positive,
        help="use the first N rows of movie-reviews, which stand sorted by label: for time and memory alone (all)",
    )
    parser.add_argument("--only", type=names_among(METHODS), help="methods, with commas between (all)")
    parser.add_argument("--threads", type=positive, help="of PyTorch (all)")
    parser.add_argument("--epochs", type=positive, help="passes over them (those of the recipes)")
    parser.add_argument("--chat-rows", type=positive, default=600, help="the same for support-chat (600)")
    parser.add_argument("--chat-epochs", type=positive, default=1, help="the same for support-chat (1)")
    parser.add_argument(
        "--keep",
        type=Path,
        metavar="FILE",
        help="add each method's figures to a file, and take from there what was measured under the same conditions; "
        "take a line out to measure its method again",
    )
    output_options(parser)
    parser.add_argument("--measure", nargs="+", metavar="TASK METHOD OVERRIDE", help=argparse.SUPPRESS)
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> None:
    """Print a table for each task and a JSON line."""
    options = arguments(given)
    if options.measure:
        task, name, *overrides = options.measure
        print(json.dumps(measure(task, name, overrides)))
        return
    from machine import describe

    load = load_now()
    tasks: dict[str, list[dict[str, Any]]] = {}
    for task in options.tasks:
        tasks[task] = [run_one(task, name, options) for name in methods_of(task, options.only)]
    summary = {
        "benchmark": "methods",
        "tasks": tasks,
        "machine": describe(),
        "setup": setup("methods.py", given, load),
    }
    for task, found in tasks.items() if not options.json else ():
        print(table(task, found), end="\n\n")
    print(json.dumps(summary))
    for task in tasks if options.write is not None else ():
        write_section(options.write, task, section(task, summary))


if __name__ == "__main__":
    main()
