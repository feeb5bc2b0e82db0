"""What every benchmark does alike: its options, its processes, a contestant's measurement, and how it was made."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contestants.job import Job, Measured

if TYPE_CHECKING:
    from luthier.pipeline.prepared import Prepared

HERE = Path(__file__).resolve().parent
RECIPES = HERE.parent / "recipes"
BUSY = 0.5
PEER_EPOCHS = 3
PLACES = ("folder", "texts")
"""What of a job says where files lie for one run of a benchmark, and nothing of what is measured."""
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
Measure = Callable[[str, Job], Measured]


def positive(text: str) -> int:
    """Return an option's whole number, at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1; got {text}")
    return value


def names_among(known: Collection[str]) -> Callable[[str], list[str]]:
    """Return the type of an option that takes some of the known names, commas between; they keep the known order."""

    def chosen(text: str) -> list[str]:
        names = text.split(",")
        if unknown := [name for name in names if name not in known]:
            raise argparse.ArgumentTypeError(f"must be among {', '.join(known)}; got {', '.join(unknown)}")
        return [name for name in known if name in names]

    return chosen


def output_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where results go."""
    parser.add_argument("--json", action="store_true", help="print the JSON line alone")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="page whose section is replaced by this run's")


def contest_options(parser: argparse.ArgumentParser, contestants: Mapping[str, str], *, recipe: Path) -> None:
    """Add the options of a benchmark whose contestants take turns."""
    parser.add_argument("--rounds", type=positive, default=3, help="measurements of each contestant")
    parser.add_argument("--threads", type=positive, default=None, help="of every contestant; default: physical cores")
    parser.add_argument("--seed", type=int, default=13, help="of the first round; each round adds one")
    known = ",".join(contestants)
    parser.add_argument("--only", type=names_among(contestants), default=list(contestants), help=f"some of {known}")
    parser.add_argument("--project", default=str(recipe), help="Luthier's project file")
    output_options(parser)


def threads(options: argparse.Namespace) -> int:
    """Return the threads that were asked for, else the physical cores."""
    import psutil

    return options.threads or psutil.cpu_count(logical=False) or os.cpu_count() or 1


def job_of(
    options: argparse.Namespace, prepared: Prepared, texts: Path, *, padded_length: int, overrides: Sequence[str] = ()
) -> Job:
    """Return the job that all measurements are variations of.

    Args:
        options: with those of `contest_options`, `warm_steps` and `rows`.
        prepared: the recipe's inputs.
        texts: JSON file with the rows that all contestants train on.
        padded_length: what the plain script pads every row to, in tokens.
        overrides: of the project file.
    """
    return Job(
        project=str(Path(options.project).resolve()),
        model=str(prepared.model.folder),
        texts=str(texts),
        max_length=prepared.max_length,
        padded_length=padded_length,
        threads=threads(options),
        seed=options.seed,
        warm_steps=options.warm_steps,
        rows=options.rows,
        whole=False,
        epochs=PEER_EPOCHS,
        folder="",
        overrides=tuple(overrides),
    )


def python(command: Sequence[str], threads: int | None = None, **environment: str) -> str:
    """Run Python with equal threads and no network libraries looking outside; return what it printed."""
    path = os.pathsep.join([str(HERE), str(HERE.parent / "src")])
    fixed = {**OFFLINE, "PYTHONPATH": path, "TOKENIZERS_PARALLELISM": "false"}
    if threads is not None:
        fixed |= {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    done = subprocess.run(
        [sys.executable, *command],
        env={**os.environ, **fixed, **environment},
        cwd=HERE,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{shlex.join(command)} failed:\n{done.stderr[-4000:]}")
    return done.stdout


def measure(name: str, job: Job) -> Measured:
    """Return one contestant's measurement, made in a fresh process."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        job_path, result_path = Path(folder) / "job.json", Path(folder) / "result.json"
        replace(job, folder=str(Path(folder) / "run")).write(job_path)
        python(["-m", "contestants", name, str(job_path), str(result_path)], job.threads)
        measured = Measured(**json.loads(result_path.read_text(encoding="utf-8")))
    print(f"  {name}: {measured.rows_per_second:.1f} rows/s over {measured.seconds:.1f} s", file=sys.stderr, flush=True)
    return measured


def once(path: Path | None, key: Mapping[str, Any], make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what a file holds under a key; else make it, and add it to the file.

    Args:
        path: JSON Lines; a line that is taken out is made again. None makes always.
        key: JSON-like; the machine and the versions belong to it as well, so that no other machine's figures are taken.
        make: measures.
    """
    if path is None:
        return make()
    from machine import describe

    whole = json.loads(json.dumps({**key, "machine": describe()}))
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        one = json.loads(line)
        if one["key"] == whole:
            return dict(one["found"])
    found = make()
    with path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps({"key": whole, "found": found}) + "\n")
    return found


def kept(measure: Measure, path: Path | None) -> Measure:
    """Return a way to measure that takes from a file what the same job gave before, see `once`."""

    def measured(name: str, job: Job) -> Measured:
        same = {key: value for key, value in asdict(job).items() if key not in PLACES}
        return Measured(**once(path, {"contestant": name, "job": same}, lambda: asdict(measure(name, job))))

    return measured


def one_round(
    number: int, options: argparse.Namespace, job: Job, by_length: Collection[str], measure: Measure
) -> dict[str, Measured]:
    """Return each contestant's measurement, one after the other.

    Args:
        number: of the round, from 0; the seed follows from it.
        options: with those of `contest_options`, `rows` and `rows_sorted`.
        job: of all contestants.
        by_length: contestants that sort rows by length; few batches say little about them, so they train more rows.
        measure: runs a contestant in a fresh process.
    """
    print(f"round {number + 1} of {options.rounds}", file=sys.stderr, flush=True)
    seeded = replace(job, seed=options.seed + number)
    rows = {name: options.rows_sorted if name in by_length else options.rows for name in options.only}
    return {name: measure(name, replace(seeded, rows=rows[name])) for name in options.only}


def machine_and_peaks(threads: int) -> dict[str, Any]:
    """Return the machine, and its peaks in operations per second at some threads, from a fresh process."""
    found: dict[str, Any] = json.loads(python([str(HERE / "machine.py"), str(threads)], threads))
    return found


def load_now() -> float:
    """Return the machine's load, with a warning where others use it."""
    load = os.getloadavg()[0]
    if load > BUSY:
        print(f"warning: the machine is not idle (load {load:.1f}); the figures will mean little", file=sys.stderr)
    return round(load, 2)


def setup(script: str, given: Sequence[str] | None, load: float, **more: Any) -> dict[str, Any]:
    """Return how a result was made: the command, the date, the load at its start, and what else matters."""
    return {
        "command": shlex.join(["python", f"benchmarks/{script}", *(sys.argv[1:] if given is None else given)]),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "load_at_start": load,
        **more,
    }
