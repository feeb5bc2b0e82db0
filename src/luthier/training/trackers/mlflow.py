"""MLflow: a local store beside the run's folder, or any tracking server.

A metric's history in MLflow can only grow. So a run is found again by a tag, and only points that it does not have yet
are logged: what a resume repeats is what was logged before, bit for bit.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from luthier.config.project import MlflowSpec
from luthier.training.callbacks import Begun, tracking_id
from luthier.training.events import Event
from luthier.training.history import Line
from luthier.training.trackers.points import of_event, of_result, points

TAG = "luthier.id"
BATCH = 500  # metrics per call; a server takes at most 1000
LONGEST = 500  # characters of a parameter


class Mlflow:
    """Logs to `mlruns/` beside the run's folder, or to `uri`.

    Args:
        spec: where, and under which experiment.
    """

    def __init__(self, spec: MlflowSpec) -> None:
        self._spec = spec
        self._client: Any = None
        self._id = ""
        self._known: dict[str, set[int]] = {}
        self._step = 0

    def begin(self, run: Begun) -> None:
        """Find or create the run, and log the lines that it lacks."""
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # the store that needs no database
        from mlflow.tracking import MlflowClient

        self._client = MlflowClient(self._spec.uri or (run.run_dir.parent / "mlruns").resolve().as_uri())
        name = self._spec.experiment or run.name
        found = self._client.get_experiment_by_name(name)
        experiment = found.experiment_id if found else self._client.create_experiment(name)
        self._id = self._find(experiment, run)
        metrics = self._client.get_run(self._id).data.metrics
        self._known = {
            metric: {point.step for point in self._client.get_metric_history(self._id, metric)} for metric in metrics
        }
        self._log(run.history)

    def event(self, event: Event) -> None:
        """Log the points of an event."""
        line = of_event(event)
        if line is not None:
            self._log([line])

    def end(self, result: Mapping[str, Any] | None) -> None:
        """Log the test metrics and close the run."""
        self._send([(name, value, self._step) for name, value in of_result(result or {}).items()])
        self._client.set_terminated(self._id, "FINISHED" if result is not None else "KILLED")

    def _find(self, experiment: str, run: Begun) -> str:
        own = tracking_id(run.run_dir)
        for one in self._client.search_runs([experiment], filter_string=f"tags.`{TAG}` = '{own}'"):
            self._client.update_run(one.info.run_id, status="RUNNING")
            return str(one.info.run_id)
        created = self._client.create_run(experiment, run_name=run.name, tags={TAG: own}).info.run_id
        for key, value in run.settings.items():
            self._client.log_param(created, key, str(value)[:LONGEST])
        return str(created)

    def _log(self, lines: Sequence[Line]) -> None:
        found = [(name, value, line["step"]) for line in lines for name, value in points(line).items()]
        self._step = max([self._step, *(line["step"] for line in lines)])
        self._send(found)

    def _send(self, found: Sequence[tuple[str, float, int]]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        new = [one for one in found if one[2] not in self._known.get(one[0], ())]
        for start in range(0, len(new), BATCH):
            part = new[start : start + BATCH]
            self._client.log_batch(self._id, metrics=[Metric(name, value, now, step) for name, value, step in part])
        for name, _, step in new:
            self._known.setdefault(name, set()).add(step)
