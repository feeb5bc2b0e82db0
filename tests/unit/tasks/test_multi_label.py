"""Label sets: cells, thresholds, loss, and the way from a project file to a service. Tiny random model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from tests.tiny_values import multi_label_project, texts
from torch.nn import functional as F

import luthier
from luthier.cli import main
from luthier.data.features import FeatureBlock, Field, in_memory
from luthier.errors import DataError, TrainingError
from luthier.objectives.multi_label import MultiLabelObjective, multi_hot
from luthier.serving.app import create_app
from luthier.tasks import CellError, MultiLabel
from luthier.tasks.base import Scored, Truth
from luthier.tasks.multi_label import MultiLabelSettings

TARGETS = {"labels": ["a", "b", "c"], "values": {"a": "a", "b": "b", "c": "c"}}


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        (["b", "a", "b"], '["a", "b"]'),
        ('["b", "a"]', '["a", "b"]'),
        (" [1, true] ", '["1", "true"]'),
        ("b | a", '["a", "b"]'),
        ("a, b", '["a, b"]'),
        ([], "[]"),
        ("[]", "[]"),
        (("x",), '["x"]'),
        ("中文|英文", '["中文", "英文"]'),
    ],
)
def test_a_label_set_may_be_written_in_several_ways(cell: Any, expected: str) -> None:
    task = MultiLabel()
    assert task.target_cell(cell) == expected
    assert task.target_cell(expected) == expected


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (None, r"is absent; a text without labels has \[\]"),
        ("", "is absent"),
        (3, "must be a list of labels or text; got int 3"),
        ("[1, ", "begins like JSON and is none"),
        ('{"a": 1}', "must be a JSON list of labels"),
        ("a||b", "holds an empty label"),
        ([None], "must be text, a whole number or a boolean"),
        ([["a"]], "must be text, a whole number or a boolean"),
    ],
)
def test_what_is_no_label_set_is_refused(cell: Any, message: str) -> None:
    with pytest.raises(CellError, match=message):
        MultiLabel().target_cell(cell)


def test_the_label_map_is_that_of_single_labels() -> None:
    task = MultiLabel(MultiLabelSettings(separator=","))
    counts = {task.target_cell("10,2"): 3, task.target_cell("2"): 1, "[]": 5}
    assert task.fit_targets(counts, None)["labels"] == ["2", "10"]
    assert task.plain_labels(task.fit_targets(counts, {10: "ten", 2: "two"})) == ["ten", "two"]
    with pytest.raises(DataError, match="at least two labels"):
        task.fit_targets({'["a"]': 3, "[]": 2}, None)
    assert task.target_number('["2"]', task.fit_targets(counts, None)) == 0
    assert task.target_number('["2", "3"]', task.fit_targets(counts, None)) is None


def scored(logits: list[list[float]], sets: list[list[int]]) -> Scored:
    block = FeatureBlock(
        group=np.arange(len(sets)),
        cost={"encoder_tokens": np.ones(len(sets), np.int64)},
        ragged={"classes": [np.asarray(one, np.int32) for one in sets]},
        scalar={},
    )
    features = in_memory([block], {"classes": Field(pad=-1)})
    return Scored({"logits": np.asarray(logits)}, features, np.arange(len(sets)), [{}] * len(sets))


def test_thresholds_come_from_validation_and_decide() -> None:
    task = MultiLabel()
    rows = scored([[2.0, -1.0, -3.0], [1.0, -2.0, -3.0], [0.5, -0.5, -3.0]], [[0], [], [1]])
    calibration = task.calibrate(rows, Truth(np.zeros(3, np.int64), ["", "", ""]), TARGETS)
    assert calibration.keys() == {"threshold.a", "threshold.b", "threshold.c"}
    plain, tuned = (task.decode(rows, TARGETS, found) for found in ({}, calibration))
    assert [one.labels for one in plain] == [["a"], ["a"], ["a"]]
    assert [one.labels for one in tuned] == [["a"], [], ["b"]]
    assert plain[0].scores["a"] == pytest.approx(1 / (1 + np.exp(-2)))
    assert tuned[2].as_columns()["labels"] == '["b"]'
    assert MultiLabel(MultiLabelSettings(thresholds="half")).calibrate(rows, Truth(np.zeros(3, int), []), TARGETS) == {}


class Given(torch.nn.Module):
    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, batch: Any) -> dict[str, torch.Tensor]:
        return {"logits": self.logits}


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_is_torchs(smoothing: float) -> None:
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(1))
    classes = torch.tensor([[0, 2], [-1, -1], [1, -1], [2, 1]])
    target = torch.tensor([[1.0, 0, 1], [0, 0, 0], [0, 1, 0], [0, 1, 1]])
    assert torch.equal(multi_hot(classes, 3), target)
    assert torch.equal(multi_hot(classes[:, :0], 3), torch.zeros(4, 3))
    loss, weight = MultiLabelObjective(label_smoothing=smoothing).step(Given(logits), {"classes": classes})["loss"]
    smooth = target * (1 - smoothing) + smoothing / 2
    assert float(loss / weight) == pytest.approx(float(F.binary_cross_entropy_with_logits(logits, smooth)), abs=1e-6)


def test_class_weights_are_refused() -> None:
    with pytest.raises(TrainingError, match=r"train\.class_weights must be none for multi-label"):
        MultiLabelObjective(class_weights=[1.0])


def test_from_a_project_file_to_a_service(
    tiny_model: Path, tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, run = multi_label_project(tmp_path, tiny_model, rows=320), tmp_path / "run"
    assert main(["run", str(path), "--run-dir", str(run), "--json", "--set", "train.epochs=8"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["headline"] == "label_macro_f1"
    assert result["test"]["label_macro_f1"] > result["baseline"]["frequent-set"]["label_macro_f1"]
    assert 0.5 < result["test"]["label_macro_f1"] <= 1
    config = json.loads((run / "bundle" / "model" / "config.json").read_text(encoding="utf-8"))
    assert config["problem_type"] == "multi_label_classification"
    assert list(config["id2label"].values()) == ["kind", "unkind"]
    manifest = json.loads((run / "bundle" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["entry_points"][0]["calibration"].keys() == {"threshold.kind", "threshold.unkind"}
    predictor = luthier.load(run / "bundle")
    asked = texts(12)
    answers = [one.as_dict() for one in predictor.predict(asked)]
    assert len({json.dumps(one["labels"]) for one in answers}) > 1
    with TestClient(create_app(predictor)) as client:
        body = {"inputs": [{"text": text} for text in asked]}
        assert client.post("/v1/predict", json=body).json()["predictions"] == answers
    table = tmp_path / "answers.jsonl"
    given = tmp_path / "given.jsonl"
    given.write_text("".join(json.dumps({"text": text}) + "\n" for text in asked), encoding="utf-8")
    assert main(["predict", str(run / "bundle"), str(given), "-o", str(table)]) == 0
    rows = [json.loads(line) for line in table.read_text(encoding="utf-8").splitlines()]
    assert [MultiLabel().target_cell(row["labels"]) for row in rows] == [json.dumps(one["labels"]) for one in answers]
    report = (run / "report.html").read_text(encoding="utf-8")
    assert "Most frequent label set" in report
    assert "Micro F1" in report
    capsys.readouterr()
    assert main(["compare", str(run), str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["result"]["difference"] == 0.0


def test_wrong_cells_are_found_before_training(
    tiny_model: Path, tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = multi_label_project(tmp_path, tiny_model)
    lines = (tmp_path / "sets.jsonl").read_text(encoding="utf-8").splitlines()
    lines[2] = json.dumps({"text": "a film", "labels": {"kind": 1}})
    (tmp_path / "sets.jsonl").write_text("\n".join(lines), encoding="utf-8")
    assert main(["check", str(path)]) == 2
    assert 'sets.jsonl:3: column "labels"' in capsys.readouterr().err
