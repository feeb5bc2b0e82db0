"""TensorBoard: event files in the run's folder, which `tensorboard --logdir runs` finds.

An event file can only grow. So when a run goes on, its file is written anew from the log: no reader ever sees a step
twice, or one that was rewound.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from luthier.config.project import TensorBoardSpec
from luthier.training.callbacks import Begun, tracking_id
from luthier.training.events import Event, Finished, Saved, Stopped, Validated
from luthier.training.history import Line
from luthier.training.trackers.points import of_event, of_result, points

OURS = ".luthier"


class TensorBoard:
    """Writes `train/tensorboard/events.*` in the run's folder, or in a folder of its own in a shared one.

    Args:
        spec: the shared folder, if there is one.
    """

    def __init__(self, spec: TensorBoardSpec) -> None:
        self._spec = spec
        self._writer: Any = None
        self._step = 0

    def begin(self, run: Begun) -> None:
        """Write the log so far into a new file that takes the place of the old ones."""
        from torch.utils.tensorboard import SummaryWriter

        folder = run.run_dir / "train" / "tensorboard"
        if self._spec.folder is not None:
            folder = Path(self._spec.folder).expanduser() / f"{run.name}-{tracking_id(run.run_dir)[:6]}"
        for path in folder.glob(f"events.out.tfevents.*{OURS}"):
            path.unlink()
        self._writer = SummaryWriter(str(folder), filename_suffix=OURS)
        rows = "".join(f"|{key}|{value}|\n" for key, value in run.settings.items())
        self._writer.add_text("settings", f"|key|value|\n|---|---|\n{rows}", 0)
        for line in run.history:
            self._add(line)
        self._writer.flush()

    def event(self, event: Event) -> None:
        """Add the points of an event."""
        line = of_event(event)
        if line is not None:
            self._add(line)
        if isinstance(event, Validated | Saved | Stopped | Finished):
            self._writer.flush()

    def end(self, result: Mapping[str, Any] | None) -> None:
        """Add the test metrics and close the file."""
        for name, value in of_result(result or {}).items():
            self._writer.add_scalar(name, value, self._step)
        self._writer.close()

    def _add(self, line: Line) -> None:
        self._step = line["step"]
        for name, value in points(line).items():
            self._writer.add_scalar(name, value, line["step"])
