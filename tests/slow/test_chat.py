"""SmolLM2 on a few rows of support-chat through the real command line, and what it serves."""

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
from luthier.cli import main
from luthier.data.rows import open_arrow
from luthier.serving.app import create_app

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "recipes" / "chat.yaml"
FEWER = ("data.limit=400", "train.epochs=1", "evaluate.answers=8", "check.steps=1", "bundle.golden_examples=4")
DRAWN = "task={text-generation: {max_new_tokens: 48, temperature: 0.7, top_p: 0.9, seed: 5}}"
PROMPTS = 40


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The recipe on its first 400 rows, one epoch, with drawn answers."""
    samples.fetch("smollm2")
    samples.fetch("support-chat")
    run = tmp_path_factory.mktemp("chat") / "run"
    command = [sys.executable, "-m", "luthier", "run", str(RECIPE), "--run-dir", str(run), "--json"]
    for change in (*FEWER, DRAWN):
        command += ["--set", change]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1500, check=False)
    assert done.returncode == 0, done.stderr
    values: dict[str, Any] = json.loads(done.stdout)
    return values


def questions(number: int) -> list[str]:
    """Return questions that training did not have: the last ones in English."""
    table = open_arrow(samples.path("support-chat").file)
    rows = zip(table.column("question").to_pylist(), table.column("language").to_pylist(), strict=True)
    return list(dict.fromkeys(text for text, language in rows if language == "en"))[-number:]


@pytest.mark.fetches
def test_it_beats_the_model_before_training(result: dict[str, Any]) -> None:
    assert result["headline"] == "perplexity"
    assert result["test"]["perplexity"] < result["baseline"]["untuned"]["perplexity"]
    (untuned,) = luthier.RunResult(result).evaluation().baselines
    assert untuned.lead.interval is not None
    assert untuned.lead.interval[1] < 0


def test_the_bundle_is_plain_transformers_and_answers_the_same_everywhere(
    result: dict[str, Any], tmp_path: Path
) -> None:
    found = luthier.verify(result["bundle"])
    assert found.plain_difference is not None
    assert found.plain_difference < 1e-4
    asked = questions(PROMPTS)
    path, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    path.write_text("".join(json.dumps({"question": text}) + "\n" for text in asked), encoding="utf-8")
    assert main(["predict", result["bundle"], str(path), "-o", str(out)]) == 0
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    answers = [row["completion"] for row in rows]
    assert sum(row["finish"] == "end" for row in rows) >= 0.9 * PROMPTS
    assert len(set(answers)) > PROMPTS // 2
    with TestClient(create_app(luthier.load(result["bundle"]))) as client:
        body = {"inputs": [{"question": text} for text in asked[:4]]}
        served = client.post("/v1/predict", json=body).json()["predictions"]
        assert [one["completion"] for one in served] == answers[:4]
        for number in range(2):
            events = client.post("/v1/stream", json={"inputs": body["inputs"][number : number + 1]}).text.split("\n\n")
            pieces = [json.loads(event.removeprefix("data: ")) for event in events if event]
            assert "".join(piece["text"] for piece in pieces[:-1]) == answers[number]
            assert pieces[-1]["prediction"]["completion"] == answers[number]
        assert len(pieces) > 2
