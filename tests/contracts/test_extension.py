"""A new task, method and metric come from this file alone: no edit elsewhere."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import annotated_types
import numpy as np
import pytest
from tests.tiny import project

import luthier
from luthier.cli import main
from luthier.metrics.registry import METRICS, Metric
from luthier.metrics.scores import Scores
from luthier.models.tuning.base import Method
from luthier.models.tuning.table import METHODS
from luthier.tasks import TASKS, TextClassification


@dataclass(frozen=True)
class PrefixSettings:
    """Settings of the new task."""

    words: Annotated[int, annotated_types.Ge(1)] = 3


class FirstWords(TextClassification):
    """Classifies a text by its first few words."""

    name: ClassVar[str] = "first-words"
    settings: ClassVar[type] = PrefixSettings

    def __init__(self, settings: PrefixSettings | None = None) -> None:
        super().__init__()
        self.words = (settings or PrefixSettings()).words

    def encode(self, columns: Mapping[str, Sequence[Any]], *rest: Any) -> Any:
        cut = [" ".join(text.split()[: self.words]) for text in columns["text"]]
        return super().encode({"text": cut}, *rest)


@dataclass(frozen=True)
class FreezeSettings:
    """Settings of the new method."""

    embeddings: bool = True


class HeadAndLastLayer(Method):
    """Moves the head and the last layer; counts its steps as state."""

    settings: ClassVar[type] = FreezeSettings
    steps = 0

    def __init__(self, settings: FreezeSettings | None = None) -> None:
        super().__init__(settings)
        self.state_steps = 0

    def set_up(self, model: Any, total_steps: int) -> None:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.startswith("heads.") or "layer.1." in name)

    def after_step(self, model: Any, step: int) -> None:
        self.state_steps += 1
        HeadAndLastLayer.steps += 1

    def state(self) -> dict[str, Any]:
        return {"steps": self.state_steps}

    def load_state(self, state: Mapping[str, Any], tensors: Mapping[str, Any]) -> None:
        self.state_steps = state["steps"]


def share_of_last_class(scores: Scores) -> float:
    return float(np.mean(scores.predicted == scores.classes - 1))


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TASKS, "first-words", FirstWords)
    monkeypatch.setitem(METHODS, "head-and-last-layer", HeadAndLastLayer)
    metric = Metric("last_share", share_of_last_class, True, "Share of last class", "末类占比")
    monkeypatch.setitem(METRICS, "last_share", metric)


def test_they_run_from_a_project_file_to_a_bundle(
    registered: None, tiny_model: Path, tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = project(tmp_path, tiny_model)
    text = path.read_text(encoding="utf-8").replace("text-classification", "{first-words: {words: 4}}")
    path.write_text(text + "method: {head-and-last-layer: {embeddings: false}}\n", encoding="utf-8")
    run = tmp_path / "run"
    arguments = ["run", str(path), "--run-dir", str(run), "--set", "train.select_by=last_share", "--json"]
    assert main(arguments) == 0
    result = json.loads(capsys.readouterr().out)
    assert 0 <= result["test"]["last_share"] <= 1
    assert "last_share_interval" in result["test"]
    assert HeadAndLastLayer.steps > 10
    assert "Share of last class" in (run / "report.html").read_text(encoding="utf-8")
    predictor = luthier.load(run / "bundle")
    a, b = predictor.predict(["the film is good and bad", "the film is good or dreadful"])
    assert a.as_dict() == b.as_dict()

    from safetensors.torch import load_file

    before = load_file(tiny_model / "model.safetensors")
    after = load_file(run / "bundle" / "model" / "model.safetensors")
    moved = {name for name in before if f"bert.{name}" in after and not before[name].equal(after[f"bert.{name}"])}
    assert moved
    assert all("layer.1." in name or "pooler" in name for name in moved)


def test_their_settings_are_checked_like_ours(
    registered: None, tiny_model: Path, tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = project(tmp_path, tiny_model)
    assert main(["run", str(path), "--set", "task={first-words: {words: 0}}"]) == 2
    assert "task.first-words.words: must be at least 1; got 0." in capsys.readouterr().err
    assert main(["run", str(path), "--set", "method={head-and-last-layer: {embedings: true}}"]) == 2
    assert 'Did you mean "embeddings"?' in capsys.readouterr().err
