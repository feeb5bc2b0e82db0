"""A plot that redraws itself in a notebook while a run trains: loss, and the metric that chooses the weights."""

from __future__ import annotations

import html
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from luthier.errors import LuthierError
from luthier.reporting import curves
from luthier.reporting.charts import Series, line_chart
from luthier.training.callbacks import Begun
from luthier.training.events import Event, Finished, Skipped, StepDone, Stopped, Validated
from luthier.training.history import Line, as_line

SMOOTH_FROM = 12
STYLE = """<style>
.luthier-live { --ink: #1d1d1b; --soft: #6b6b66; --line: #d9d9d2; --first: #2456a6; --second: #b3402a; }
@media (prefers-color-scheme: dark) {
  .luthier-live { --ink: #ecece6; --soft: #a3a39c; --line: #44443f; --first: #7fb0ff; --second: #ff9c80; }
}
.luthier-live div { display: flex; flex-wrap: wrap; gap: 1rem; }
.luthier-live svg { width: 29rem; max-width: 100%; height: auto; }
.luthier-live text { font: 11px sans-serif; fill: var(--soft); }
.luthier-live line { stroke: var(--line); }
.luthier-live .curve { fill: none; stroke: var(--first); stroke-width: 2; }
.luthier-live .raw { stroke-width: 1; opacity: 0.35; }
.luthier-live .curve.s2, .luthier-live .dot.s2 { stroke: var(--second); fill: none; }
.luthier-live .dot { stroke: var(--first); fill: none; }
.luthier-live p { color: var(--ink); margin: 0.3rem 0; }
</style>"""


class LivePlot:
    """A callback that draws a run in a notebook's cell, and redraws it in place.

    Args:
        seconds: at least so long between two drawings of steps; validations are drawn at once.
        show: takes each drawing as HTML; the cell of the notebook by default.

    Example:
        luthier.run("project.yaml", callbacks=[luthier.LivePlot()])
    """

    def __init__(self, *, seconds: float = 1.0, show: Callable[[str], None] | None = None) -> None:
        self._seconds = seconds
        self._show = show
        self._lines: list[Line] = []
        self._name = ""
        self._status = ""
        self._drawn_at = -np.inf

    def begin(self, run: Begun) -> None:
        """Draw what the log holds already.

        Raises:
            LuthierError: there is no notebook to draw in.
        """
        self._show = self._show or _cell()
        self._name, self._lines = run.name, list(run.history)
        self._draw()

    def event(self, event: Event) -> None:
        """Take an event's numbers, and draw them if it is time."""
        if isinstance(event, StepDone | Skipped | Validated):
            self._lines.append(as_line(event))
        if isinstance(event, StepDone):
            self._status = f"step {event.step} of {event.total}, {event.rows_per_second:.0f} rows/s"
        if isinstance(event, Finished):
            self._status = f"{event.steps} steps done; the weights of step {event.best_step} were kept"
        important = isinstance(event, Validated | Stopped | Finished)
        if important or time.monotonic() - self._drawn_at >= self._seconds:
            self._draw()

    def end(self, result: Mapping[str, Any] | None) -> None:
        """Draw a last time, with the test metric where there is one."""
        if result is not None:
            name = result["headline"]
            self._status += f"; {name} {result['test'][name]:.4f} on {result['test']['rows']} test rows"
        self._draw()

    def _draw(self) -> None:
        assert self._show is not None, "begin comes first"
        self._drawn_at = time.monotonic()
        self._show(self.html())

    def html(self) -> str:
        """Return the drawing as it is now."""
        steps = [line for line in self._lines if line["kind"] == "step"]
        looks = [line for line in self._lines if line["kind"] == "validation"]
        charts = [_chart(steps, "loss", "loss")] if steps else []
        charts += [_chart(looks, name, f"validation {name}", "s2") for name in _metrics(looks)[:1]]
        head = f"<p><b>{html.escape(self._name)}</b> {html.escape(self._status)}</p>"
        return f'{STYLE}<div class="luthier-live">{head}<div>{"".join(charts)}</div></div>'


def _metrics(looks: list[Line]) -> list[str]:
    return [name for name in (looks[0] if looks else ()) if name not in {"kind", "step", "epoch", "best"}]


def _chart(lines: list[Line], key: str, label: str, style: str = "s1") -> str:
    x, y = curves.finite([float(line["step"]) for line in lines], [line.get(key) for line in lines])
    few = len(y) < SMOOTH_FROM
    drawn = [_series(label, x, y, style, dots=few)]
    if not few and style == "s1":
        smooth = curves.evenly(x, curves.smooth(y))
        drawn = [_series(label, *curves.envelope(x, y), "raw"), _series(label, *smooth, style)]
    description = f"{label} over {len(y)} points" + (f", now {y[-1]:.4g}" if len(y) else "")
    return str(
        line_chart(
            drawn,
            title=label,
            description=description,
            x_label="step",
            y_label=label,
            x_range=(0.0, float(x[-1]) if len(x) else 1.0),
        )
    )


def _series(name: str, x: curves.FloatArray, y: curves.FloatArray, style: str, dots: bool = False) -> Series:
    return Series(name, [float(value) for value in x], [float(value) for value in y], style, dots)


def _cell() -> Callable[[str], None]:
    """Return what draws into the current cell of a notebook, over what was there before."""
    try:
        from IPython import get_ipython
        from IPython.display import HTML, display
    except ImportError:
        raise _no_notebook() from None
    if get_ipython() is None:
        raise _no_notebook()
    handle = display(HTML(""), display_id=True)  # type: ignore[no-untyped-call]

    def show(text: str) -> None:
        handle.update(HTML(text))  # type: ignore[no-untyped-call]

    return show


def _no_notebook() -> LuthierError:
    return LuthierError("LivePlot draws in a notebook, and this is none.", fix="Leave it out, or give it show=.")
