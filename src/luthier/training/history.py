"""`metrics.jsonl`: one line per step and per validation, exactly once, also across resumes. No times in it."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from luthier.artifacts.files import write_bytes_atomic
from luthier.training.events import Skipped, StepDone, Validated

STEPS = frozenset({"step", "skipped"})
Line = dict[str, Any]


class History:
    """The metrics log of one training stage.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: list[Line] = []
        self._stream: TextIO | None = None

    @property
    def open(self) -> bool:
        """Whether `rewind` was called and lines can be added."""
        return self._stream is not None

    def rewind(self, step: int) -> list[str]:
        """Drop every line after a step, and a last line that was cut off by a kill; `lines` holds the others.

        Returns:
            A sentence where the log is not what was written: somebody removed, repeated or damaged lines. The file as
            it was is then kept beside it.
        """
        found, whole = _read(self.path) if self.path.exists() else ([], True)
        before = [line for line in found if line["step"] <= step]
        self.lines = _once(before)
        missing = step - len({line["step"] for line in self.lines if line["kind"] in STEPS})
        notes = []
        if missing or not whole or len(self.lines) != len(before):
            aside = f"; the file as it was is kept in {self._set_aside().name}" if self.path.exists() else ""
            notes.append(f"{self.path.name} was damaged: {missing} of {step} steps are missing{aside}.")
        write_bytes_atomic(self.path, "".join(f"{json.dumps(line)}\n" for line in self.lines).encode())
        self._stream = self.path.open("a", encoding="utf-8")
        return notes

    def add(self, event: StepDone | Skipped | Validated) -> None:
        """Append an event."""
        assert self._stream is not None, "rewind comes first"
        self._stream.write(f"{json.dumps(as_line(event))}\n")
        self._stream.flush()

    def sync(self) -> None:
        """Wait until all lines are on the device, so that a checkpoint never stands ahead of its log."""
        if self._stream is not None:
            self._stream.flush()
            os.fsync(self._stream.fileno())

    def close(self) -> None:
        """Close the file."""
        if self._stream is not None:
            self._stream.close()

    def _set_aside(self) -> Path:
        number = 1
        while (aside := self.path.with_name(f"{self.path.stem}.damaged-{number}{self.path.suffix}")).exists():
            number += 1
        write_bytes_atomic(aside, self.path.read_bytes())
        return aside


def read(path: Path) -> list[Line]:
    """Return a log's whole lines."""
    return _read(path)[0]


def _read(path: Path) -> tuple[list[Line], bool]:
    """Return the whole lines, and whether all were whole but for a last one that a kill cut off."""
    lines, whole = [], True
    texts = path.read_bytes().split(b"\n")
    for number, text in enumerate(texts):
        if not text:
            continue
        try:
            line = json.loads(text)
        except ValueError:
            whole = whole and number == len(texts) - 1
            continue
        if isinstance(line, dict) and {"kind", "step"} <= line.keys():
            lines.append(line)
        else:
            whole = False
    return lines, whole


def _once(lines: Sequence[Line]) -> list[Line]:
    """Return lines without repeats of a step or validation."""
    kept: dict[tuple[bool, int], Line] = {}
    for line in lines:
        kept.setdefault((line["kind"] in STEPS, line["step"]), line)
    return list(kept.values())


def as_line(event: StepDone | Skipped | Validated) -> Line:
    """Return an event as a line of the log; it holds no times, so that equal runs write equal bytes."""
    if isinstance(event, Validated):
        return {"kind": "validation", "step": event.step, "epoch": event.epoch, **event.metrics, "best": event.best}
    if isinstance(event, Skipped):
        return {
            "kind": "skipped",
            "step": event.step,
            "epoch": event.epoch,
            "what": event.what,
            "rows": list(event.rows),
            "skipped": event.skipped,
        }
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
