"""The command line: one thin function per command. The only module that prints or exits.

Exit codes: 0 done; 2 the user's input; 3 a contract was not met; 130 stopped by a signal, with a checkpoint; 1 our bug.
"""

from __future__ import annotations

import argparse
import difflib
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from luthier.artifacts.files import disk_errors_named, home
from luthier.errors import LuthierError
from luthier.version import __version__

Command = Callable[[argparse.Namespace], int]

# How long a compute thread spins for the other before it sleeps. The OpenMP library's own value is far higher:
# where another program wants the same cores, each wait is then spent spinning (docs/decisions/spinning.md).
SPIN_COUNT = "3000"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)
    options = _parser().parse_args(arguments)
    command: Command = options.command
    try:
        with disk_errors_named(Path.cwd()):
            return command(options)
    except LuthierError as error:
        _say(f"{error}")
        return error.exit_code
    except BrokenPipeError:
        return 0
    except KeyboardInterrupt:
        _say("stopped")
        return 130
    except Exception as error:
        _say(f"this is a bug in Luthier: {type(error).__name__}: {error} (the traceback is {_keep_traceback(options)})")
        return 1


def run(options: argparse.Namespace) -> int:
    """Check, train, evaluate, bundle and report."""
    from luthier.console import Progress, summary
    from luthier.pipeline.run import run as execute

    progress = Progress()
    stop = _stop_on_signals()
    try:
        result = execute(
            options.project,
            run_dir=options.run_dir,
            overrides=options.set,
            fresh=options.fresh,
            allowed=options.allow_changed,
            emit=progress,
            stop=stop,
        )
    finally:
        progress.close()
    if _follows():
        return 0
    print(json.dumps(result, ensure_ascii=False) if options.json else summary(result))
    return 0


def check(options: argparse.Namespace) -> int:
    """Look at the data and at a few training steps; leave nothing behind."""
    from luthier.config import CheckStage
    from luthier.console import Progress, batch_lines, check_lines
    from luthier.pipeline.batch import first_batch
    from luthier.pipeline.run import check as look
    from luthier.pipeline.run import open_project

    progress = Progress()
    report = look(options.project, overrides=options.set, emit=progress)
    prepared = open_project(options.project, options.set)[1]
    spec = prepared.plan.only(CheckStage).spec
    batch = first_batch(prepared) if options.show_batch else []
    if options.json:
        more = {"batch": [one.as_dict() for one in batch]} if options.show_batch else {}
        print(json.dumps({**report.model_dump(mode="json"), **more}, ensure_ascii=False))
    else:
        print("\n\n".join([check_lines(report), *([batch_lines(batch)] if batch else [])]))
    return 2 if report.stopping(spec.stop_on, tuple(spec.ignore)) else 0


def profile(options: argparse.Namespace) -> int:
    """Show where the time of a training step goes, and the share of the machine's peak; leave nothing behind."""
    from luthier.pipeline.run import profile as measure
    from luthier.training.profile import profile_lines

    found, choices = measure(options.project, overrides=options.set, steps=options.steps)
    print(json.dumps({**found.as_dict(), "choices": choices}) if options.json else profile_lines(found, choices))
    return 0


def predict(options: argparse.Namespace) -> int:
    """Answer the rows of a file."""
    from luthier.inference.loading import load, processor_note
    from luthier.inference.tables import predict_table

    predictor = load(options.bundle, entry=options.entry, runtime=options.runtime)
    if note := processor_note(predictor.manifest.runtimes[0]):
        _say(note)
    out = sys.stdout if options.out is None else Path(options.out)
    source = "-" if options.input == "-" else Path(options.input)
    report = predict_table(predictor, source, out=out, format=options.format)
    for note in report.notes:
        _say(note)
    for place, message in report.bad:
        _say(f"{place}: {message}")
    rate = report.answered / max(report.seconds, 1e-9)
    bad = report.rows - report.answered
    _say(f"{report.answered} of {report.rows} rows answered, {rate:.0f} rows/s" + (f"; {bad} bad" if bad else ""))
    return 0


def serve(options: argparse.Namespace) -> int:
    """Answer over HTTP."""
    from luthier.serving.server import serve as listen

    listen(
        options.bundle,
        host=options.host,
        port=options.port,
        entry=options.entry,
        runtime=options.runtime,
        tell=_say,
        on_ready=lambda url: _say(f"serving {options.bundle} at {url} (Ctrl-C stops it; {url}/docs to try it)"),
    )
    return 0


def verify(options: argparse.Namespace) -> int:
    """Check a bundle's hashes and replay its golden examples."""
    from luthier.inference.loading import verify as replay

    found = replay(options.bundle)
    reason = "is the base without its adapter" if found.adapters else "holds no plain weights"
    plain = f"not replayed through plain Transformers: model/ {reason}"
    if found.plain_difference is not None:
        plain = f"through plain Transformers {found.plain_difference:.1e}"
    print(
        f"{found.files} files whole; {found.goldens} golden examples answered as when they were evaluated "
        f"(largest difference {found.largest_difference:.1e}; {plain})"
    )
    return 0


