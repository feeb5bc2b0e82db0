"""Many runs side by side: what each folder holds, read without changing anything, damaged ones included."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from luthier.artifacts.evaluation import EvalReport
from luthier.artifacts.files import read_json
from luthier.artifacts.run import RunDir
from luthier.errors import ArtifactError, LuthierError

STATES = ("finished", "running", "unfinished", "damaged")
STAGES = ("check", "train", "evaluate", "bundle", "report")


@dataclass(frozen=True)
class RunSummary:
    """One run folder in a line.

    Attributes:
        folder: where it lies.
        name: of the project.
        state: `finished`, `running`, `unfinished` or `damaged`.
        detail: the stage or step it stands at, or what is damaged.
        headline: name of the metric that stands for the others.
        value: of it on the test rows.
        interval: around it.
        baseline: the same metric of the best simple predictor.
        rows_per_second: of training.
        seconds: of all stages.
        date: when something was written last, in UTC, ISO 8601.
    """

    folder: str
    name: str
    state: str
    detail: str = ""
    headline: str | None = None
    value: float | None = None
    interval: tuple[float, float] | None = None
    baseline: float | None = None
    rows_per_second: float | None = None
    seconds: float | None = None
    date: str = ""


@dataclass(frozen=True)
class Difference:
    """How two runs differ.

    Attributes:
        plan: `{dotted key: (first, second)}` for what was asked for differently.
        results: `{metric: (first, second)}` for every number that both or one of them has.
    """

    plan: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    results: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)


def list_runs(folder: Path) -> list[RunSummary]:
    """Return the runs in a folder, newest first; a run's own folder is a list of one.

    Raises:
        LuthierError: there is no such folder, or no run in it.
    """
    if not folder.is_dir():
        raise LuthierError("there is no such folder.", where=str(folder), fix="Name the folder that runs lie in.")
    found = [folder] if is_run(folder) else sorted(path for path in folder.iterdir() if path.is_dir() and is_run(path))
    if not found:
        raise LuthierError("there is no run in this folder.", where=str(folder), fix="luthier run PROJECT makes one.")
    return sorted((summary(path) for path in found), key=lambda one: one.date, reverse=True)


def is_run(folder: Path) -> bool:
    """Return whether a folder holds a run."""
    return any((folder / name).exists() for name in ("plan.json", "run.json"))


def summary(folder: Path) -> RunSummary:
    """Return what a run folder holds; what is damaged is said in it."""
    date = datetime.fromtimestamp(_changed(folder), UTC).isoformat(timespec="seconds")
    try:
        name = str(_json(folder / "plan.json")["plan"]["name"])
        record = RunDir(folder)
        return _summary(folder, name, record, date)
    except (LuthierError, KeyError, TypeError, ValueError, OSError) as error:
        text = f"{type(error).__name__}: {error}" if isinstance(error, KeyError | TypeError) else str(error)
        return RunSummary(str(folder), folder.name, "damaged", text.splitlines()[0], date=date)


def _summary(folder: Path, name: str, record: RunDir, date: str) -> RunSummary:
    stages = record.stages
    finished = all(stage in stages for stage in STAGES)
    state = "finished" if finished else "running" if _held(folder / ".lock") else "unfinished"
    trained = stages["train"].result if "train" in stages else {}
    evaluated = EvalReport.read(folder / "evaluation.json") if "evaluate" in stages else None
    metric = evaluated.metrics[evaluated.headline] if evaluated else None
    others = [one.metrics.get(evaluated.headline) for one in evaluated.baselines] if evaluated else []
    values = [one.value for one in others if one is not None and one.value is not None]
    return RunSummary(
        folder=str(folder),
        name=name,
        state=state,
        detail="" if finished else _stands_at(folder, record),
        headline=evaluated.headline if evaluated else None,
        value=metric.value if metric else None,
        interval=metric.interval if metric else None,
        baseline=max(values) if values else None,
        rows_per_second=round(trained["rows"] / max(trained["seconds"], 1e-9), 1) if trained else None,
        seconds=round(sum(one.seconds for one in stages.values()), 1),
        date=date,
    )


def compare_plans(before: Path, after: Path) -> Difference:
    """Return how two runs differ in what was asked for and in what came out.

    Raises:
        ArtifactError: a folder holds no run, or its plan or evaluation is damaged.
    """
    plans = [_flat_plan(run) for run in (before, after)]
    keys = dict.fromkeys([*plans[0], *plans[1]])
    results = [_results(run) for run in (before, after)]
    names = dict.fromkeys([*results[0], *results[1]])
    return Difference(
        plan={key: (plans[0].get(key), plans[1].get(key)) for key in keys if plans[0].get(key) != plans[1].get(key)},
        results={name: (results[0].get(name), results[1].get(name)) for name in names},
    )


def _results(run: Path) -> dict[str, Any]:
    one = summary(run)
    found: dict[str, Any] = {"rows_per_second": one.rows_per_second, "seconds": one.seconds}
    path = run / "evaluation.json"
    if path.exists():
        found = {**{name: metric.value for name, metric in EvalReport.read(path).metrics.items()}, **found}
    return found


def _flat_plan(run: Path) -> dict[str, Any]:
    plan = _json(run / "plan.json").get("plan")
    if not isinstance(plan, dict):
        raise ArtifactError("holds no plan.", where=str(run / "plan.json"))
    flat = {**_flat(plan["tasks"]["main"], ""), "seed": plan["seed"]}
    for stage in plan["stages"]:
        flat |= _flat(stage["spec"], f"{stage['stage']}.")
        flat |= _flat(stage.get("method", {}), "method.")
    return flat


def _flat(value: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, item in value.items():
        flat |= _flat(item, f"{prefix}{key}.") if isinstance(item, Mapping) else {f"{prefix}{key}": item}
    return flat


def _json(path: Path) -> dict[str, Any]:
    try:
        found = read_json(path)
    except FileNotFoundError:
        raise ArtifactError("there is no run here.", where=str(path.parent)) from None
    except (ValueError, OSError) as error:
        raise ArtifactError(f"is damaged: {error}.", where=str(path)) from None
    if not isinstance(found, dict):
        raise ArtifactError("is damaged: it must hold a mapping.", where=str(path))
    return found


def _stands_at(folder: Path, record: RunDir) -> str:
    stage = next(stage for stage in STAGES if stage not in record.stages)
    if stage != "train":
        return f"before {stage}"
    return f"train, step {_last_step(folder / 'train' / 'metrics.jsonl')}"


def _last_step(path: Path) -> int:
    """Return the step of a log's last whole line, read from its end."""
    if not path.exists():
        return 0
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - 8192))
        tail = stream.read().split(b"\n")
    for text in reversed(tail):
        try:
            return int(json.loads(text)["step"])
        except (ValueError, KeyError, TypeError):
            continue
    return 0


def _changed(folder: Path) -> float:
    names = ("plan.json", "run.json", "log.txt", "evaluation.json", "train/metrics.jsonl")
    return max([path.stat().st_mtime for name in names if (path := folder / name).exists()], default=0.0)


def _held(path: Path) -> bool:
    """Return whether a process holds a run's lock."""
    if not path.exists() or not os.access(path, os.W_OK):
        return False
    from filelock import FileLock, Timeout

    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except (Timeout, OSError):
        return True
    lock.release()
    return False
