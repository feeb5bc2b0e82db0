"""Entities, relations and answers from project file to served bundle, through the real command line; tiny models."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from tests.tiny import build_model
from tests.tiny_spans import (
    answer_project,
    asked,
    entity_project,
    related,
    relation_project,
    spanned,
    tagged,
    with_spans,
    word_project,
    write_rows,
)

import luthier
from luthier.artifacts.evaluation import EvalReport, PerClassBlock
from luthier.cli import main
from luthier.inference.predictor import Predictor
from luthier.serving.app import create_app

Rows = list[dict[str, Any]]
Write = Callable[[Path, Path], Path]
ENTITIES = spanned(9, seed=4, longest=60)
PROJECTS: dict[str, tuple[Write, Rows, int]] = {
    "entities": (entity_project, ENTITIES, 4),
    "words": (word_project, tagged(9, seed=4, longest=60), 6),
    "relations": (relation_project, related(9, seed=4), 3),
    "answers": (answer_project, asked(9, seed=4, longest=60), 3),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("spans")


@pytest.fixture(scope="module")
def runs(place: Path) -> Iterator[Path]:
    """The folder of a finished run of each project."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LUTHIER_HOME", str(place / "home"))
        model = build_model(place / "model")
        for name, (write, _, epochs) in PROJECTS.items():
            arguments = ["run", str(write(place, model)), "--run-dir", str(place / name)]
            assert main([*arguments, "--set", f"train.epochs={epochs}"]) == 0
        yield place


def answers_of(predictor: Predictor, rows: Rows, batch_tokens: int) -> list[np.ndarray[Any, Any]]:
    features = predictor.features([predictor.cells(row, "here") for row in rows])
    return list(predictor.outputs(features, batch_tokens=batch_tokens)["logits"])


@pytest.mark.parametrize("name", PROJECTS)
def test_batches_of_one_and_padded_ones_answer_the_same(name: str, runs: Path) -> None:
    predictor = luthier.load(runs / name / "bundle")
    rows = PROJECTS[name][1]
    alone, padded = answers_of(predictor, rows, 1), answers_of(predictor, rows, 4096)
    assert max(float(np.abs(a - b).max()) for a, b in zip(alone, padded, strict=True)) < 1e-5
    backwards = answers_of(predictor, rows[::-1], 200)
    per_row = [len(predictor.features([predictor.cells(row, "here")])) for row in rows]
    ends = np.cumsum(per_row)
    order = [i for row in range(len(rows) - 1, -1, -1) for i in range(ends[row] - per_row[row], ends[row])]
    assert max(float(np.abs(backwards[i] - padded[j]).max()) for i, j in enumerate(order)) < 1e-5
    if name != "relations":
        assert sum(per_row) > len(rows)


@pytest.mark.parametrize("name", PROJECTS)
def test_a_file_and_http_get_the_same_answers(name: str, runs: Path) -> None:
    rows = [{key: value for key, value in row.items() if key not in _target(name)} for row in PROJECTS[name][1]]
    bundle, out = runs / name / "bundle", runs / f"{name}-out.jsonl"
    path = write_rows(runs / f"{name}-in.jsonl", rows)
    assert main(["predict", str(bundle), str(path), "-o", str(out)]) == 0
    written = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    with TestClient(create_app(luthier.load(bundle))) as client:
        served = client.post("/v1/predict", json={"inputs": rows}).json()["predictions"]
    key = {"relations": "label", "answers": "answer"}.get(name, "entities")
    assert [_rounded(one[key]) for one in served] == [_rounded(row[key]) for row in written]
    if name == "words":
        assert [one["tags"] for one in served] == [row["tags"] for row in written]
    csv = runs / f"{name}-out.csv"
    assert main(["predict", str(bundle), str(path), "-o", str(csv)]) == 0
    assert len(csv.read_text(encoding="utf-8").splitlines()) == len(rows) + 1


def _target(name: str) -> set[str]:
    return {"entities": {"spans"}, "words": {"tags"}, "relations": {"label"}, "answers": {"answers"}}[name]


