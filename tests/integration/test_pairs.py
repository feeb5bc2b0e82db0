"""Pairs, embeddings and rankings from a project file to answers over HTTP, through the real command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from tests.tiny_pairs import (
    build_spread_model,
    embedding_project,
    lists,
    pair_project,
    pairs,
    questions_and_answers,
    reranking_project,
    similarity_project,
    write_project,
    write_table,
)

import luthier
from luthier.artifacts.evaluation import EvalReport
from luthier.cli import main
from luthier.serving.app import create_app


@dataclass(frozen=True)
class Case:
    """A task's tiny project, rows to ask, and the columns of a file of them."""

    write: Callable[[Path, Path], Path]
    header: tuple[str, ...]
    rows: list[tuple[str, ...]]
    block: str


CASES = {
    "text-pair": Case(pair_project, ("question", "answer"), [row[:2] for row in pairs(12, seed=9)], "confusion"),
    "text-similarity": Case(
        similarity_project, ("question", "answer"), [row[:2] for row in pairs(12, seed=9)], "means"
    ),
    "embedding": Case(
        embedding_project, ("question",), [row[:1] for row in questions_and_answers(12, seed=9)], "ranked"
    ),
    "reranking": Case(reranking_project, ("question", "candidates"), [row[:2] for row in lists(12, seed=9)], "ranked"),
}


