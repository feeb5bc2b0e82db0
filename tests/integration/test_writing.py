"""Tiny encoder-decoders from project file to served bundle, through the real command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from tests.tiny import build_decoder, chat_project
from tests.tiny_seq import build_writer, pair_project, pairs

import luthier
from luthier.artifacts.evaluation import AnswersBlock, EvalReport
from luthier.cli import main
from luthier.serving.app import create_app

METRIC = """
def same_length(answers, truth):
    return sum(len(a) == len(t) for a, t in zip(answers, truth)) / len(truth)


def breaks(answers, truth):
    return answers["nothing"]


number = 3
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("writing")


@pytest.fixture(scope="module")
def finished(place: Path) -> Iterator[Path]:
    """The run folder of a tiny Marian that writes a text's last word in capitals, with two beams."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LUTHIER_HOME", str(place / "home"))
        project = pair_project(place, build_writer(place / "model", family="marian"), settings=", num_beams: 2")
        (place / "own.py").write_text(METRIC)
        change = ["--set", "evaluate.metrics=[own:same_length]", "--set", "train.learning_rate=0.01"]
        assert main(["run", str(project), "--run-dir", str(place / "run"), *change]) == 0
        yield place / "run"


def asked(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main(list(arguments)) == 0
    return json.loads(capsys.readouterr().out)


def test_the_report_is_about_what_was_written(finished: Path) -> None:
    report = EvalReport.read(finished / "evaluation.json")
    assert report.headline == "chrf"
    assert report.rows == 8
    assert {"bleu", "chrf", "rouge_1", "rouge_2", "rouge_l", "exact_match", "perplexity"} <= report.metrics.keys()
    (copy,) = report.baselines
    assert copy.name == "copy"
    assert copy.lead.interval is not None
    (block,) = report.blocks
    assert isinstance(block, AnswersBlock)
    own = report.metrics["own:same_length"]
    assert own.value == sum(len(row.answer) == len(row.target) for row in block.rows) / 8
    assert own.interval is not None
    page = (finished / "report.html").read_text(encoding="utf-8")
    assert "the source as it is" in page
    assert "own:same_length" in page


def test_verify_replays_through_plain_transformers(finished: Path) -> None:
    found = luthier.verify(finished / "bundle")
    assert found.goldens == 11
    assert found.plain_difference is not None
    assert found.plain_difference < 1e-4


def test_a_file_and_http_get_the_same_text(finished: Path, place: Path) -> None:
    path, out = place / "in.jsonl", place / "out.jsonl"
    texts = [text for text, _ in pairs(9, seed=4)]
    path.write_text("".join(json.dumps({"source": text}) + "\n" for text in texts))
    assert main(["predict", str(finished / "bundle"), str(path), "-o", str(out)]) == 0
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    predictor = luthier.load(finished / "bundle")
    with TestClient(create_app(predictor)) as client:
        answer = client.post("/v1/predict", json={"inputs": [{"source": text} for text in texts]}).json()
        assert [one["completion"] for one in answer["predictions"]] == [row["completion"] for row in rows]
        streamed = client.post("/v1/stream", json={"inputs": [texts[2]]})
        events = [json.loads(line.removeprefix("data: ")) for line in streamed.text.splitlines() if line]
        assert events[-1]["prediction"]["completion"] == rows[2]["completion"]


def test_batches_of_any_shape_give_equal_answers(finished: Path) -> None:
    predictor = luthier.load(finished / "bundle")
    rows = [{"source": text, "target": target} for text, target in pairs(30, seed=6)]
    columns = {name: [row[name] for row in rows] for name in ("source", "target")}
    block = predictor.task.encode(columns, np.arange(30), predictor.encoder, np.zeros(30, np.int64), {})
    from luthier.data.features import in_memory

    features = in_memory([block], predictor.task.fields(predictor.encoder))
    whole = predictor.outputs(features)
    for budget in (1, 100):
        part = predictor.outputs(features, batch_tokens=budget)
        assert np.allclose(part["nll"], whole["nll"], atol=1e-4)
    assert whole["nll"].std() > 0.01
    alone = [predictor.predict([row["source"]])[0].as_dict() for row in rows[:6]]
    assert alone == [one.as_dict() for one in predictor.predict([row["source"] for row in rows])][:6]


def test_two_runs_are_compared_on_the_rows_that_both_answered(
    finished: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = place / "other"
    project = ["run", str(place / "pairs.yaml"), "--run-dir", str(other), "--set", "train.epochs=1"]
    assert main(project) == 0
    capsys.readouterr()
    found = asked(capsys, "compare", str(other), str(finished), "--json")
    assert found["headline"] == "chrf"
    assert found["after"] == pytest.approx(EvalReport.read(finished / "evaluation.json").metrics["chrf"].value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("evaluate.metrics=[own:missing]", "evaluate.metrics own:missing: own has no function missing"),
        ("evaluate.metrics=[own:number]", "own has no function number"),
        ("evaluate.metrics=[nowhere:f]", "the module cannot be imported: ModuleNotFoundError"),
        ("evaluate.metrics=[own]", 'evaluate.metrics must be module:function; got "own"'),
        ("evaluate.metrics=[../own:f]", "evaluate.metrics must be module:function"),
        ("evaluate.baselines=[lead]", "evaluate.baselines of translation must be of copy; got lead"),
        ("task={translation: {num_beams: 2, temperature: 1.0}}", "temperature must be 0 with num_beams 2; got 1"),
        ("task={translation: {prefix: '{language}: '}}", "needs a language beside it"),
        ("task={translation: {max_target_length: 200, max_new_tokens: 200}}", "max_new_tokens must be at most 128"),
        ("data.columns={source: source, target: target, language: tongue}", "has a language beside it, but the task's"),
        ("method=head", "got head: the output layer of a language model"),
        ("method=prompt", "got prompt: "),
        ("train.select_by=chrf", "train.select_by must be defined on the validation split; chrf is not"),
    ],
)
def test_wrong_set_ups_are_refused_with_place_and_fix(
    change: str, message: str, finished: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["run", str(place / "pairs.yaml"), "--run-dir", str(place / "refused"), "--fresh"]
    assert main([*arguments, "--set", change, "--set", "train.epochs=1"]) == 2
    assert message in capsys.readouterr().err


def test_targets_that_are_cut_are_found(finished: Path, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change = "task={translation: {max_target_length: 4, max_new_tokens: 8}}"
    found = asked(capsys, "check", str(place / "pairs.yaml"), "--set", change, "--json")
    (one,) = [one for one in found["findings"] if one["code"] == "cut-targets" and one["place"] == "train"]
    assert "target that is longer than its limit" in one["message"]


def test_the_first_batch_is_shown_with_what_is_learnt(
    finished: Path, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(place / "pairs.yaml"), "--show-batch"]) == 0
    shown = capsys.readouterr().out
    text, target = next(pair for pair in pairs(120) if f"{pair[0]}</s>" in shown)
    assert f"{text}</s>⟦{target}</s>⟧" in shown
    chat = chat_project(tmp_path, build_decoder(tmp_path / "model"))
    found = asked(capsys, "check", str(chat), "--show-batch", "--json")
    for row in found["batch"]:
        learnt = [part["text"] for part in row["segments"] if part["learnt"]]
        assert learnt == [f"{row['target']}<end>"], "completion and end, and nothing else"
        assert row["segments"][0]["text"].endswith("<start>assistant\n")
    assert "chat.csv:" in found["batch"][0]["place"]


def test_a_failing_metric_is_named(finished: Path, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["run", str(place / "pairs.yaml"), "--run-dir", str(place / "failing"), "--set", "train.epochs=1"]
    assert main([*arguments, "--set", "evaluate.metrics=[own:breaks]"]) == 2
    assert "evaluate.metrics own:breaks failed: TypeError" in capsys.readouterr().err
