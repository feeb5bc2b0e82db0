"""A memory budget picks the number of micro-batches, and changes nothing but rounding. Tiny random model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.tiny import project

from luthier.errors import LuthierError, TrainingError
from luthier.pipeline.run import open_project
from luthier.pipeline.training import TrainJob, choose
from luthier.training.memory import fitting_parts, peak_of, resettable

pytestmark = pytest.mark.skipif(not resettable(), reason="the peak of a part of a process's life is not told here")


def test_the_peak_is_of_the_work_and_not_of_the_life() -> None:
    def take(mib: int) -> None:
        np.ones(mib << 17).sum()

    large, small = peak_of(lambda: take(300)), peak_of(lambda: take(30))
    assert 200 < large - small < 340


def test_the_fewest_parts_that_fit_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []

    def peak(work: object) -> float:
        work()  # type: ignore[operator]
        return 100 + 800 / tried[-1]

    monkeypatch.setattr("luthier.training.memory.peak_of", peak)
    assert fitting_parts(tried.append, 20, 320) == (4, 300.0)
    assert tried == [32, 16, 8, 4, 2]
    tried.clear()
    assert fitting_parts(tried.append, 20, 5000) == (1, 900.0)
    with pytest.raises(TrainingError, match=r"must be at least 125, what a step takes in its smallest parts; got 110"):
        fitting_parts(tried.append, 20, 110)


def test_a_budget_is_a_choice_of_the_run(tiny_model: Path, tmp_path: Path, home: Path) -> None:
    path = project(tmp_path, tiny_model)
    _, prepared = open_project(path, ["train.memory_mib=100000"])
    choices = choose(prepared)
    assert choices["accumulate"].value == "1"
    assert TrainJob(prepared, choices).fit(TrainJob(prepared, choices).assemble()).numbers.accumulate == 1
    assert "accumulate" not in choose(open_project(path)[1])
    with pytest.raises(LuthierError, match=r"train.memory_mib must be at least \d+, .* got 256"):
        choose(open_project(path, ["train.memory_mib=256"])[1])
