"""Who is told what happens in a run: a small protocol, for trackers and for what users write themselves.

A callback only listens: it cannot change what is trained. After a resume `begin` is given the log as it stands after
the rewind, so that a listener that keeps points can see which of its own are no longer true.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from luthier.artifacts.files import read_json, write_json_atomic
from luthier.errors import TrainingError
from luthier.training.events import Event
from luthier.training.history import Line


@dataclass(frozen=True)
class Begun:
    """Where a run stands when its training begins or goes on.

    Attributes:
        name: of the project.
        run_dir: the run's folder.
        settings: what decides the weights, as flat dotted keys.
        history: the lines of `metrics.jsonl` that are there already, each step once.
    """

    name: str
    run_dir: Path
    settings: Mapping[str, Any] = field(default_factory=dict)
    history: Sequence[Line] = ()


class Callback(Protocol):
    """Listens to a run."""

    def begin(self, run: Begun) -> None:
        """Training begins or goes on; called once per process, before any event."""

    def event(self, event: Event) -> None:
        """Something happened: `StepDone`, `Skipped`, `Validated`, `Saved`, `Resumed`, `Stopped` or `Finished`."""

    def end(self, result: Mapping[str, Any] | None) -> None:
        """The run is over: its closing values, or None where it stopped or failed. A killed process calls nothing."""


class Guarded:
    """A tracker whose failures end the tracking and not the training.

    Args:
        name: of the tracker.
        inner: the tracker.
        say: told when it fails after its beginning.
    """

    def __init__(self, name: str, inner: Callback, say: Callable[[str], None]) -> None:
        self.name, self.inner, self.say = name, inner, say
        self.lost = False

    def begin(self, run: Begun) -> None:
        """Begin, or refuse the run before it trains.

        Raises:
            TrainingError: the tracker cannot begin.
        """
        try:
            self.inner.begin(run)
        except Exception as error:
            raise TrainingError(
                f"{self.name} cannot begin: {_short(error)}.", where="track", fix=f"Mend it, or leave {self.name} out."
            ) from error

    def event(self, event: Event) -> None:
        """Pass an event on."""
        self._try(lambda: self.inner.event(event))

    def end(self, result: Mapping[str, Any] | None) -> None:
        """Pass the end on."""
        self._try(lambda: self.inner.end(result))

    def _try(self, call: Callable[[], None]) -> None:
        if self.lost:
            return
        try:
            call()
        except Exception as error:
            self.lost = True
            self.say(f"{self.name} stopped following: {_short(error)}; metrics.jsonl has every step")


class Callbacks:
    """The listeners of a run, told in their order; those that were begun are ended.

    Args:
        listeners: see `Callback`.
    """

    def __init__(self, listeners: Sequence[Callback]) -> None:
        self._listeners = list(listeners)
        self._begun: list[Callback] = []

    @property
    def waiting(self) -> bool:
        """Whether there are listeners that were not begun."""
        return len(self._begun) < len(self._listeners)

    def begin(self, run: Begun) -> None:
        """Begin every listener, once."""
        for listener in self._listeners[len(self._begun) :]:
            listener.begin(run)
            self._begun.append(listener)

    def event(self, event: Event) -> None:
        """Tell every listener."""
        for listener in self._begun:
            listener.event(event)

    def end(self, result: Mapping[str, Any] | None) -> None:
        """End every listener that was begun."""
        while self._begun:
            self._begun.pop().end(result)
        self._listeners.clear()


def tracking_id(run_dir: Path) -> str:
    """Return the name under which trackers know a run folder; drawn once and kept in it."""
    path = run_dir / "train" / "tracking.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json_atomic(path, {"id": secrets.token_hex(8)})
    return str(read_json(path)["id"])


def _short(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text[:300].rstrip(".")
