"""`metrics.jsonl`: one line per step and per validation, exactly once, also across resumes. No times in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TextIO

from luthier.artifacts.files import write_bytes_atomic
from luthier.training.events import StepDone, Validated


class History:
    """The metrics log of one training stage.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stream: TextIO | None = None

    @property
    def open(self) -> bool:
        """Whether `rewind` was called and lines can be added."""
        return self._stream is not None

    def rewind(self, step: int) -> None:
        """Drop every line after a step, and a last line that was cut off by a kill."""
        kept = [line for line in read(self.path) if line["step"] <= step] if self.path.exists() else []
        write_bytes_atomic(self.path, "".join(f"{json.dumps(line)}\n" for line in kept).encode())
        self._stream = self.path.open("a", encoding="utf-8")

    def add(self, event: StepDone | Validated) -> None:
        """Append an event."""
        assert self._stream is not None, "rewind comes first"
        self._stream.write(f"{json.dumps(_line(event))}\n")
        self._stream.flush()

    def close(self) -> None:
        """Close the file."""
        if self._stream is not None:
            self._stream.close()


def read(path: Path) -> list[dict[str, Any]]:
    """Return a log's whole lines."""
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(text))
        except ValueError:  # a kill cut the last line off
            break
    return lines


def _line(event: StepDone | Validated) -> dict[str, Any]:
    if isinstance(event, Validated):
        return {"kind": "validation", "step": event.step, "epoch": event.epoch, **event.metrics, "best": event.best}
    return {
        "kind": "step",
        "step": event.step,
        "epoch": event.epoch,
        "loss": event.loss,
        "lr": event.lr,
        "grad_norm": event.grad_norm,
        "rows": event.rows,
        "tokens": event.tokens,
    }