def _rounded(value: Any) -> Any:
    if isinstance(value, list):
        return [{k: round(v, 6) if isinstance(v, float) else v for k, v in one.items()} for one in value]
    return value


@pytest.mark.parametrize("name", PROJECTS)
def test_verify_replays_through_plain_transformers(name: str, runs: Path) -> None:
    found = luthier.verify(runs / name / "bundle")
    assert found.goldens == 11
    assert found.plain_difference is not None
    assert found.plain_difference < 1e-5


@pytest.mark.parametrize("name", PROJECTS)
def test_report_and_card_name_baseline_and_headline(name: str, runs: Path) -> None:
    report = EvalReport.read(runs / name / "evaluation.json")
    page = (runs / name / "report.html").read_text(encoding="utf-8")
    (baseline,) = report.baselines
    shown = {"names": "Names looked up", "types": "Usual relation of the types", "overlap": "Word overlap"}
    assert shown[baseline.name] in page
    assert baseline.lead.interval is not None
    headline = report.metrics[report.headline]
    assert headline.interval is not None
    card = (runs / name / "bundle" / "README.md").read_text(encoding="utf-8")
    assert "F1" in card
    if name in {"entities", "words"}:
        assert headline.value is not None
        assert headline.value > 0.9  # each word is an entity or none by itself
        (block,) = [one for one in report.blocks if isinstance(one, PerClassBlock)]
        assert [row.label for row in block.rows] == ["BLAME", "PRAISE"]


def test_a_long_text_and_its_parts_have_the_same_entities(runs: Path) -> None:
    predictor = luthier.load(runs / "entities" / "bundle")
    parts = [row["text"] for row in spanned(12, seed=9, longest=20)]
    whole = predictor.predict([" ".join(parts)])[0].as_dict()["entities"]
    start, alone = 0, []
    for part, answer in zip(parts, predictor.predict(parts), strict=True):
        alone += [(start + e["start"], start + e["end"], e["label"]) for e in answer.as_dict()["entities"]]
        start += len(part) + 1
    assert len(alone) > 20
    found = {(e["start"], e["end"], e["label"]) for e in whole}
    assert len(found ^ set(alone)) <= 0.1 * len(alone)  # a tiny random model is not sure of every word


def test_words_get_tags_and_nothing_is_reported_as_cut(runs: Path) -> None:
    predictor = luthier.load(runs / "words" / "bundle")
    row = PROJECTS["words"][1][0]
    found = predictor.predict([{"words": row["words"]}])[0].as_dict()
    assert len(found["tags"]) == len(row["words"])
    assert {tag[0] for tag in found["tags"]} <= {"O", "S", "B", "I", "E"}
    assert found["entities"][0]["text"] in row["words"]
    check = json.loads((runs / "entities" / "check" / "check.json").read_text(encoding="utf-8"))
    assert all(split["cut_rows"] == 0 for split in check["splits"].values())
    assert any(q > 24 for q in check["splits"]["train"]["length_quantiles"].values())