def combine(options: argparse.Namespace) -> int:
    """Make one bundle of several adapters over the same base."""
    from luthier.inference.combining import combine as join

    print(f"wrote {join(options.bundles, options.out)}; choose an entry with --entry")
    return 0


def export(options: argparse.Namespace) -> int:
    """Write a bundle in another form, and prove that it answers as before."""
    from luthier.compression.export.exporting import export as write

    found = write(options.bundle, options.to, options.out)
    if options.json:
        print(json.dumps({**vars(found), "folder": str(found.folder)}))
        return 0
    graph = ""
    if found.torch_difference is not None:
        graph = f"; largest difference from torch over {found.shapes} shapes {found.torch_difference:.1e}"
    if found.attention_nodes is not None:
        graph += f"; {found.attention_nodes} fused attention nodes"
    print(
        f"wrote {found.folder} ({found.bytes / 1e6:,.1f} MB) in {found.seconds:.0f} s; {found.goldens} golden examples "
        f"answered as when they were evaluated (largest difference {found.golden_difference:.1e}){graph}"
    )
    return 0


def compress(options: argparse.Namespace) -> int:
    """Search for a smaller and faster form of a run's bundle that keeps a contract."""
    from luthier.console import compression_lines
    from luthier.pipeline.compressing import compress as search
    from luthier.pipeline.compressing import compressed_bundle, refuse_broken

    asked = {key: getattr(options, key) for key in (*CONTRACT, "prefer", "moves") if getattr(options, key) is not None}
    report = search(options.bundle, changes=asked, fresh=options.fresh, tell=_say, stop=_stop_on_signals())
    print(report.model_dump_json() if options.json else compression_lines(report))
    refuse_broken(report, Path(options.bundle))
    if report.test is not None:
        _say(f"the compressed bundle lies in {compressed_bundle(options.bundle)}")
    return 0


def compare(options: argparse.Namespace) -> int:
    """Compare two runs: what was asked for, what came out, and the answers on the test rows that they share."""
    from dataclasses import asdict

    from luthier.artifacts.runs import compare_plans
    from luthier.console import comparison_lines, difference_lines
    from luthier.evaluation.compare import compare as pair

    runs = Path(options.before), Path(options.after)
    differing = compare_plans(*runs)
    if not options.json:
        print(difference_lines(differing))
    found = pair(*runs)
    both = {**asdict(found), **asdict(differing)}
    print(json.dumps(both) if options.json else comparison_lines(found, options.before, options.after))
    return 0


def runs(options: argparse.Namespace) -> int:
    """List the runs in a folder; `luthier compare` shows how two of them differ."""
    from dataclasses import asdict

    from luthier.artifacts.runs import list_runs
    from luthier.console import run_lines

    found = list_runs(Path(options.folder))
    if options.sort != "date":  # the newest come first already
        found.sort(key=lambda one: (getattr(one, SORTS[options.sort]) is None, getattr(one, SORTS[options.sort])))
    if options.sort == "metric":
        found.sort(key=lambda one: -one.value if one.value is not None else float("inf"))
    print(json.dumps([asdict(one) for one in found], ensure_ascii=False) if options.json else run_lines(found))
    return 0


def init(options: argparse.Namespace) -> int:
    """Look at a data file and write a project file for it."""
    from luthier.artifacts.files import write_bytes_atomic
    from luthier.config.template import project_text
    from luthier.data.infer import ROWS, infer

    target = Path(options.out)
    if target.exists() and not options.force:
        raise LuthierError("exists already.", where=str(target), fix="Choose another name with -o, or add --force.")
    guess = infer(options.data, folder=Path.cwd())
    stem = Path(options.data).stem if "/" in options.data or "." in options.data else options.data.split(":")[-1]
    name = "".join(char if char.isalnum() else "-" for char in stem.lower()).strip("-")[:64] or "project"
    text = project_text(
        name=name if name.isascii() else "project",
        task="text-classification",
        model=options.model,
        data=options.data,
        columns=guess.columns,
        labels=guess.labels if guess.rows < ROWS else None,
        delimiter=guess.delimiter,
        skip_bad_rows=guess.bad_rows,
        notes=guess.notes,
    )
    write_bytes_atomic(target, text.encode())
    print(
        "\n".join([*guess.notes, "", f"wrote {target}; next:", f"  luthier check {target}", f"  luthier run {target}"])
    )
    return 0


