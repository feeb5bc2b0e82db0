"""From a project file to a served bundle through the real command line. Tiny random model."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.tiny import project, sentences, write_csv

import luthier
from luthier.artifacts.check import CheckReport
from luthier.artifacts.evaluation import EvalReport
from luthier.cli import main
from luthier.data.rows import open_arrow
from luthier.tasks.base import Scored


@pytest.fixture(scope="module")
def module_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def use_home(module_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUTHIER_HOME", str(module_home))


@pytest.fixture(scope="module")
def finished(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory, module_home: Path) -> Path:
    """A finished run, trained long enough to have learnt."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LUTHIER_HOME", str(module_home))
        folder = tmp_path_factory.mktemp("finished")
        path = project(folder, tiny_model, rows=400)
        assert main(["run", str(path), "--run-dir", str(folder / "run"), "--set", "train.epochs=14"]) == 0
    return folder / "run"


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_json_line_has_what_it_promises(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = finished.parent / "project.yaml"
    arguments = ["run", str(path), "--run-dir", str(finished), "--set", "train.epochs=14", "--json"]
    before = {p: p.stat().st_mtime_ns for p in (finished / "bundle").rglob("*")}
    lines = []
    for _ in range(2):
        assert main(arguments) == 0
        lines.append(capsys.readouterr().out.strip())
    assert lines[0] == lines[1]
    values = json.loads(lines[0])
    assert Path(values["run_dir"]) == finished.resolve()
    assert Path(values["bundle"]).is_dir()
    low, high = values["test"]["accuracy_interval"]
    assert low <= values["test"]["accuracy"] <= high
    assert 0 < values["baseline"]["majority"]["accuracy"] < values["baseline"]["tfidf"]["accuracy"] <= 1
    assert values["train"]["rows_per_second"] > 0
    assert values["seconds"] > 0
    assert {p: p.stat().st_mtime_ns for p in (finished / "bundle").rglob("*")} == before


def test_the_test_split_was_read_once(finished: Path) -> None:
    reads = [json.loads(line) for line in (finished / "ledger.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(reads) == 1
    assert reads[0]["split"] == "test"
    assert reads[0]["weights_sha256"] == sha(finished / "bundle" / "model" / "model.safetensors")


def test_evaluation_has_every_metric_with_an_interval(finished: Path) -> None:
    report = EvalReport.read(finished / "evaluation.json")
    wanted = {"accuracy", "balanced_accuracy", "macro_f1", "mcc", "log_loss", "roc_auc", "pr_auc", "brier", "ece"}
    assert wanted <= report.metrics.keys()
    assert all(report.metrics[name].interval is not None for name in wanted)
    assert {block.kind for block in report.blocks} == {"confusion", "per_class", "calibration", "examples"}
    assert {row.column for row in report.slices} == {"length", "label"}
    assert sum(row.rows for row in report.slices if row.column == "length") == report.rows


def test_two_runs_with_one_seed_have_the_same_weights_and_evaluation(finished: Path, tmp_path: Path) -> None:
    path = finished.parent / "project.yaml"
    assert main(["run", str(path), "--run-dir", str(tmp_path / "again"), "--set", "train.epochs=14"]) == 0
    for name in ("bundle/model/model.safetensors", "evaluation.json", "train/metrics.jsonl"):
        assert sha(tmp_path / "again" / name) == sha(finished / name), name


def test_a_changed_project_is_refused_by_name_and_fresh_keeps_the_old_folder(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = project(tmp_path, tiny_model)
    run = tmp_path / "run"
    assert main(["run", str(path), "--run-dir", str(run), "--set", "train.epochs=1"]) == 0
    assert main(["run", str(path), "--run-dir", str(run), "--set", "train.learning_rate=0.1"]) == 2
    error = capsys.readouterr().err
    assert "train.epochs was 1, is 3" in error
    assert "train.learning_rate was 0.003, is 0.1" in error
    assert "--fresh" in error
    weights = sha(run / "bundle" / "model" / "model.safetensors")
    assert main(["run", str(path), "--run-dir", str(run), "--set", "train.epochs=2", "--fresh"]) == 0
    assert sha(tmp_path / "run.old-1" / "bundle" / "model" / "model.safetensors") == weights
    assert sha(run / "bundle" / "model" / "model.safetensors") != weights


def test_a_later_stage_alone_is_done_again_when_its_settings_change(tiny_model: Path, tmp_path: Path) -> None:
    path = project(tmp_path, tiny_model)
    run = tmp_path / "run"
    arguments = ["run", str(path), "--run-dir", str(run), "--set", "train.epochs=1"]
    assert main(arguments) == 0
    times = {name: (run / name).stat().st_mtime_ns for name in ("evaluation.json", "bundle", "report.html")}
    assert main([*arguments, "--set", "report.language=zh"]) == 0
    assert (run / "report.html").stat().st_mtime_ns > times["report.html"]
    assert "测试" in (run / "report.html").read_text(encoding="utf-8")
    assert {name: (run / name).stat().st_mtime_ns for name in ("evaluation.json", "bundle")} == {
        name: times[name] for name in ("evaluation.json", "bundle")
    }


def test_the_plain_folder_gives_the_same_answers(finished: Path) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

    folder = finished / "bundle" / "model"
    texts = [text for text, _ in sentences(40, seed=9)]
    ours = luthier.load(finished / "bundle").predict(texts)
    classify = pipeline("text-classification", model=str(folder), device="cpu")
    theirs = classify(texts, truncation=True)
    assert [answer.as_dict()["label"] for answer in ours] == [answer["label"] for answer in theirs]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        logits = model(**tokenizer(texts, padding=True, truncation=True, return_tensors="pt")).logits.double().numpy()
    predictor = luthier.load(finished / "bundle")
    own = predictor.outputs(predictor.features([{"text": text} for text in texts]))["logits"]
    assert np.abs(own - logits).max() < 1e-5


def test_answers_do_not_depend_on_batches(finished: Path) -> None:
    predictor = luthier.load(finished)
    cells = [{"text": text} for text, _ in sentences(60, seed=4)]
    features = predictor.features(cells)
    together, alone = (
        predictor.decode(Scored(predictor.outputs(features, batch_tokens=budget), features, np.arange(60), cells))
        for budget in (4096, 1)
    )
    for a, b in zip(together, alone, strict=True):
        assert a.as_dict()["label"] == b.as_dict()["label"]
        for label, score in a.as_dict()["scores"].items():
            assert score == pytest.approx(b.as_dict()["scores"][label], abs=1e-5)


def test_the_bundle_moves_and_needs_nothing_else(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = tmp_path / "elsewhere" / "bundle"
    shutil.copytree(finished / "bundle", moved)
    for path in [*moved.rglob("*"), moved]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path / "nothing"))
    text = sentences(1)[0][0]
    assert luthier.load(moved).predict([text])[0] == luthier.load(finished).predict([text])[0]
    assert not (tmp_path / "nothing").exists()
    for path in [*moved.rglob("*"), moved]:
        path.chmod(0o755 if path.is_dir() else 0o644)


def test_goldens_hold_odd_texts_and_no_personal_data(finished: Path) -> None:
    goldens = json.loads((finished / "bundle" / "goldens.json").read_text(encoding="utf-8"))["examples"]
    origins = " ".join(golden["origin"] for golden in goldens)
    for kind in ("over-long", "upper case", "accents", "Chinese"):
        assert kind in origins
    assert sum("data.csv:" in golden["origin"] for golden in goldens) >= 20
    longest = max(len(golden["features"][0]["input_ids"]) for golden in goldens)
    assert longest == 64


def test_permuted_labels_give_chance_and_the_check_says_so(tiny_model: Path, tmp_path: Path) -> None:
    pairs = sentences(600)
    labels = np.random.default_rng(3).permutation([label for _, label in pairs])
    path = project(tmp_path, tiny_model)
    write_csv(tmp_path / "data.csv", [(text, str(label)) for (text, _), label in zip(pairs, labels, strict=True)])
    assert main(["run", str(path), "--run-dir", str(tmp_path / "run"), "--set", "train.epochs=6"]) == 0
    low, high = EvalReport.read(tmp_path / "run" / "evaluation.json").metrics["accuracy"].interval or (1, 0)
    assert low < 0.5 < high or high < 0.56
    findings = CheckReport.read(tmp_path / "run" / "check" / "check.json").findings
    assert "no-signal" in {finding.code for finding in findings}


def test_a_planted_leak_stops_the_run_and_names_the_rows(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = project(tmp_path, tiny_model)
    rows = sentences(300)
    write_csv(tmp_path / "data.csv", rows[:240])
    write_csv(tmp_path / "test.csv", [*rows[240:], *rows[:7]])
    arguments = ["run", str(path), "--run-dir", str(tmp_path / "run"), "--set", f"data.test={tmp_path / 'test.csv'}"]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert "test: leak: 6 rows (8.96%) stand in the training rows as well." in error  # the seventh validates
    assert "check.ignore: [leak]" in error
    assert not (tmp_path / "run" / "train").exists()
    assert main([*arguments, "--set", "check.ignore=[leak]", "--set", "train.epochs=1"]) == 0


def test_planted_label_noise_is_among_the_suspects(tiny_model: Path, tmp_path: Path) -> None:
    rows = sentences(800)
    other = {"negative": "positive", "positive": "negative"}
    planted = set(range(0, 800, 16))
    noisy = [(text, other[label] if i in planted else label) for i, (text, label) in enumerate(rows)]
    path = project(tmp_path, tiny_model)
    write_csv(tmp_path / "data.csv", noisy)
    report = luthier.check(path)
    found = next(finding for finding in report.findings if finding.code == "suspect-labels")
    lines = {int(place.rsplit(":", 1)[1]) - 2 for place in found.examples}
    assert len(lines) == 5
    assert lines <= planted
    assert found.count >= 0.5 * 0.7 * len(planted)


def test_compare_pairs_the_rows_of_two_runs(
    finished: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = finished.parent / "project.yaml"
    worse = tmp_path / "worse"
    assert main(["run", str(path), "--run-dir", str(worse), "--set", "train.epochs=1"]) == 0
    capsys.readouterr()
    assert main(["compare", str(worse), str(finished), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    tables = [open_arrow(run / "evaluate" / "predictions.arrow").to_pydict() for run in (worse, finished)]
    accuracy = [np.mean([a == b for a, b in zip(t["target"], t["predicted"], strict=True)]) for t in tables]
    assert found["rows"] == len(tables[0]["key"])
    assert found["result"]["difference"] == pytest.approx(accuracy[1] - accuracy[0])
    assert found["result"]["interval"][0] > 0
    assert found["mcnemar_p"] < 0.05


def test_verify_replays_and_names_what_it_looked_at(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(finished / "bundle")]) == 0
    assert "golden examples answered as when they were evaluated" in capsys.readouterr().out


def test_run_in_python_shows_well(finished: Path) -> None:
    result = luthier.run(finished.parent / "project.yaml", run_dir=finished, overrides=["train.epochs=14"])
    assert result.bundle == finished.resolve() / "bundle"
    assert "tfidf" in result._repr_html_()
    answers = result.load().predict(["a good film", {"text": "a dull film"}])
    assert answers[0].as_dict()["label"] == "positive"
    assert "<table>" in answers._repr_html_()


def test_a_data_frame_takes_the_place_of_the_file(tiny_model: Path, tmp_path: Path) -> None:
    import pandas as pd

    frame = pd.DataFrame(sentences(240), columns=["text", "label"])
    values: dict[str, Any] = {
        "version": 1,
        "name": "frame",
        "task": "text-classification",
        "model": str(tiny_model),
        "data": {"train": "frame"},
        "train": {"epochs": 1, "precision": "fp32"},
    }
    assert luthier.run(values, data=frame, run_dir=tmp_path / "run").test["rows"] > 20


def test_init_writes_a_project_that_runs_as_it_is(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = sentences(200)
    body = "".join(f'{i};"{text}";{label};x\n' for i, (text, label) in enumerate(rows))
    (tmp_path / "my reviews.csv").write_text(f"id;comment;sentiment;note\n{body}200;;positive;x\n", encoding="utf-8")
    assert main(["init", "my reviews.csv", "--model", str(tiny_model)]) == 0
    assert "comment" in capsys.readouterr().out
    assert main(["init", "my reviews.csv"]) == 2
    assert main(["run", "project.yaml", "--set", "train.epochs=1"]) == 0
    assert (tmp_path / "runs" / "my-reviews" / "bundle").is_dir()
