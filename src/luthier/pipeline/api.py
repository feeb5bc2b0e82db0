"""What a Python user calls: the same run as the command line's, with a result that a notebook shows well."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.artifacts.check import CheckReport
from luthier.artifacts.evaluation import EvalReport
from luthier.config import Project
from luthier.inference.loading import load
from luthier.inference.predictor import Predictor
from luthier.pipeline import run as stages
from luthier.pipeline.events import RunEvent
from luthier.training.callbacks import Callback


@dataclass(frozen=True)
class RunResult:
    """A finished run.

    Attributes:
        values: the same values as `luthier run --json` prints.
    """

    values: Mapping[str, Any]

    @property
    def run_dir(self) -> Path:
        """The run's folder."""
        return Path(self.values["run_dir"])

    @property
    def bundle(self) -> Path:
        """The bundle's folder."""
        return Path(self.values["bundle"])

    @property
    def report(self) -> Path:
        """The HTML report."""
        return Path(self.values["report"])

    @property
    def test(self) -> Mapping[str, Any]:
        """Metrics on the test split, each with `<name>_interval`."""
        found: Mapping[str, Any] = self.values["test"]
        return found

    def evaluation(self) -> EvalReport:
        """Return the whole evaluation."""
        return EvalReport.read(self.run_dir / "evaluation.json")

    def load(self) -> Predictor:
        """Return the predictor of the run's bundle, verified."""
        return load(self.bundle)

    def __repr__(self) -> str:
        name = self.values["headline"]
        return f"RunResult({name}={self.test[name]:.4f}, run_dir={self.values['run_dir']!r})"

    def _repr_html_(self) -> str:
        report = self.evaluation()
        names = dict.fromkeys([report.headline, "macro_f1", "log_loss"])
        head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
        rows = [("<b>this model</b>", report.metrics), *((html.escape(b.name), b.metrics) for b in report.baselines)]
        body = "".join(
            f"<tr><td>{title}</td>{''.join(f'<td>{_shown(metrics.get(name))}</td>' for name in names)}</tr>"
            for title, metrics in rows
        )
        caption = f"{report.rows} test rows; {report.confidence:.0%} intervals"
        return f"<table><caption>{caption}</caption><tr><th></th>{head}</tr>{body}</table>"


def run(
    project: str | Path | Mapping[str, Any] | Project,
    *,
    run_dir: str | Path | None = None,
    overrides: Sequence[str] = (),
    fresh: bool = False,
    allow_changed: Sequence[str] = (),
    data: Any = None,
    callbacks: Sequence[Callback] = (),
    on_event: Callable[[RunEvent], None] = lambda _: None,
) -> RunResult:
    """Execute a project: check → train → evaluate → bundle → report.

    Args:
        project: a project file, its content as a mapping, or a `Project`.
        run_dir: the run's folder; default `runs/<name>` in the working folder.
        overrides: texts such as `train.epochs=5`.
        fresh: start over; the old folder is kept aside.
        allow_changed: keys that may differ from the run's start when it goes on, such as `train.epochs` or `data`.
        data: a pandas DataFrame or an Arrow table that takes the place of `data.train`.
        callbacks: listeners to training, such as `LivePlot()`; each has `begin`, `event` and `end`.
        on_event: told what happens.

    Raises:
        LuthierError: what is wrong, where, and what to do.
    """
    values = stages.run(
        project,
        run_dir=run_dir,
        overrides=overrides,
        fresh=fresh,
        allowed=allow_changed,
        frame=data,
        callbacks=callbacks,
        emit=on_event,
    )
    return RunResult(values)


def check(
    project: str | Path | Mapping[str, Any] | Project, *, overrides: Sequence[str] = (), data: Any = None
) -> CheckReport:
    """Do the data check and the step check of a project, and leave nothing behind.

    Args:
        project: as for `run`.
        overrides: as for `run`.
        data: as for `run`.
    """
    return stages.check(project, overrides=overrides, frame=data)


def _shown(metric: Any) -> str:
    if metric is None or metric.value is None:
        return "-"
    if metric.interval is None:
        return f"{metric.value:.4f}"
    return f"{metric.value:.4f} ({metric.interval[0]:.4f} to {metric.interval[1]:.4f})"