def schema(options: argparse.Namespace) -> int:
    """Print the JSON Schema of a project file, or its reference page."""
    from luthier.config.schema import json_schema, reference_markdown
    from luthier.pipeline.names import known_names

    names = known_names()
    print(
        reference_markdown(names) if options.markdown else json.dumps(json_schema(names), indent=2, ensure_ascii=False)
    )
    return 0


def samples_list(options: argparse.Namespace) -> int:
    """List the samples."""
    from luthier.samples import SAMPLES

    if options.json:
        print(json.dumps([sample.facts() for sample in SAMPLES.values()], ensure_ascii=False))
        return 0
    width = max(len(name) for name in SAMPLES)
    for name, sample in SAMPLES.items():
        print(f"sample:{name:<{width}}  {sample.kind:<5}  {sample.licence:<10}  {sample.description.splitlines()[0]}")
    return 0


def samples_fetch(options: argparse.Namespace) -> int:
    """Fetch a sample, verify it and make it ready."""
    from luthier.samples import fetch

    for name in options.name:
        found = fetch(name)
        print(f"sample:{found.sample.name} is in {found.path}")
    return 0


def samples_path(options: argparse.Namespace) -> int:
    """Print where a sample lies."""
    from luthier.samples import path

    print(path(options.name).path)
    return 0


def samples_show(options: argparse.Namespace) -> int:
    """Print a sample's card."""
    from luthier.samples import describe

    print(describe(options.name).card())
    return 0


class _Parser(argparse.ArgumentParser):
    """Argparse with the nearest command in its message."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and leave with exit code 2."""
        wrong = message.partition("invalid choice: '")[2].partition("'")[0]
        near = difflib.get_close_matches(wrong, COMMANDS, n=1) if wrong else []
        _say(f"{self.prog}: {message}" + (f' Did you mean "{near[0]}"?' if near else ""))
        _say(f"see {self.prog} --help")
        raise SystemExit(2)


CONTRACT = {
    "max_drop": "points of the headline metric that may be lost",
    "confidence": "of a one-sided bound of the loss, which then must keep max-drop",
    "max_flips": "share of the answers that may change",
    "max_calibration_drift": "points by which the calibration error may rise",
    "max_slice_drop": "points that a slice of the rows may lose",
    "rows_per_second": "at least so many, in batches",
    "p95_ms": "at most, for single requests",
    "mib": "at most, of all files",
    "seconds": "of work, after which nothing new is begun",
    "learning_rate": "where a model with fewer layers learns from the whole one",
    "epochs": "over the training rows, there",
    "relations": "weight of the relations between tokens, there",
}
SORTS = {"date": "date", "name": "name", "metric": "value", "rate": "rows_per_second", "time": "seconds"}
COMMANDS = (
    "init",
    "check",
    "profile",
    "run",
    "runs",
    "compare",
    "verify",
    "combine",
    "export",
    "compress",
    "predict",
    "serve",
    "samples",
    "schema",
)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="luthier", description="From a pretrained model and a table of examples to a tested service.")
    parser.add_argument("--version", action="version", version=f"luthier {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    one = _add(commands, "init", init)
    one.add_argument("data", metavar="DATA", help="a CSV, JSON Lines or Parquet file, or a sample")
    one.add_argument("-o", "--out", default="project.yaml", metavar="FILE", help="the project file (project.yaml)")
    one.add_argument("--model", default="sample:minilm", help="a folder, a Hugging Face id or a sample")
    one.add_argument("--force", action="store_true", help="overwrite FILE")
    one = _add(commands, "check", check)
    _project_options(one)
    one.add_argument("--show-batch", action="store_true", help="print the rows of one batch with what is learnt marked")
    one = _add(commands, "profile", profile)
    _project_options(one)
    one.add_argument("--steps", type=_count, default=10, metavar="N", help="optimiser steps to measure, twice (10)")
    one = _add(commands, "run", run)
    _project_options(one)
    one.add_argument("--run-dir", metavar="DIR", help="the run's folder (runs/<name>)")
    one.add_argument("--fresh", action="store_true", help="start over; the old folder is kept aside")
    one.add_argument(
        "--allow-changed",
        action="append",
        default=[],
        metavar="KEY",
        help="go on although KEY differs from the run's start: a key such as train.epochs, or data, model, code, "
        "threads, processor, processes",
    )
    one = _add(commands, "runs", runs)
    one.add_argument("folder", nargs="?", default="runs", metavar="FOLDER", help="that runs lie in, or a run (runs)")
    one.add_argument(
        "--sort", choices=sorted(SORTS), default="date", help="date (newest first), metric (best first), ..."
    )
    one.add_argument("--json", action="store_true", help="print one line of JSON")
    one = _add(commands, "compare", compare)
    one.add_argument("before", metavar="RUN", help="a run's folder")
    one.add_argument("after", metavar="RUN", help="another run's folder")
    one.add_argument("--json", action="store_true", help="print one line of JSON")
    one = _add(commands, "verify", verify)
    one.add_argument("bundle", metavar="BUNDLE", help="a bundle, or a run that holds one")
    one = _add(commands, "combine", combine)
    one.add_argument("bundles", metavar="BUNDLE", nargs="+", help="bundles that keep their adapters apart")
    one.add_argument("-o", "--out", required=True, metavar="DIR", help="the new bundle's folder")
    one = _add(commands, "export", export)
    one.add_argument("bundle", metavar="BUNDLE", help="a bundle, or a run that holds one")
    one.add_argument(
        "--to",
        required=True,
        metavar="FORMAT",
        help="onnx, openvino, transformers, pt2, executorch, gguf, mlflow or container",
    )
    one.add_argument("-o", "--out", required=True, metavar="DIR", help="the new folder")
    one.add_argument("--json", action="store_true", help="print one line of JSON")
    one = _add(commands, "compress", compress)
    one.add_argument("bundle", metavar="BUNDLE", help="the bundle of a finished run, or the run's folder")
    for key, text in CONTRACT.items():
        kind = _count if key == "epochs" else float
        one.add_argument(f"--{key.replace('_', '-')}", type=kind, metavar="N", help=f"{text} (as the project says)")
    one.add_argument("--prefer", choices=("speed", "size"), help="what is sought among points that keep all of it")
    one.add_argument("--moves", choices=("all", "forms"), help="forms: runtimes and precisions alone")
    one.add_argument("--fresh", action="store_true", help="begin the search anew")
    one.add_argument("--json", action="store_true", help="print one line of JSON")
    one = _add(commands, "predict", predict)
    one.add_argument("bundle", metavar="BUNDLE", help="a bundle, or a run that holds one")
    one.add_argument("input", metavar="INPUT", help="a CSV, JSON Lines or Parquet file, or - for standard input")
    one.add_argument("-o", "--out", metavar="FILE", help="where the answers go (standard output)")
    one.add_argument("--format", default="auto", help="of INPUT: auto, csv, tsv, jsonl, parquet or text")
    one.add_argument("--entry", metavar="NAME", help="which entry of a combined bundle")
    one.add_argument("--runtime", metavar="NAME", help="which of the bundle's runtimes (the first)")
    one = _add(commands, "serve", serve)
    one.add_argument("bundle", metavar="BUNDLE", help="a bundle, or a run that holds one")
    one.add_argument("--entry", metavar="NAME", help="which entry of a combined bundle")
    one.add_argument("--runtime", metavar="NAME", help="which of the bundle's runtimes (the first)")
    one.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1: this machine only)")
    one.add_argument("--port", type=int, default=8000, help="port to listen on (8000; 0 takes a free one)")
    _samples_commands(commands)
    one = _add(commands, "schema", schema)
    one.add_argument("--markdown", action="store_true", help="print the reference page instead")
    return parser


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number above 0; got {text}.")
    return int(text)


