"""Translation and summarisation from random weights: 64 real rows are learnt by heart, through the served bundle."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

import luthier
from luthier import samples
from luthier.data.rows import open_arrow
from luthier.evaluation.writing import first_sentence
from luthier.serving.app import create_app

pytestmark = pytest.mark.slow
RECIPES = Path(__file__).parents[2] / "recipes"
ROWS = 64
DATA = {"translation": "interface-translations", "summarisation": "docstring-summaries"}


def fixed(task: str, folder: Path) -> tuple[Path, list[dict[str, Any]]]:
    """Write 64 rows, spread over the sample, short enough to be learnt by heart in a minute or two."""
    samples.fetch(DATA[task])
    samples.fetch("random-t5")
    rows = open_arrow(samples.path(DATA[task]).file).to_pylist()
    target = "target" if task == "translation" else "summary"
    source = "source" if task == "translation" else "document"
    seen: dict[str, dict[str, Any]] = {}
    for row in rows:
        if len(row[target]) <= 60 and len(row[source]) <= 120:
            seen.setdefault(f"{row[source]}/{row.get('language')}", row)
    found = list(seen.values())
    chosen = found[:: len(found) // ROWS][:ROWS]
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in chosen), encoding="utf-8")
    return path, chosen


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.fetches
@pytest.mark.parametrize("task", DATA)
def test_rows_are_learnt_by_heart_and_served(task: str, tmp_path: Path) -> None:
    path, rows = fixed(task, tmp_path)
    command = [sys.executable, "-m", "luthier", "run", str(RECIPES / f"{task}.yaml"), "--json"]
    changes = {
        **dict.fromkeys(("data.train", "data.validation", "data.test"), str(path)),
        "data.split": "{seed: 13}",
        "check.stop_on": "never",  # the same rows stand in all three, and that is meant
        "check.steps": "1",
        "train.epochs": "120",
        "train.batch_tokens": "1024",
        "train.learning_rate": "0.003",
        "train.dropout": "0.0",
        "train.schedule": "cosine",
        "evaluate.answers": str(ROWS),
        "evaluate.resamples": "200",
        "bundle.golden_examples": "4",
    }
    for key, value in changes.items():
        command += ["--set", f"{key}={value}"]
    done = subprocess.run(
        [*command, "--run-dir", str(tmp_path / "run")], capture_output=True, text=True, timeout=1500, check=False
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    source, target = ("source", "target") if task == "translation" else ("document", "summary")
    names = [name for name in (source, "language") if name in rows[0]]
    with TestClient(create_app(luthier.load(result["bundle"]))) as client:
        body = {"inputs": [{name: row[name] for name in names} for row in rows]}
        answers = client.post("/v1/predict", json=body).json()["predictions"]
    right = [one["completion"].strip() == row[target].strip() for one, row in zip(answers, rows, strict=True)]
    assert sum(right) >= 0.95 * ROWS, f"{sum(right)} of {ROWS}"
    assert all(one["finish"] == "end" for one in answers)
    verified = luthier.verify(result["bundle"])
    assert verified.plain_difference is not None
    assert verified.plain_difference < 1e-4
    (simple,) = luthier.RunResult(result).evaluation().baselines
    assert simple.lead.interval is not None
    assert simple.lead.interval[0] > 0
    if task == "summarisation":
        assert simple.metrics["exact_match"].value == pytest.approx(
            sum(first_sentence(row[source]) == row[target] for row in rows) / ROWS
        )
