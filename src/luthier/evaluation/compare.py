"""A paired comparison of two runs on the test rows that they share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from luthier.artifacts.evaluation import EvalReport
from luthier.data.rows import open_arrow
from luthier.errors import ArtifactError
from luthier.evaluation.kinds import EVALUATIONS
from luthier.metrics.intervals import PairedResult, discordant, mcnemar, paired_bootstrap
from luthier.metrics.registry import METRICS
from luthier.metrics.scores import Scores
from luthier.tasks import TASKS


@dataclass(frozen=True)
class Comparison:
    """How the second run differs from the first on the rows that both tested.

    Attributes:
        rows: how many test rows both have.
        only_before: test rows of the first alone.
        only_after: test rows of the second alone.
        before: the headline metric of the first run on the shared rows.
        after: that of the second.
        result: the paired difference with interval and p value.
        mcnemar_p: exact McNemar test on right and wrong; None where answers are not right or wrong.
        flips: share of the shared rows whose prediction changed; None where nothing is predicted out of a list.
    """

    headline: str
    rows: int
    only_before: int
    only_after: int
    before: float | None
    after: float | None
    result: PairedResult
    mcnemar_p: float | None
    flips: float | None


def compare(before: Path, after: Path) -> Comparison:
    """Compare two runs.

    Args:
        before: a run's folder.
        after: another run's folder.

    Raises:
        ArtifactError: a run was not evaluated, the tasks or labels differ, or no test row is shared.
    """
    reports = [EvalReport.read(run / "evaluation.json") for run in (before, after)]
    if reports[0].task != reports[1].task:
        raise ArtifactError(f"runs must have one task; got {reports[0].task} and {reports[1].task}.", where=str(after))
    tables = [_predictions(run) for run in (before, after)]
    labels = [[name for name in table.column_names if name.startswith("score.")] for table in tables]
    if sorted(labels[0]) != sorted(labels[1]):
        raise ArtifactError(f"runs must have the same labels; got {labels[0]} and {labels[1]}.", where=str(after))
    rows = [_rows_by_key(table) for table in tables]
    shared = sorted(rows[0].keys() & rows[1].keys())
    if not shared:
        raise ArtifactError(
            "the two runs share no test row.", where=str(after), fix="Give both the same data and data.split."
        )
    names = tables[0].column_names
    judge = EVALUATIONS[TASKS[reports[1].task].evaluation]()
    scores = [
        judge.scores(_columns(table, [own[key] for key in shared], names))
        for table, own in zip(tables, rows, strict=True)
    ]
    if not np.array_equal(scores[0].target, scores[1].target):
        raise ArtifactError("the shared test rows have other labels in one of the runs.", where=str(after))
    metric = METRICS[reports[1].headline]
    right_or_wrong = [one for one in scores if isinstance(one, Scores)]
    return Comparison(
        headline=metric.name,
        rows=len(shared),
        only_before=len(rows[0]) - len(shared),
        only_after=len(rows[1]) - len(shared),
        before=metric.function(scores[0]),
        after=metric.function(scores[1]),
        result=paired_bootstrap(scores[0], scores[1], metric, confidence=reports[1].confidence),
        mcnemar_p=mcnemar(*discordant(*right_or_wrong)) if right_or_wrong else None,
        flips=_changed(*right_or_wrong) if right_or_wrong else None,
    )


def _predictions(run: Path) -> Any:
    path = run / "evaluate" / "predictions.arrow"
    if not path.exists():
        raise ArtifactError("there are no predictions here. Run `luthier run` to the end first.", where=str(path))
    return open_arrow(path)


def _rows_by_key(table: Any) -> dict[tuple[int, int], int]:
    """Return `{(key, how many equal keys came before): row}`, so that equal texts pair off in order."""
    seen: dict[int, int] = {}
    found = {}
    for row, key in enumerate(table.column("key").to_pylist()):
        found[key, seen.setdefault(key, 0)] = row
        seen[key] += 1
    return found


def _columns(table: Any, rows: list[int], names: list[str]) -> dict[str, Any]:
    """Return columns by name, in one order for both runs."""
    return {name: np.asarray(table.column(name).take(rows).to_pylist()) for name in names}


def _changed(before: Scores, after: Scores) -> float:
    return float(np.mean(before.predicted != after.predicted))
