"""The live plot: drawn from the log, redrawn in place, readable as SVG."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from luthier import LivePlot, LuthierError
from luthier.training.callbacks import Begun
from luthier.training.events import Finished, StepDone, Validated
from luthier.training.history import as_line


def step(number: int) -> StepDone:
    return StepDone(number, 40, 0, 2.0 / number, 1e-3, 2.0, 8, 64, 100.0, 1.0)


def drawings(text: str) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(found) for found in re.findall(r"<svg.*?</svg>", text, re.DOTALL)]


def test_it_draws_what_came_and_what_was_there_before(tmp_path: Path) -> None:
    shown: list[str] = []
    plot = LivePlot(seconds=0.0, show=shown.append)
    plot.begin(Begun("films & more", tmp_path, {}, [as_line(step(number)) for number in (1, 2, 3)]))
    assert len(drawings(shown[-1])) == 1
    for number in range(4, 21):
        plot.event(step(number))
    plot.event(Validated(20, 0, {"accuracy": 0.5}, True))
    assert "films &amp; more" in shown[-1]
    assert "step 20 of 40, 100 rows/s" in shown[-1]
    loss, metric = drawings(shown[-1])
    assert "loss over 20 points, now 0.1" in ElementTree.tostring(loss, encoding="unicode")
    assert "validation accuracy over 1 points, now 0.5" in ElementTree.tostring(metric, encoding="unicode")
    plot.event(Finished(20, 20, 160, 1280, 1.0, False))
    plot.end({"headline": "accuracy", "test": {"accuracy": 0.625, "rows": 40}})
    assert "accuracy 0.6250 on 40 test rows" in shown[-1]
    assert "<script" not in shown[-1]


def test_steps_are_not_drawn_more_often_than_asked(tmp_path: Path) -> None:
    shown: list[str] = []
    plot = LivePlot(seconds=1000.0, show=shown.append)
    plot.begin(Begun("a", tmp_path))
    for number in range(1, 30):
        plot.event(step(number))
    assert len(shown) == 1
    plot.event(Validated(29, 0, {"accuracy": 0.5}, True))
    assert len(shown) == 2
    assert len(drawings(shown[-1])) == 2


def test_a_notebook_cell_is_updated_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import IPython
    import IPython.display

    updates: list[str] = []

    class Handle:
        def update(self, shown: IPython.display.HTML) -> None:
            updates.append(str(shown.data))

    asked: list[bool] = []
    monkeypatch.setattr(IPython, "get_ipython", lambda: object())
    monkeypatch.setattr(IPython.display, "display", lambda _, display_id: asked.append(display_id) or Handle())
    plot = LivePlot(seconds=0.0)
    plot.begin(Begun("a", tmp_path))
    plot.event(step(1))
    assert asked == [True]
    assert len(updates) == 2
    assert len(drawings(updates[-1])) == 1


def test_outside_a_notebook_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LuthierError, match="LivePlot draws in a notebook"):
        LivePlot().begin(Begun("a", tmp_path))
