"""Weights & Biases, offline unless a project says otherwise.

Offline, a run's file cannot be continued: it is written anew from the log under the same id, so that `wandb sync`
uploads each step once. Online, the server keeps the run, and only steps that it does not have are sent.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from typing import Any

from luthier.config.project import WandbSpec
from luthier.training.callbacks import Begun, tracking_id
from luthier.training.events import Event
from luthier.training.history import Line
from luthier.training.trackers.points import of_event, of_result, points


class WeightsAndBiases:
    """Writes `train/wandb/` in the run's folder, and sends it where `mode` is online.

    Args:
        spec: project, team and mode.
    """

    def __init__(self, spec: WandbSpec) -> None:
        self._spec = spec
        self._run: Any = None
        self._from = 0

    def begin(self, run: Begun) -> None:
        """Start or continue the run under the folder's id."""
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # reports about its own errors
        import wandb

        folder = run.run_dir / "train" / "wandb"
        offline = self._spec.mode == "offline"
        if offline:
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        self._run = wandb.init(
            project=self._spec.project,
            entity=self._spec.team,
            name=run.name,
            id=tracking_id(run.run_dir),
            dir=str(folder.parent),
            mode=self._spec.mode,
            resume=None if offline else "allow",
            config=dict(run.settings),
            settings=wandb.Settings(
                console="off",
                silent=True,
                disable_code=True,
                disable_git=True,
                disable_job_creation=True,
                x_disable_machine_info=True,
                x_disable_meta=True,
                x_disable_stats=True,
                x_save_requirements=False,
            ),
        )
        self._from = 0 if offline else int(self._run.step)
        for line in run.history:
            self._add(line)

    def event(self, event: Event) -> None:
        """Add the points of an event."""
        line = of_event(event)
        if line is not None:
            self._add(line)

    def end(self, result: Mapping[str, Any] | None) -> None:
        """Add the test metrics to the summary and close the run."""
        self._run.summary.update(of_result(result or {}))
        self._run.finish(exit_code=0 if result is not None else 1)

    def _add(self, line: Line) -> None:
        if line["step"] >= self._from:
            self._run.log(points(line), step=line["step"])
