"""SmolLM2 on a few rows of support-chat through the real command line, and what it serves."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

import luthier
from luthier import samples
from luthier.cli import main
from luthier.compression.export.exporting import export
from luthier.data.rows import open_arrow
from luthier.serving.app import create_app

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "recipes" / "chat.yaml"
FEWER = ("data.limit=240", "train.epochs=1", "evaluate.answers=8", "check.steps=1", "bundle.golden_examples=4")
DRAWN = "task={text-generation: {max_new_tokens: 96, temperature: 0.7, top_p: 0.9, seed: 5}}"
PROMPTS = 40


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The recipe on its first 240 rows, one epoch."""
    return trained(tmp_path_factory.mktemp("chat") / "run", FEWER)


def trained(run: Path, changes: Sequence[str]) -> dict[str, Any]:
    samples.fetch("smollm2")
    samples.fetch("support-chat")
    command = [sys.executable, "-m", "luthier", "run", str(RECIPE), "--run-dir", str(run), "--json"]
    for change in changes:
        command += ["--set", change]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1500, check=False)
    assert done.returncode == 0, done.stderr
    values: dict[str, Any] = json.loads(done.stdout)
    return values


def questions(number: int) -> list[str]:
    """Return the last questions in English, which are not among the first 240 rows."""
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


def test_llama_cpp_goes_on_as_torch_does(result: dict[str, Any], tmp_path: Path) -> None:
    found = export(result["bundle"], "gguf", tmp_path / "exported")
    assert found.goldens > 4
    assert found.golden_difference < 1e-3
    assert found.bytes > 500e6  # 135 million numbers in fp32


def test_the_bundle_is_plain_transformers_and_answers_the_same_everywhere(
    result: dict[str, Any], tmp_path: Path
) -> None:
    found = luthier.verify(result["bundle"])
    assert found.plain_difference is not None
    assert found.plain_difference < 1e-4
    answers = [row["completion"] for row in predicted(result, questions(4), tmp_path)]
    assert all(answers)
    assert_served(result, questions(4), answers)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.fetches
def test_drawn_answers_end_by_themselves_and_are_streamed_as_predicted(tmp_path: Path) -> None:
    result = trained(tmp_path / "run", (DRAWN,))
    asked = questions(PROMPTS)
    rows = predicted(result, asked, tmp_path)
    answers = [row["completion"] for row in rows]
    assert sum(row["finish"] == "end" for row in rows) >= 0.9 * PROMPTS
    assert len(set(answers)) > PROMPTS // 2
    assert_served(result, asked[:4], answers[:4])


def predicted(result: dict[str, Any], asked: list[str], folder: Path) -> list[dict[str, Any]]:
    path, out = folder / "in.jsonl", folder / "out.jsonl"
    path.write_text("".join(json.dumps({"question": text}) + "\n" for text in asked), encoding="utf-8")
    assert main(["predict", result["bundle"], str(path), "-o", str(out)]) == 0
    return [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]


def assert_served(result: dict[str, Any], asked: list[str], answers: list[str]) -> None:
    """Assert that HTTP answers as the command line did, whole and streamed."""
    with TestClient(create_app(luthier.load(result["bundle"]))) as client:
        body = {"inputs": [{"question": text} for text in asked]}
        served = client.post("/v1/predict", json=body).json()["predictions"]
        assert [one["completion"] for one in served] == answers
        events = client.post("/v1/stream", json={"inputs": body["inputs"][:1]}).text.split("\n\n")
        pieces = [json.loads(event.removeprefix("data: ")) for event in events if event]
        assert "".join(piece["text"] for piece in pieces[:-1]) == answers[0]
        assert pieces[-1]["prediction"]["completion"] == answers[0]
        assert len(pieces) > 2
