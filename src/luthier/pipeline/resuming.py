"""Whether a run may go on in its folder: what decides the weights, by name, and what of it has changed.

The facts of a run's start lie in `plan.json`. When a run is continued they are compared with those of today: every
difference is named and refused, or, with `--allow-changed KEY`, noted in `plan.json` under `changes` and accepted from
then on. The train stage's fingerprint holds the accepted changes, so that such a run is never taken for one that had
the new values from its start.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from luthier.artifacts.checkpoint import PREFIX
from luthier.artifacts.files import read_json, sha256_file, write_json_atomic
from luthier.artifacts.run import RunDir
from luthier.config import Plan, TrainStage
from luthier.config.keys import key_table, nearest
from luthier.config.load import locate
from luthier.errors import ArtifactError, LuthierError
from luthier.pipeline.prepared import Prepared
from luthier.training.hardware import processor, usable_cores
from luthier.version import __version__

# Keys of the train block that decide no weight: they may change at any time.
FREE = frozenset({"checkpoint_seconds", "keep_checkpoints", "skip_non_finite"})
# What is not a key of the project but decides bits as well.
FACTS = {
    "data": "the rows of the sources",
    "model": "the files of the pretrained model",
    "code": "Luthier and the libraries that compute",
    "processor": "the processor",
    "threads": "how many threads compute",
    "processes": "how many processes train together",
}
# A change of these leaves the order of rows as it was.
SAME_ORDER = ("code", "processor", "threads", "processes", "train.threads", "train.precision", "train.device")
LIBRARIES = ("torch", "transformers", "tokenizers", "peft", "numpy")
DECIDING = ("data", "tasks", "models", "objectives", "training")
PLACES = ("data.train", "data.validation", "data.test")


@dataclass(frozen=True)
class Change:
    """One thing that is not as it was when the run began.

    Attributes:
        key: what `--allow-changed` calls it.
        text: what it was and what it is.
    """

    key: str
    text: str


def facts(prepared: Prepared) -> dict[str, Any]:
    """Return what decides a run's weights, by name; `threads` is left to the choices of the run's start."""
    plan = prepared.plan.model_dump(mode="json")
    return {
        "plan": training_part(plan),
        "data": {name: rows.fingerprint for name, rows in prepared.sources.items()},
        "model": prepared.model_fingerprint,
        "code": _code(),
        "processor": processor(),
        "processes": int(os.environ.get("WORLD_SIZE", "1")),
    }


def training_part(plan: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a plan decides the weights, as flat dotted keys."""
    train = next(stage for stage in plan["stages"] if stage["stage"] == "train")
    spec = {key: value for key, value in train["spec"].items() if key not in FREE}
    return {
        "seed": plan["seed"],
        **_flat(plan["tasks"]["main"], ""),
        **_flat(train["method"], "method."),
        **_flat(spec, "train."),
    }


def check_allowed(allowed: Sequence[str], prepared: Prepared) -> None:
    """Refuse a key that names nothing.

    Raises:
        LuthierError: with the nearest key.
    """
    flat = training_part(prepared.plan.model_dump(mode="json"))
    keys = [*flat, *(key for key in key_table() if key.split(".")[0] in {"data", "method", "model", "task", "train"})]
    known = {".".join(key.split(".")[:depth]) for key in keys for depth in range(1, 1 + len(key.split(".")))}
    known = (known | FACTS.keys()) - {f"train.{key}" for key in FREE}
    for key in allowed:
        if key not in known:
            close = nearest(key, sorted(known)) or nearest(f"train.{key}", sorted(known))
            fix = f'Did you mean "{close}"?' if close else f"It takes a key of the project or {', '.join(FACTS)}."
            raise LuthierError(f'--allow-changed must name what decides the weights; got "{key}".', fix=fix)