@pytest.fixture(scope="module")
def module_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def use_home(module_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUTHIER_HOME", str(module_home))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_spread_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module", params=CASES)
def run(
    request: pytest.FixtureRequest, model: Path, tmp_path_factory: pytest.TempPathFactory, module_home: Path
) -> tuple[Case, Path]:
    """A case and its finished run."""
    case = CASES[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LUTHIER_HOME", str(module_home))
        path = case.write(folder, model)
        assert main(["run", str(path), "--run-dir", str(folder / "run")]) == 0
    return case, folder / "run"


def numbers(answer: Any) -> list[float]:
    """Return every number of an answer, in order."""
    if isinstance(answer, dict):
        return [number for value in answer.values() for number in numbers(value)]
    if isinstance(answer, list):
        return [number for value in answer for number in numbers(value)]
    return [float(answer)] if isinstance(answer, (int, float)) else []


def test_it_is_evaluated_against_baselines(run: tuple[Case, Path]) -> None:
    case, folder = run
    report = EvalReport.read(folder / "evaluation.json")
    assert case.block in {block.kind for block in report.blocks}
    assert report.metrics[report.headline].interval is not None
    assert len(report.baselines) >= 2
    for baseline in report.baselines:
        lead = report.metrics[report.headline].value - baseline.metrics[report.headline].value
        assert baseline.lead.value == pytest.approx(lead)
        assert baseline.lead.interval is not None
    assert report.slices
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "BM25" in page or report.task in {"text-pair", "text-similarity"}
    assert report.task in (folder / "bundle" / "README.md").read_text(encoding="utf-8")


def test_plain_transformers_give_the_same(run: tuple[Case, Path]) -> None:
    found = luthier.verify(run[1])
    assert found.goldens >= 10
    assert found.plain_difference is not None
    assert found.plain_difference < 1e-4


def test_a_file_and_http_give_the_same_answers(run: tuple[Case, Path], tmp_path: Path) -> None:
    case, folder = run
    source, out = write_table(tmp_path / "in.csv", case.header, case.rows), tmp_path / "out.jsonl"
    assert main(["predict", str(folder), str(source), "-o", str(out)]) == 0
    from_file = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    predictor = luthier.load(folder)
    rows = [dict(zip(case.header, row, strict=True)) for row in case.rows]
    asked = [{name: json.loads(cell) if cell.startswith("[") else cell for name, cell in row.items()} for row in rows]
    with TestClient(create_app(predictor)) as client:
        answer = client.post("/v1/predict", json={"inputs": asked})
        assert answer.status_code == 200, answer.text
        over_http = answer.json()["predictions"]
    python = predictor.predict(rows)
    assert len(from_file) == len(over_http) == len(python) == len(rows)
    for row, wire, own in zip(from_file, over_http, python, strict=True):
        assert numbers(wire) == pytest.approx(numbers(own.as_dict()), abs=1e-5)
        for name, value in own.as_columns().items():
            if isinstance(value, str) and value.startswith("["):
                assert json.loads(row[name]) == pytest.approx(json.loads(value), abs=1e-5)
            else:
                assert row[name] == (pytest.approx(value, abs=1e-5) if isinstance(value, float) else value)


def test_one_by_one_padded_and_sorted_give_the_same(run: tuple[Case, Path]) -> None:
    case, folder = run
    predictor = luthier.load(folder)
    rows = [dict(zip(case.header, row, strict=True)) for row in case.rows]
    features = predictor.features([predictor.cells(row, "here") for row in rows])
    (name, alone), *_ = predictor.outputs(features, batch_tokens=1).items()
    assert len(np.unique(features.total_cost)) > 2, "lengths must differ for padding to matter"
    assert np.abs(alone - alone[0]).max() > 1e-3, "answers must differ for the comparison to mean something"
    backwards = np.arange(len(features))[::-1]
    assert np.allclose(predictor.outputs(features)[name], alone, atol=1e-5)
    assert np.allclose(predictor.outputs(features, backwards, batch_tokens=200)[name][::-1], alone, atol=1e-5)


def test_a_run_is_no_better_than_itself(run: tuple[Case, Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder = run[1]
    found = luthier.compare(folder, folder)
    assert found.result.difference == 0.0
    assert found.before == pytest.approx(EvalReport.read(folder / "evaluation.json").metrics[found.headline].value)


def test_an_embedding_learns_which_words_belong_together(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With hard negatives, a negative column and prefixes, and kinds when predicting."""
    rows = [(q, a, n) for (q, a), (_, n) in zip(questions_and_answers(240), questions_and_answers(240, 1), strict=True)]
    write_table(tmp_path / "data.csv", ("question", "answer", "wrong"), rows)
    task = "{embedding: {query_prefix: 'the ', passage_prefix: 'of '}}"
    columns = "{text: question, positive: answer, negative: wrong}"
    path = write_project(tmp_path, model, task, columns)
    assert main(["run", str(path), "--run-dir", str(tmp_path / "run"), "--set", "train.epochs=8", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["test"]["mrr"] > result["baseline"]["untuned"]["mrr"] + 0.05
    predictor = luthier.load(tmp_path / "run")
    assert predictor.inputs == ("text", "kind")
    query, again, passage, plain = predictor.predict(
        [{"text": "good"}, {"question": "good", "kind": "query"}, {"text": "good", "kind": "passage"}, "good"]
    )
    assert query.as_dict() == again.as_dict() == plain.as_dict()
    assert not np.allclose(query.as_dict()["embedding"], passage.as_dict()["embedding"], atol=1e-3)
    assert np.linalg.norm(query.as_dict()["embedding"]) == pytest.approx(1.0, abs=1e-5)


def test_sentence_transformers_finds_its_modules(run: tuple[Case, Path]) -> None:
    case, folder = run
    plain = folder / "bundle" / "model"
    if case is not CASES["embedding"]:
        assert not (plain / "modules.json").exists()
        return
    modules = json.loads((plain / "modules.json").read_text(encoding="utf-8"))
    assert [module["type"].rpartition(".")[2] for module in modules] == ["Transformer", "Pooling", "Normalize"]
    pooling = json.loads((plain / "1_Pooling" / "config.json").read_text(encoding="utf-8"))
    assert pooling["pooling_mode_mean_tokens"]
    assert pooling["word_embedding_dimension"] == 32


def test_rows_of_one_passage_each_are_judged_by_query(model: Path, tmp_path: Path) -> None:
    rows = [
        (query, passage, str(int(place == int(right))))
        for query, passages, right in lists(120)
        for place, passage in enumerate(json.loads(passages))
    ]
    write_table(tmp_path / "data.csv", ("query", "passages", "relevance"), rows)
    path = write_project(tmp_path, model, "reranking", "{query: query}")
    path.write_text(path.read_text(encoding="utf-8").replace("columns: {query: query}", "group: query"), "utf-8")
    assert main(["run", str(path), "--run-dir", str(tmp_path / "run"), "--set", "train.epochs=1"]) == 0
    report = EvalReport.read(tmp_path / "run" / "evaluation.json")
    ledger = json.loads((tmp_path / "run" / "ledger.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert report.rows * 4 == ledger["rows"]
    assert luthier.compare(tmp_path / "run", tmp_path / "run").result.difference == 0.0


def test_wrong_rows_are_named_with_their_place(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = reranking_project(tmp_path, model)
    rows = [*lists(160)]
    rows[4] = (rows[4][0], rows[4][1], "4")
    rows[7] = (rows[7][0], "[]", "0")
    write_table(tmp_path / "data.csv", ("question", "candidates", "right"), rows)
    assert main(["check", str(path)]) == 2
    text = capsys.readouterr().err
    assert 'data.csv:6: column "right" must be the place of one of 4 passages, counted from 0; got 4' in text
    assert 'data.csv:9: column "candidates" must have at least one passage; got an empty list' in text


def test_wrong_set_ups_are_refused_before_training(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = embedding_project(tmp_path, model, task="{embedding: {loss: triplet}}")
    assert main(["check", str(path)]) == 2
    assert "data.columns.negative must name a column for the loss triplet" in capsys.readouterr().err
    assert main(["check", str(path), "--set", "task=embedding", "--set", "train.accumulate=2"]) == 2
    assert "train.accumulate must be left out for embedding" in capsys.readouterr().err
    assert main(["check", str(path), "--set", "task=embedding", "--set", "evaluate.baselines=[majority]"]) == 2
    assert "evaluate.baselines of embedding must be of untuned, bm25, tfidf" in capsys.readouterr().err
    assert main(["check", str(path), "--set", "task={embedding: {los: triplet}}"]) == 2
    assert 'Did you mean "loss"?' in capsys.readouterr().err
