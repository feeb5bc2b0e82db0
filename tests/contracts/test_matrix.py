"""Tasks x methods x families: one batch trained down, saved, loaded and compared. Tiny random models.

By itself the suite covers every pair of task and method, task and family, method and family with few cells; with
`LUTHIER_EVERY_CELL=1` (`make test-all`) it covers every combination that is not refused.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pytest
from tests.contracts.test_tasks import RUNS
from tests.tiny_families import SIZES, build_family
from tests.tiny_runs import flat, learn

from luthier.cli import main
from luthier.inference.goldens import record
from luthier.inference.plain import replay_plain
from luthier.models.families import FAMILIES
from luthier.models.tuning.table import METHODS
from luthier.pipeline.combinations import families_of, refusal
from luthier.tasks import TASKS

Cell = tuple[str, str, str]
RATES = {"bitfit": 1e-2, "full": 5e-3, "layer-decay": 5e-3, "gradual": 1e-2, "freeze": 5e-3, "p-tuning": 1e-2}
SETTINGS = {
    "adalora": "{adalora: {rank: 2, start_rank: 3}}",
    "prefix": "{prefix: {tokens: 3}}",
    "prompt": "{prompt: {tokens: 3}}",
    "p-tuning": "{p-tuning: {tokens: 3, hidden: 8}}",
}


def allowed() -> list[Cell]:
    return [cell for cell in product(RUNS, METHODS, FAMILIES) if refusal(*cell) is None]


def pairs_of(cell: Cell) -> set[tuple[int, str, str]]:
    """Return a cell's pairs, each with a number that says of what."""
    return {(number, a, b) for number, (a, b) in enumerate(combinations(cell, 2))}


def covering(cells: list[Cell]) -> list[Cell]:
    """Return few cells that hold every pair of all.

    Each time the one with most pairs that are still missing; of equals one of the task that was chosen least.
    """
    left = {pair for cell in cells for pair in pairs_of(cell)}
    waiting, chosen, used = list(cells), [], Counter[str]()
    while left:
        waiting = [cell for cell in waiting if pairs_of(cell) & left]
        best = max(waiting, key=lambda cell: (len(pairs_of(cell) & left), -used[cell[0]]))
        chosen.append(best)
        used[best[0]] += 1
        left -= pairs_of(best)
    return chosen


EVERY = os.environ.get("LUTHIER_EVERY_CELL") == "1"
CELLS = allowed() if EVERY else covering(allowed())


def test_every_task_and_family_has_tiny_data() -> None:
    missing = sorted(TASKS.keys() - RUNS.keys())
    assert not missing, f"add a line to RUNS in tests/contracts/test_tasks.py for {', '.join(missing)}"
    assert SIZES.keys() == FAMILIES.keys(), "add a line to SIZES in tests/tiny_families.py"


def test_every_pair_that_is_not_refused_is_covered() -> None:
    cells = covering(allowed())
    assert {pair for cell in cells for pair in pairs_of(cell)} == {
        pair for cell in allowed() for pair in pairs_of(cell)
    }
    assert len(cells) < len(allowed()) / 2


def test_every_family_does_something() -> None:
    unused = [name for name in FAMILIES if not any(family == name for _, _, family in allowed())]
    assert set(unused) <= {"marian"}, unused  # it writes and does nothing else


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for models, data and caches that the cells share."""
    folder = tmp_path_factory.mktemp("matrix")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LUTHIER_HOME", str(folder / "home"))
        yield folder


def project_of(task: str, family: str, shelf: Path) -> Path:
    model = shelf / "models" / family
    if not model.exists():
        build_family(model, family)
    _, write, _ = RUNS[task]
    return write(shelf / task / family, model)


def settings(method: str, family: str) -> list[str]:
    rate = RATES.get(method, 0.02) / (4 if family == "albert" else 1)  # its one layer moves for all layers at once
    return [f"method={SETTINGS.get(method, method)}", f"train.learning_rate={rate}"]


@pytest.mark.parametrize(("task", "method", "family"), CELLS)
def test_it_learns_a_batch_and_is_saved_and_loaded_the_same(
    task: str, method: str, family: str, shelf: Path, tmp_path: Path
) -> None:
    found = learn(project_of(task, family, shelf), settings(method, family), tmp_path)
    assert np.mean(found.losses[-3:]) < found.losses[0], "the loss of one batch did not fall"
    prepared, predictor = found.prepared, found.predictor
    after = predictor.outputs(*prepared.part("test"))
    assert found.outputs.keys() == after.keys()
    for name, values in found.outputs.items():
        old, new = flat(values), flat(after[name])
        assert np.abs(old - new).max(initial=0.0) < 1e-4 * max(1.0, np.abs(old).max(initial=0.0)), name
    inputs = prepared.dataset.inputs_of("test", prepared.task)
    goldens = record(predictor, [("made", dict(inputs[row])) for row in range(min(3, len(inputs)))])
    assert goldens
    if not found.manifest.adapters:
        gap = replay_plain(tmp_path, found.manifest, predictor, goldens)
        assert gap < found.manifest.runtimes[0].raw_tolerance


@pytest.mark.parametrize("task", TASKS)
def test_a_family_that_cannot_do_a_task_is_refused_with_the_ones_that_can(
    task: str, shelf: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unable = [name for name in FAMILIES if name not in families_of(task)]
    if not unable:
        return  # every family can
    path = project_of(task, unable[0], shelf)
    assert main(["check", str(path), "--set", "data.limit=80"]) == 2
    error = capsys.readouterr().err
    assert f'({", ".join(families_of(task))}); got "{unable[0]}"' in error


def test_what_is_refused_is_listed_with_its_reason() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "combinations.md").read_text(encoding="utf-8")
    for task, method, family in product(TASKS, METHODS, FAMILIES):
        reason = refusal(task, method, family)
        if reason is not None and family in families_of(task):
            assert any(f"`{method}`" in line and reason in line for line in page.splitlines()), (method, reason)
        elif reason is not None:
            line = next(line for line in page.splitlines() if line.startswith(f"| `{task}` |"))
            assert family not in line.split("|")[3].split(", ")