def accept(record: RunDir, prepared: Prepared, allowed: Sequence[str]) -> list[Change]:
    """Keep the facts in the folder; refuse one whose training was begun from others.

    Args:
        record: the run's folder.
        prepared: the inputs of today.
        allowed: keys whose differences are accepted.

    Returns:
        The differences that were accepted now.

    Raises:
        ArtifactError: names every difference that was not allowed.
    """
    now = facts(prepared)
    begun = (record.path / "train").exists()
    old = _kept(record) if begun else {}
    changes = _changes(record, old["facts"], now, prepared) if begun and "facts" in old else []
    refused = [change for change in changes if not _covered(change.key, allowed)]
    if refused:
        options = " ".join(dict.fromkeys(f"--allow-changed {change.key}" for change in refused))
        raise ArtifactError(
            f"holds a run from other inputs: {'; '.join(change.text for change in refused)}.",
            where=str(record.path),
            fix="Choose another folder with --run-dir, start over with --fresh (the old folder is kept), "
            f"or go on from here with {options}.",
        )
    step = newest_step(record.path)
    noted = [{"key": change.key, "change": change.text, "after_step": step} for change in changes]
    kept = {
        "plan": prepared.plan.model_dump(mode="json"),
        "folder": str(prepared.folder.resolve()),
        "inputs": {"sources": now["data"]},
        "facts": now if changes or "train" not in record.stages else {**now, **_of_training(old.get("facts", now))},
        "changes": [*old.get("changes", []), *noted],
        "luthier": __version__,
    }
    write_json_atomic(record.plan_path, kept)
    return changes


def reopened(record: RunDir) -> Prepared:
    """Return the inputs of a finished run, from its plan.

    Raises:
        ArtifactError: the plan is missing or of an older version, or its rows are not what they were.
    """
    kept = read_whole(record.plan_path)
    if "folder" not in kept:
        raise ArtifactError(
            "was made by an older version, which did not note where its paths start.",
            where=str(record.path),
            fix="Give `luthier run` again; what is done is not done again.",
        )
    folder = Path(kept["folder"])
    try:
        plan = Plan.model_validate_json(json.dumps(kept["plan"]))
    except ValueError as error:
        raise ArtifactError(f"is not a plan of this version: {error}", where=str(record.plan_path)) from None
    prepared = Prepared(plan, folder, partial(locate, folder))
    now = {name: rows.fingerprint for name, rows in prepared.sources.items()}
    changed = [name for name in now if now[name] != kept["facts"]["data"].get(name)]
    if changed:
        raise ArtifactError(
            f"holds a run from other rows: those of {', '.join(changed)} changed.",
            where=str(record.path),
            fix="Bring them back, or train on the new ones.",
        )
    return prepared


def accepted(record: RunDir) -> list[dict[str, Any]]:
    """Return the changes that were accepted since the run began."""
    found: list[dict[str, Any]] = read_json(record.plan_path).get("changes", [])
    return found


def told(changes: Sequence[Change]) -> list[str]:
    """Return what a run says that goes on although something changed."""
    if not changes:
        return []
    order = "stays the same" if all(_covered(change.key, SAME_ORDER) for change in changes) else "may change as well"
    lines = [f"goes on although {change.text}" for change in changes]
    return [*lines, f"from here on the weights may differ from an undisturbed run's; the order of rows {order}"]


def origin(folder: Path, fingerprint: str, changes: int) -> str:
    """Return the fingerprint that a run's checkpoints carry: that of its start, whatever was accepted since.

    Args:
        folder: of the train stage.
        fingerprint: of everything that decides the weights today.
        changes: how many were accepted so far.

    Raises:
        ArtifactError: something differs that no accepted change explains.
    """
    path = folder / "origin.json"
    found = read_whole(path) if path.exists() else {"fingerprint": fingerprint, "now": fingerprint, "changes": changes}
    if found["now"] != fingerprint and found["changes"] == changes:
        raise ArtifactError(
            "holds a training from other inputs.",
            where=str(folder),
            fix="Choose another folder with --run-dir, or start over with --fresh (the old folder is kept).",
        )
    write_json_atomic(path, {**found, "now": fingerprint, "changes": changes})
    return str(found["fingerprint"])


def trains(record: RunDir) -> bool:
    """Return whether training has begun and is not finished, so that bits still depend on machine and code."""
    return "train" not in record.stages and newest_step(record.path) > 0


def newest_step(run: Path) -> int:
    """Return the step of the newest checkpoint; 0 where there is none."""
    names = [path.name.removeprefix(PREFIX) for path in (run / "train" / "checkpoints").glob(f"{PREFIX}*")]
    return max((int(name) for name in names if name.isdigit()), default=0)