def test_two_runs_are_compared(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("entities", "relations", "answers"):
        assert main(["compare", str(runs / name), str(runs / name), "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["before"] == found["after"]
        assert found["result"]["difference"] == 0
        assert found["headline"].endswith("_f1")


GOOD_ROW = with_spans(tagged(1, seed=8)[0])
ENTITY = {"start": 0, "end": 2, "label": "x"}


@pytest.mark.parametrize(
    ("name", "row", "place_and_reason"),
    [
        (
            "entities",
            {"text": "a film", "spans": [{"start": 2, "end": 60, "label": "X"}]},
            "offsets outside of the text",
        ),
        (
            "entities",
            {"text": "a film", "spans": [{"start": 0, "end": 4, "label": "X"}, {"start": 2, "end": 6, "label": "Y"}]},
            "overlapping spans: 0..4 (X) and 2..6 (Y)",
        ),
        ("words", {"words": ["a", "film"], "tags": ["O", "I-X"]}, 'broken BIO tags: "I-X" at word 2 after "O"'),
        ("words", {"words": ["a", "film"], "tags": ["B-Y", "I-X"]}, 'broken BIO tags: "I-X" at word 2 after "B-Y"'),
        ("words", {"words": ["a", "film"], "tags": ["O"]}, "as many tags as words; got 1 for 2 words"),
        ("answers", {"question": "the good word", "context": "a film", "answers": ["story"]}, "not in the context"),
        (
            "relations",
            {"text": "a film", "head": ENTITY, "tail": {"start": 3, "end": 44, "label": "x"}, "label": "none"},
            'column "tail" has offsets outside of the text: 3..44',
        ),
    ],
)
def test_wrong_rows_are_refused_by_check_with_place_and_fix(
    name: str, row: dict[str, Any], place_and_reason: str, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = runs / "bad"
    project = PROJECTS[name][0](bad, runs / "model")
    path = bad / f"{name}.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([*lines[:16], json.dumps(row), *lines[16:]]) + "\n", encoding="utf-8")
    capsys.readouterr()
    assert main(["check", str(project)]) == 2
    told = capsys.readouterr().err
    assert f"{name}.jsonl:17" in told
    assert place_and_reason in told
    assert "Mend these rows" in told


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("entities", "data.columns={text: text, spans: gone}", '"gone"'),
        ("entities", "task={token-classification: {stride: 99}}", "stride must be less than the 22 tokens"),
        ("entities", "task={token-classification: {scheme: iob}}", "scheme"),
        ("entities", "data.labels=[PRAISE, OTHER]", "must list the labels of the training entities (BLAME, PRAISE)"),
        ("entities", "train.class_weights=balanced", "train.class_weights must be none"),
        ("entities", "evaluate.baselines=[tfidf]", "must be of names; got tfidf"),
        ("entities", "model.pooling=mean", "model.pooling must be auto"),
        ("relations", "task={relation-extraction: {none: nothing}}", "none must be a label"),
        ("relations", "model.max_length=12", "cannot be kept whole"),
        ("answers", "train.label_smoothing=0.1", "train.label_smoothing must be 0"),
        ("answers", "task={question-answering: {stride: 26}}", "tokens for the context, and the stride is 26"),
    ],
)
def test_wrong_set_ups_are_refused(
    name: str, change: str, message: str, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(["check", str(runs / f"{name}.yaml"), "--set", change]) == 2
    assert message in capsys.readouterr().err


def test_a_wrong_row_over_http_is_named(runs: Path) -> None:
    with TestClient(create_app(luthier.load(runs / "relations" / "bundle"))) as client:
        row = {"text": "a film", "head": ENTITY, "tail": {"start": 3, "end": 44, "label": "x"}}
        good = {name: cell for name, cell in related(1)[0].items() if name != "label"}
        refused = client.post("/v1/predict", json={"inputs": [good, row]})
    assert refused.status_code == 422
    assert refused.json()["error"]["where"].startswith("inputs[1]")
    assert "outside of the text" in refused.json()["error"]["message"]


@pytest.mark.parametrize("name", PROJECTS)
def test_the_servers_page_shows_a_request_that_is_answered(runs: Path, name: str) -> None:
    with TestClient(create_app(luthier.load(runs / name / "bundle"))) as client:
        page = html.unescape(client.get("/docs").text)
        body = re.search(r"-d '(.*)' \"\$ADDRESS", page)
        assert body is not None
        sent = json.loads(body[1].replace("'\\''", "'"))
        answer = client.post("/v1/predict", json=sent)
        assert answer.status_code == 200, answer.text
        assert len(answer.json()["predictions"]) == 1


@pytest.mark.parametrize(("name", "windows"), [("entities", True), ("answers", True), ("relations", False)])
def test_the_card_says_what_happens_to_long_texts(runs: Path, name: str, windows: bool) -> None:
    card = (runs / name / "bundle" / "README.md").read_text(encoding="utf-8")
    assert ("they are read through windows of" in card) is windows
    assert ("it is cut off at the" in card) is not windows
