"""What a report is drawn from: the files of a run, read once. A file that is not there leaves its part out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from luthier.artifacts.check import CheckReport
from luthier.artifacts.compression import CompressionReport
from luthier.artifacts.evaluation import EvalReport
from luthier.artifacts.files import read_json
from luthier.artifacts.run import RunDir, StageRecord
from luthier.config import Plan
from luthier.training import history
from luthier.version import __version__


@dataclass(frozen=True)
class ReportData:
    """All that a report shows.

    Attributes:
        plan: the resolved plan.
        evaluation: what is known of the answers on the test rows.
        check: what the check found, or None.
        history: lines of `metrics.jsonl`, in order of steps.
        choices: `{setting: {value, reason}}` that `auto` made.
        hardware: machine and library versions.
        stages: the finished stages.
        ledger: each read of the test rows: time, split, rows, weights_sha256.
        compression: what a search for a smaller model found, or None.
        sources: `{name: fingerprint}` of the sources of rows.
        luthier: the version that made the run.
    """

    plan: Plan
    evaluation: EvalReport
    check: CheckReport | None = None
    history: tuple[Mapping[str, Any], ...] = ()
    choices: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    hardware: Mapping[str, Any] = field(default_factory=dict)
    stages: Mapping[str, StageRecord] = field(default_factory=dict)
    ledger: tuple[Mapping[str, Any], ...] = ()
    compression: CompressionReport | None = None
    sources: Mapping[str, str] = field(default_factory=dict)
    luthier: str = __version__


def read_run(record: RunDir, plan: Plan) -> ReportData:
    """Return what a run's folder holds for its report.

    Raises:
        ArtifactError: there is no evaluation, or it or the check cannot be read.
    """
    folder = record.path
    chosen = _json(folder / "choices.json")
    kept = _json(folder / "plan.json")
    check = folder / "check" / "check.json"
    log = folder / "train" / "metrics.jsonl"
    compressed = folder / "compress" / "compression.json"
    return ReportData(
        plan=plan,
        evaluation=EvalReport.read(folder / "evaluation.json"),
        check=CheckReport.read(check) if check.exists() else None,
        history=tuple(history.read(log)) if log.exists() else (),
        choices=chosen.get("choices", {}),
        hardware=chosen.get("hardware", {}),
        stages=dict(record.stages),
        ledger=tuple(_lines(folder / "ledger.jsonl")),
        compression=CompressionReport.read(compressed) if compressed.exists() else None,
        sources=kept.get("inputs", {}).get("sources", {}),
        luthier=str(kept.get("luthier", __version__)),
    )


def _json(path: Path) -> dict[str, Any]:
    found = read_json(path) if path.exists() else {}
    return found if isinstance(found, dict) else {}


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
