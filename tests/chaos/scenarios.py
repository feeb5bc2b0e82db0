"""What is run while it is killed, and what must be equal at the end."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.tiny import build_model, project

from luthier.models.tuning.table import METHODS

DRIVER = Path(__file__).with_name("driver.py")
ROOT = Path(__file__).parents[2]
BASE = {"checkpoint_seconds": 0.02, "validations_per_epoch": 2}
LINES = "train:\n"


@dataclass(frozen=True)
class Scenario:
    """A project that is run.

    Attributes:
        train: keys of the train block.
        method: the method block, as YAML on one line.
        plant: see `driver.PLANTS`.
    """

    train: dict[str, Any]
    method: str = "full"
    plant: str | None = None

    @property
    def known(self) -> bool:
        """Whether this Luthier has the method."""
        return self.method.strip("{} ").partition(":")[0] in METHODS


SCENARIOS = {
    "plain": Scenario({}),
    "accumulation": Scenario({"accumulate": 3}),
    "bf16": Scenario({"precision": "bf16"}),
    "early stopping": Scenario({"epochs": 9, "early_stopping": "{patience: 2, min_delta: 0.2}"}),
    "skipped steps": Scenario({"skip_non_finite": 100}, plant="non-finite"),
    "clock": Scenario({}, plant="clock"),
    "lora": Scenario({"learning_rate": 0.01}, method="lora"),
    "adalora": Scenario({"learning_rate": 0.01}, method="adalora"),
    "gradual unfreezing": Scenario({}, method="gradual"),
}


def write_project(folder: Path, model: Path, scenario: Scenario) -> Path:
    """Write a scenario's project and data."""
    path = project(folder, model, extra=f"method: {scenario.method}\n")
    text = path.read_text(encoding="utf-8")
    for key, value in {**BASE, **scenario.train}.items():
        kept = [line for line in text.splitlines(keepends=True) if not line.startswith(f"  {key}:")]
        text = "".join(kept).replace(LINES, f"{LINES}  {key}: {value}\n", 1)
    path.write_text(text, encoding="utf-8")
    return path


def outcome(run: Path) -> dict[str, str]:
    """Return the hashes of all that must be equal."""
    names = ["train/metrics.jsonl", "evaluation.json", "evaluate/predictions.arrow"]
    names += [path.relative_to(run).as_posix() for path in sorted((run / "train" / "model").rglob("*.safetensors"))]
    newest = max((run / "train" / "checkpoints").glob("step-*"))
    names += [path.relative_to(run).as_posix() for path in sorted(newest.glob("*.safetensors"))]
    found = {name: hashlib.sha256((run / name).read_bytes()).hexdigest() for name in names}
    trained = json.loads((run / "run.json").read_text(encoding="utf-8"))["stages"]["train"]["result"]
    chosen = {name: trained[name] for name in ("steps", "best_step", "rows", "tokens", "stopped_early")}
    assert any(name.startswith("train/model/") for name in names), "no weights were compared"
    return {**found, "chosen": json.dumps(chosen, sort_keys=True)}


class Driver:
    """The forking process, and a project with an undisturbed run for each scenario.

    Args:
        folder: where all of it lies.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.log = folder / "log.txt"
        self._wanted: dict[str, dict[str, str]] = {}
        folder.mkdir(parents=True, exist_ok=True)
        self.model = build_model(folder / "model")
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]),
        }
        self._process = subprocess.Popen(
            [sys.executable, str(DRIVER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )
        self._warm = False

    def __enter__(self) -> Driver:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.kill()
        self._process.communicate()

    def project(self, name: str) -> Path:
        """Return a scenario's project file."""
        folder = self.folder / name.replace(" ", "-")
        path = folder / "project.yaml"
        return path if path.exists() else write_project(folder, self.model, SCENARIOS[name])

    def run(self, name: str, run: Path, *options: str, **order: Any) -> int:
        """Run a scenario in a folder; return the exit code, or minus the signal."""
        arguments = ["run", str(self.project(name)), "--run-dir", str(run), *options]
        order = {"plant": SCENARIOS[name].plant, **order}
        if not self._warm:  # the first to come to its end says what to import; a killed one cannot
            self._warm = True
            self.wanted(name, modules=str(self.folder / "modules.txt"))
        line = {"arguments": arguments, "run": str(run), "home": str(self.home), "log": str(self.log), **order}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self.log.write_bytes(b"")
        self._process.stdin.write(f"{json.dumps(line)}\n")
        self._process.stdin.flush()
        return int(json.loads(self._process.stdout.readline())["code"])

    def said(self) -> str:
        """Return what the last run printed."""
        return self.log.read_text(encoding="utf-8")

    def wanted(self, name: str, **order: Any) -> dict[str, str]:
        """Return the outcome of a scenario's undisturbed run."""
        if name not in self._wanted:
            run = self.folder / name.replace(" ", "-") / "undisturbed"
            assert self.run(name, run, **order) == 0, self.said()
            self._wanted[name] = outcome(run)
        return self._wanted[name]