def read_whole(path: Path) -> dict[str, Any]:
    """Return a small file of the run.

    Raises:
        ArtifactError: it is damaged.
    """
    try:
        found = read_json(path)
    except (ValueError, OSError) as error:
        raise ArtifactError(f"is damaged: {error}.", where=str(path), fix=FRESH) from None
    if not isinstance(found, dict):
        raise ArtifactError("is damaged: it must hold a mapping.", where=str(path), fix=FRESH)
    return found


FRESH = "Start over with --fresh (the old folder is kept)."


def _kept(record: RunDir) -> dict[str, Any]:
    if not record.plan_path.exists():
        raise ArtifactError(
            "is missing, so nobody knows from what this folder's training began.",
            where=str(record.plan_path),
            fix=FRESH,
        )
    return read_whole(record.plan_path)


def _of_training(old: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts under which finished weights were made: they stay as they were."""
    return {name: old[name] for name in ("code", "processor", "processes") if name in old}


def _changes(record: RunDir, old: Mapping[str, Any], now: Mapping[str, Any], prepared: Prepared) -> list[Change]:
    changes = [
        Change(key, f"{key} was {old['plan'].get(key)!r}, is {now['plan'].get(key)!r}")
        for key in dict.fromkeys([*old["plan"], *now["plan"]])
        if old["plan"].get(key) != now["plan"].get(key)
    ]
    sources = dict.fromkeys([*old["data"], *now["data"]])
    changes += [
        Change("data", f"the rows of {name} changed")
        for name in sources
        if old["data"].get(name) != now["data"].get(name)
    ]
    if old["model"] != now["model"] and not any(change.key == "model.id" for change in changes):
        changes.append(Change("model", "the files of the pretrained model changed"))
    if changes or trains(record):  # weights will move here, so machine and code count
        changes += [Change("code", text) for text in _code_changes(old["code"], now["code"])]
        changes += [
            Change("processor", f"the {name} was {old['processor'].get(name)}, is {value}")
            for name, value in now["processor"].items()
            if old["processor"].get(name) != value
        ]
        if old["processes"] != now["processes"]:
            was, is_now = old["processes"], now["processes"]
            changes.append(Change("processes", f"{was} processes trained together, now {is_now}"))
        changes += _threads(record, prepared)
    elif old["code"]["luthier"] != now["code"]["luthier"]:
        changes.append(Change("code", _code_changes(old["code"], now["code"])[0]))
    return changes


def _threads(record: RunDir, prepared: Prepared) -> list[Change]:
    """Return the change of threads that this machine forces: with fewer cores than threads bits may differ."""
    path = record.path / "choices.json"
    if not path.exists() or prepared.plan.only(TrainStage).spec.threads is not None:
        return []
    was, cores = int(read_whole(path)["choices"]["threads"]["value"]), usable_cores()
    return [Change("threads", f"{was} threads computed, this machine has {cores} cores")] if was > cores else []


def _covered(key: str, allowed: Sequence[str]) -> bool:
    names = [*allowed, *(f"train.{name}" for name in allowed if name == "threads")]
    return any(key == name or key.startswith(f"{name}.") for name in names)


def _code() -> dict[str, Any]:
    root = Path(__file__).resolve().parents[1]
    files = [path for name in DECIDING for path in sorted((root / name).rglob("*.py")) if "trackers" not in path.parts]
    return {
        "luthier": __version__,
        "libraries": {name: found for name in LIBRARIES if (found := _version(name))},
        "files": {path.relative_to(root).as_posix(): sha256_file(path)[:16] for path in files},
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _code_changes(old: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    texts = [f"luthier was {old['luthier']}, is {now['luthier']}"] if old["luthier"] != now["luthier"] else []
    names = sorted({*old["libraries"], *now["libraries"]})
    versions = [(name, old["libraries"].get(name), now["libraries"].get(name)) for name in names]
    texts += [f"{name} was {was}, is {found}" for name, was, found in versions if was != found]
    files = sorted({*old["files"], *now["files"]})
    other = [name for name in files if old["files"].get(name) != now["files"].get(name)]
    if other and not texts:
        more = f" and {len(other) - 3} more" if len(other) > 3 else ""
        texts.append(f"the source of luthier changed ({', '.join(other[:3])}{more})")
    return texts


def _flat(value: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, item in value.items():
        flat |= _flat(item, f"{prefix}{key}.") if isinstance(item, Mapping) else {f"{prefix}{key}": item}
    return flat
