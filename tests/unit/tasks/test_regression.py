"""Numbers: cells, standardisation, loss, levels, and the way from a project file to a service. Tiny random model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from tests.tiny_values import regression_project, texts
from tests.unit.tasks.test_multi_label import Given
from torch.nn import functional as F
from transformers import AutoModelForSequenceClassification

import luthier
from luthier.cli import main
from luthier.errors import DataError, TrainingError
from luthier.objectives.regression import RegressionObjective
from luthier.serving.app import create_app
from luthier.tasks import CellError, Regression
from luthier.tasks.base import Scored
from luthier.tasks.regression import RegressionSettings


@pytest.mark.parametrize(
    ("cell", "expected"), [(2, "2.0"), ("2", "2.0"), (" -3.5 ", "-3.5"), (0.1, "0.1"), (-0.0, "0.0"), ("1e3", "1000.0")]
)
def test_a_number_has_one_text(cell: Any, expected: str) -> None:
    assert Regression().target_cell(cell) == expected


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (None, "is absent"),
        ("", "is absent"),
        ("3,5", "must be a number; got '3,5'"),
        ([3], "must be a number"),
        (True, "must be a finite number; got True"),
        ("nan", "must be a finite number"),
        ("-inf", "must be a finite number"),
    ],
)
def test_what_is_no_number_is_refused(cell: Any, message: str) -> None:
    with pytest.raises(CellError, match=message):
        Regression().target_cell(cell)


def test_targets_are_mean_and_deviation_of_the_rows() -> None:
    found = Regression().fit_targets({"1.0": 3, "5.0": 1}, None)
    assert (found["mean"], found["std"]) == pytest.approx((2.0, np.std([1, 1, 1, 5])))
    with pytest.raises(DataError, match=r"must differ; got only 1\.0"):
        Regression().fit_targets({"1.0": 3}, None)
    with pytest.raises(DataError, match=r"data\.labels must be absent"):
        Regression().fit_targets({"1.0": 3, "2.0": 1}, ["1.0"])


def test_answers_are_in_the_unit_of_the_data() -> None:
    task = Regression(RegressionSettings(levels=(1.0, 3.0, 9.0)))
    targets = {"mean": 4.0, "std": 2.0, "levels": [1.0, 3.0, 9.0]}
    rows = Scored({"logits": np.array([[-1.0], [0.5], [1.01]])}, None, np.arange(3), [{}] * 3)  # type: ignore[arg-type]
    assert [one.as_dict() for one in task.decode(rows, targets, {})] == [
        {"value": 2.0, "level": 1.0},
        {"value": 5.0, "level": 3.0},
        {"value": pytest.approx(6.02), "level": 9.0},
    ]
    plain = Regression().decode(rows, {**targets, "levels": []}, {})
    assert plain[0].as_columns() == {"value": 2.0}
    assert task.answer_scale(targets) == 2.0


@pytest.mark.parametrize("levels", [[1.0], [2.0, 1.0], [1.0, 1.0]])
def test_levels_that_are_no_scale_are_refused(levels: list[float]) -> None:
    with pytest.raises(ValueError, match="levels must be at least two rising numbers"):
        RegressionSettings(levels=tuple(levels))


@pytest.mark.parametrize(("loss", "reference"), [("squared", F.mse_loss), ("huber", F.huber_loss)])
def test_the_loss_is_torchs(loss: str, reference: Any) -> None:
    logits = 3 * torch.randn(6, 1, generator=torch.Generator().manual_seed(1))
    value = torch.linspace(-1, 1, 6)
    delta = {"delta": 0.7} if loss == "huber" else {}
    total, weight = RegressionObjective(loss=loss, delta=0.7).step(Given(logits), {"value": value})["loss"]
    assert float(total / weight) == pytest.approx(float(reference(logits[:, 0], value, **delta)), abs=1e-6)


@pytest.mark.parametrize("setting", [{"class_weights": [1.0]}, {"label_smoothing": 0.1}])
def test_settings_of_classes_are_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(TrainingError, match="for regression"):
        RegressionObjective(**setting)


def test_from_a_project_file_to_a_service(
    tiny_model: Path, tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, run = regression_project(tmp_path, tiny_model, rows=320), tmp_path / "run"
    assert main(["run", str(path), "--run-dir", str(run), "--json", "--set", "train.epochs=8"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["headline"] == "r2"
    assert result["test"]["r2"] > 0.2 > abs(result["baseline"]["mean"]["r2"])
    assert result["test"]["weighted_kappa"] > 0
    predictor = luthier.load(run / "bundle")
    asked = texts(12)
    answers = [one.as_dict() for one in predictor.predict(asked)]
    assert all(answer["level"] in {1.0, 2.0, 3.0, 4.0, 5.0} for answer in answers)
    assert all(abs(answer["level"] - answer["value"]) <= 0.5 or not 1 <= answer["value"] <= 5 for answer in answers)
    with TestClient(create_app(predictor)) as client:
        body = {"inputs": [{"text": text} for text in asked]}
        assert client.post("/v1/predict", json=body).json()["predictions"] == answers
    plain = AutoModelForSequenceClassification.from_pretrained(run / "bundle" / "model").eval()
    assert plain.config.problem_type == "regression"
    assert plain.config.num_labels == 1
    ids = torch.tensor([predictor.encoder.encode([asked[0]])[0].ids.tolist()])
    with torch.no_grad():
        standardised = float(plain(ids).logits)
    targets = predictor.entry.targets
    assert standardised * targets["std"] + targets["mean"] == pytest.approx(answers[0]["value"], abs=1e-4)
    for page in ("report.html",):
        text = (run / page).read_text(encoding="utf-8")
        assert "Has the truth the mean that was predicted" in text
        assert "Largest errors" in text
        assert "Ridge regression on TF-IDF" in text
    capsys.readouterr()
    assert main(["compare", str(run), str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["result"]["difference"] == 0.0


def test_a_word_among_the_numbers_is_found_before_training(
    tiny_model: Path, tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = regression_project(tmp_path, tiny_model)
    with (tmp_path / "values.csv").open("a", encoding="utf-8") as stream:
        stream.write("a film,good\n")
    assert main(["check", str(path)]) == 2
    assert "values.csv:242: column \"value\" must be a number; got 'good'" in capsys.readouterr().err
