"""`metrics.jsonl`: each step once, whatever was killed, cut off or damaged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from luthier.training.events import Skipped, StepDone, Validated
from luthier.training.history import History, read


def step(number: int, loss: float = 0.5) -> StepDone:
    return StepDone(number, 9, 0, loss, 1e-3, 1.0, 8, 64, 100.0, 1.0)


def written(path: Path, *events: StepDone | Skipped | Validated) -> list[int]:
    log = History(path)
    log.rewind(0)
    for event in events:
        log.add(event)
    log.close()
    return [line["step"] for line in read(path)]


def test_a_resume_drops_later_lines_and_a_line_that_was_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    skipped = Skipped(2, 9, 0, "the loss is nan", (4, 7), 1)
    assert written(path, step(1), skipped, step(3), Validated(3, 0, {"accuracy": 0.5}, True), step(4)) == [
        1,
        2,
        3,
        3,
        4,
    ]
    with path.open("a", encoding="utf-8") as stream:
        stream.write('{"kind": "step", "st')
    log = History(path)
    assert log.rewind(3) == []
    assert [line["kind"] for line in log.lines] == ["step", "skipped", "step", "validation"]
    log.add(step(4))
    log.sync()
    log.close()
    assert [line["step"] for line in read(path)] == [1, 2, 3, 3, 4]
    assert read(path)[1]["rows"] == [4, 7]


@pytest.mark.parametrize("damage", ["removed line", "flipped line", "repeated line", "removed file"])
def test_a_damaged_log_is_named_and_kept(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "metrics.jsonl"
    written(path, step(1), step(2), step(3))
    lines = path.read_text(encoding="utf-8").splitlines()
    changed = {
        "removed line": [lines[0], lines[2]],
        "flipped line": [lines[0], lines[1].replace('"', "'", 1), lines[2]],
        "repeated line": [*lines, lines[1]],
    }.get(damage, [])
    path.write_text("".join(f"{line}\n" for line in changed), encoding="utf-8")
    if not changed:
        path.unlink()
    log = History(path)
    (note,) = log.rewind(3)
    log.close()
    missing = {"removed line": 1, "flipped line": 1, "repeated line": 0, "removed file": 3}[damage]
    assert f"metrics.jsonl was damaged: {missing} of 3 steps are missing" in note
    assert len({line["step"] for line in read(path)}) == len(read(path)) == 3 - missing
    assert (tmp_path / "metrics.damaged-1.jsonl").exists() == bool(changed)


def test_equal_events_are_equal_lines(tmp_path: Path) -> None:
    written(tmp_path / "a", step(1))
    slower = StepDone(**{**step(1).__dict__, "rows_per_second": 3.0, "seconds_left": 99.0})
    written(tmp_path / "b", slower)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert json.loads((tmp_path / "a").read_text(encoding="utf-8"))["loss"] == 0.5