def _samples_commands(commands: Any) -> None:
    inner = commands.add_parser("samples", help="List, fetch and find sample models and data.").add_subparsers(
        metavar="ACTION", required=True
    )
    one = _add(inner, "list", samples_list)
    one.add_argument("--json", action="store_true", help="print one line of JSON")
    _add(inner, "fetch", samples_fetch).add_argument("name", nargs="+", help="such as minilm")
    _add(inner, "path", samples_path).add_argument("name", help="such as minilm")
    _add(inner, "show", samples_show).add_argument("name", help="such as minilm")


def _add(commands: Any, name: str, command: Command) -> argparse.ArgumentParser:
    text = (command.__doc__ or "").strip()
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(command=command)
    return parser


def _project_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("project", metavar="PROJECT", help="a project file")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a key of the project")
    parser.add_argument("--json", action="store_true", help="print one line of JSON")


def _stop_on_signals() -> Callable[[], bool]:
    """Return a question that is true once SIGINT or SIGTERM came; a second one ends the process at once."""
    asked: list[int] = []

    def note(number: int, _: object) -> None:
        asked.append(number)
        signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.default_int_handler)
        if not _follows():
            _say("stopping after this step; once more to end at once")

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, note)
    return lambda: bool(asked)


def _follows() -> bool:
    """Return whether another process does the run, and this one only helps it to train."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and os.environ.get("RANK", "0") != "0"


def _keep_traceback(options: argparse.Namespace) -> str:
    """Write the traceback to the run's log, or to a log in the home folder, and return where it is."""
    folder = Path(options.run_dir) if getattr(options, "run_dir", None) else None
    path = folder / "log.txt" if folder is not None and folder.is_dir() else home() / "log.txt"
    text = f"luthier {__version__}\n{traceback.format_exc()}\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as stream:
            stream.write(text)
    except OSError:
        _say(text)
        return "above"
    return f"in {path}"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
