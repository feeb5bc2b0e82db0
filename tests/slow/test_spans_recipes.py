"""MiniLM on a few synthetic rows, and people-daily as it is, through the real command line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import luthier
from luthier import samples
from luthier.cli import main
from luthier.data.rows import open_arrow

pytestmark = [pytest.mark.slow, pytest.mark.fetches]
ROWS = 64


def served(name: str, recipe: str, folder: Path, epochs: int) -> tuple[list[dict[str, Any]], list[Mapping[str, Any]]]:
    """Overfit a recipe on 64 rows of a sample, all splits being these rows; return them and what the bundle answers."""
    samples.fetch("minilm")
    rows = open_arrow(samples.fetch(name).file).slice(0, ROWS).to_pylist()
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    recipes = Path(__file__).parents[2] / "recipes"
    arguments = ["run", str(recipes / f"{recipe}.yaml"), "--run-dir", str(folder / "run")]
    changes = [f"data.{part}={path}" for part in ("train", "validation", "test")]
    changes += [
        "data.split={seed: 13}",
        f"train.epochs={epochs}",
        "train.batch_tokens=1024",
        "check.stop_on=never",
        "evaluate.resamples=200",
    ]
    for change in changes:
        arguments += ["--set", change]
    assert main(arguments) == 0
    return rows, [one.as_dict() for one in luthier.load(folder / "run" / "bundle").predict(rows)]


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_synthetic_questions_are_learnt_by_heart(tmp_path: Path) -> None:
    rows, answers = served("synthetic-questions", "question-answering", tmp_path, 18)
    truth = [[one["text"] for one in json.loads(row["answers"])] for row in rows]
    right = [a["answer"] in t if t else a["answer"] is None for a, t in zip(answers, truth, strict=True)]
    assert sum(right) >= 0.95 * ROWS


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_synthetic_relations_are_learnt_by_heart(tmp_path: Path) -> None:
    rows, answers = served("synthetic-relations", "relation-extraction", tmp_path, 14)
    right = [answer["label"] == row["relation"] for answer, row in zip(answers, rows, strict=True)]
    assert sum(right) >= 0.95 * ROWS


def test_people_daily_holds_the_tagged_names() -> None:
    found = samples.fetch("people-daily")
    contents = found.manifest["contents"]
    assert contents["sentences"] == 19_484
    assert contents["rows"] == 1_949
    assert contents["entities"]["LOC"] == 27_890  # every word tagged ns
    assert contents["entities"]["ORG"] == 3_573  # every word tagged nt
    assert 19_000 < contents["entities"]["PER"] < 21_000  # 35,267 words tagged nr, most of them in pairs
    rows = open_arrow(found.file).to_pylist()
    for row in rows[::50]:
        for span in json.loads(row["spans"]):
            name = row["text"][span["start"] : span["end"]]
            assert name
            assert "\n" not in name
    first = [rows[0]["text"][one["start"] : one["end"]] for one in json.loads(rows[0]["spans"])[:4]]
    assert first == ["中共中央", "江泽民", "中共中央", "江泽民"]
