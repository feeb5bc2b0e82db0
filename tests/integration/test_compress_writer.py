"""Packed weights of a tiny random decoder, searched, chosen, written and opened through the real command line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.tiny import build_decoder, chat_project

import luthier
from luthier.artifacts.bundle import open_bundle
from luthier.artifacts.compression import CompressionReport
from luthier.cli import main
from luthier.compression.search.searching import MOST_FORMS
from luthier.compression.search.weight_only import WEIGHT_FORMS
from luthier.errors import ArtifactError
from luthier.models.packed import PackedEmbedding, PackedLinear
from luthier.models.packed_folder import PACKED


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    place = tmp_path_factory.mktemp("writer")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LUTHIER_HOME", str(place / "home"))
        project = chat_project(place / "chat", build_decoder(place / "decoder"), rows=60)
        luthier.run(project, run_dir=place / "run", overrides=["train.epochs=1", "evaluate.answers=2"])
        yield place / "run"


@pytest.fixture
def run(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LUTHIER_HOME", str(trained.parent / "home"))
    return Path(shutil.copytree(trained, tmp_path / "run"))


def test_the_smallest_point_becomes_a_bundle_of_packed_weights(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compress", str(run), "--max-drop", "100", "--prefer", "size", "--json"]) == 0
    report = CompressionReport.model_validate_json(capsys.readouterr().out)
    assert report.headline == "token_loss"
    shallow = [point.name for point in report.points if point.name.startswith("1 layers, ")]
    assert 1 <= len(shallow) <= MOST_FORMS
    assert {point.name for point in report.points} | set(report.left_out) == {"as it is", *WEIGHT_FORMS, *shallow}
    chosen = next(point for point in report.points if point.name == report.chosen)
    assert chosen.bytes == min(point.bytes for point in report.points[1:])
    assert all(point.loss.flips is not None for point in report.points)
    assert report.points[0].loss.flips == 0
    lines = (run / "ledger.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["stage"] for line in lines] == ["evaluate", "compress"]

    assert chosen.name in shallow, "with fewer layers it is smallest"
    config = json.loads((run / "compressed" / "model" / "config.json").read_text("utf-8"))
    assert config["num_hidden_layers"] == 1
    runtime = open_bundle(run / "compressed").runtimes[0]
    assert (runtime.name, runtime.precision, runtime.file) == ("torch", chosen.precision, f"model/{PACKED}")
    assert not (run / "compressed" / "model" / "model.safetensors").exists()
    assert luthier.verify(run / "compressed").plain_difference is None
    predictor = luthier.load(run / "compressed")
    modules = list(predictor.scorer.model.modules())  # type: ignore[attr-defined]  # the scorer is torch's
    assert any(isinstance(one, PackedLinear) for one in modules)
    assert any(isinstance(one, PackedEmbedding) for one in modules)
    assert len(predictor.predict(["hello", "what is this?"])) == 2
    assert main(["export", str(run / "compressed"), "--to", "onnx", "-o", str(run / "onnx")]) == 2


def test_a_damaged_file_is_refused(run: Path) -> None:
    assert main(["compress", str(run), "--max-drop", "100", "--prefer", "size", "--moves", "forms"]) == 0
    path = run / "compressed" / "model" / PACKED
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match="packed"):
        luthier.verify(run / "compressed")


def test_what_cannot_be_kept_ends_with_3(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compress", str(run), "--max-drop", "100", "--mib", "0.0001", "--moves", "forms"]) == 3
    assert "no point keeps the contract" in capsys.readouterr().err
    assert not (run / "compressed").exists()
