"""A bundle exported to ONNX and OpenVINO: it answers as before, without torch, and a changed one is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from tests.tiny import build_decoder, chat_project, project, sentences, write_csv
from tests.tiny_pairs import embedding_project
from tests.tiny_spans import answer_project, entity_project

import luthier
from luthier.artifacts.bundle import Runtime, open_bundle
from luthier.artifacts.files import read_json, sha256_file, write_json_atomic
from luthier.artifacts.manifest import seal
from luthier.cli import main
from luthier.compression.export.exporting import export
from luthier.errors import ArtifactError
from luthier.serving.app import create_app

TEXTS = [text for text, _ in sentences(12, seed=8)]
FORMATS = {"onnx": "onnxruntime", "openvino": "openvino"}
WITHOUT_TORCH = """
import importlib.abc, sys
class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.split(".")[0] in {"torch", "transformers"}:
            raise ImportError(f"{name} is not to be loaded")
sys.meta_path.insert(0, Refuse())
from luthier.cli import main
code = main(sys.argv[1:])
assert not {"torch", "transformers"} & set(sys.modules)
sys.exit(code)
"""


@pytest.fixture(scope="module")
def exported(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("exported")
    found = {to: export(source, to, folder / to) for to in FORMATS}
    assert all(one.goldens > 7 and one.shapes == 9 and one.bytes > 10_000 for one in found.values())
    assert all(one.torch_difference < 1e-5 for one in found.values())
    return {to: one.folder for to, one in found.items()}


def test_a_program_of_torch_export_is_written_with_what_its_user_needs(source, tmp_path, capsys):
    assert main(["export", str(source), "--to", "pt2", "-o", str(tmp_path / "told")]) == 0
    assert "over 9 shapes" in (told := capsys.readouterr().out)
    assert "None" not in told
    found = export(source, "pt2", tmp_path / "program")
    assert found.goldens > 7
    assert found.shapes == 9
    assert found.torch_difference < 1e-5
    assert found.golden_difference < 1e-3
    names = read_json(found.folder / "names.json")
    assert set(names["inputs"]) >= {"input_ids", "attention_mask"}
    assert names["outputs"]
    assert (found.folder / "model.pt2").stat().st_size > 10_000
    assert (found.folder / "model" / "tokenizer.json").exists()
    assert not list(found.folder.rglob("*.safetensors"))


def test_a_program_that_answers_otherwise_is_not_written(source, tmp_path, monkeypatch):
    from luthier.compression.export import program

    whole = program.ProgramScorer.score
    monkeypatch.setattr(
        program.ProgramScorer, "score", lambda self, batch: {n: v + 0.01 for n, v in whole(self, batch).items()}
    )
    with pytest.raises(ArtifactError, match="differ"):
        export(source, "pt2", tmp_path / "program")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("to", FORMATS)
def test_it_answers_as_the_bundle_it_came_from(to: str, source: Path, exported: dict[str, Path]) -> None:
    manifest = open_bundle(exported[to])
    assert [one.name for one in manifest.runtimes] == [FORMATS[to]]
    assert manifest.runtimes[0].precision == "fp32"
    assert manifest.parent == sha256_file(source / "manifest.json")
    assert not list(exported[to].rglob("*.safetensors"))
    assert FORMATS[to] in (exported[to] / "README.md").read_text(encoding="utf-8").partition("## Export")[2]
    for name in ("goldens.json", "evaluation.json", "profile.json"):
        assert (exported[to] / name).read_bytes() == (source / name).read_bytes()
    before, after = luthier.load(source).predict(TEXTS), luthier.load(exported[to]).predict(TEXTS)
    assert len({one.as_dict()["probability"] for one in before}) > 1
    assert [one.as_dict()["label"] for one in after] == [one.as_dict()["label"] for one in before]
    numbers = [[one.as_dict()["probability"] for one in answers] for answers in (before, after)]
    assert numbers[1] == pytest.approx(numbers[0], abs=1e-5)


@pytest.mark.parametrize("to", FORMATS)
def test_a_process_that_predicts_never_loads_torch(to: str, exported: dict[str, Path], tmp_path: Path) -> None:
    table = write_csv(tmp_path / "in.csv", [(text, "") for text in TEXTS])
    arguments = ["predict", str(exported[to]), str(table), "--runtime", FORMATS[to]]
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"{len(TEXTS)} of {len(TEXTS)} rows answered" in done.stderr


@pytest.mark.parametrize("to", FORMATS)
def test_a_server_answers_as_the_bundle_it_came_from(to: str, source: Path, exported: dict[str, Path]) -> None:
    expected = [one.as_dict() for one in luthier.load(source).predict(TEXTS)]
    with TestClient(create_app(luthier.load(exported[to]))) as client:
        found = client.post("/v1/predict", json={"inputs": TEXTS}).json()["predictions"]
    assert [one["label"] for one in found] == [one["label"] for one in expected]
    assert [one["probability"] for one in found] == pytest.approx([one["probability"] for one in expected], abs=1e-5)


def test_verify_tells_that_there_are_no_weights(exported: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(exported["onnx"])]) == 0
    assert "not replayed through plain Transformers: model/ holds no plain weights" in capsys.readouterr().out


@pytest.mark.parametrize("build", [entity_project, answer_project, embedding_project])
def test_other_tasks(build: Callable[[Path, Path], Path], tiny_model: Path, tmp_path: Path, home: Path) -> None:
    bundle = luthier.run(build(tmp_path, tiny_model), run_dir=tmp_path / "run", overrides=["train.epochs=1"]).bundle
    for to in FORMATS:
        found = export(bundle, to, tmp_path / to)
        assert luthier.verify(found.folder).goldens == found.goldens > 0


def test_a_plain_folder_answers_in_transformers(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from transformers import pipeline

    folder = tmp_path / "plain"
    assert main(["export", str(source), "--to", "transformers", "-o", str(folder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["folder"], found["format"]) == (str(folder), "transformers")
    assert found["golden_difference"] < 1e-5
    assert not (folder / "manifest.json").exists()
    answers = pipeline("text-classification", model=str(folder), device="cpu")(TEXTS)
    ours = [one.as_dict()["label"] for one in luthier.load(source).predict(TEXTS)]
    assert [one["label"] for one in answers] == ours


def test_a_model_that_writes_text_is_exported_to_transformers_alone(tmp_path: Path, home: Path) -> None:
    path = chat_project(tmp_path, build_decoder(tmp_path / "model"))
    bundle = luthier.run(path, run_dir=tmp_path / "run", overrides=["train.epochs=1"]).bundle
    with pytest.raises(ArtifactError, match=r"text-generation writes text.*or export it to transformers"):
        export(bundle, "onnx", tmp_path / "onnx")
    assert export(bundle, "transformers", tmp_path / "plain").golden_difference < 1e-4
    assert sorted(one.name for one in tmp_path.iterdir() if "onnx" in one.name) == []


# --- what is refused --------------------------------------------------------------------------------------------------


def _reseal(folder: Path) -> None:
    """Give a changed bundle a manifest that fits its files, as one who means to deceive would."""
    manifest = read_json(folder / "manifest.json")
    seal(folder, {key: value for key, value in manifest.items() if key not in {"files", "self"}})


def _labels_swapped(folder: Path, other: Path) -> None:
    path = folder / "manifest.json"
    text = path.read_text(encoding="utf-8").replace('"negative"', '"?"').replace('"positive"', '"negative"')
    path.write_text(text.replace('"?"', '"positive"'), encoding="utf-8")


def _tokenizer_changed(folder: Path, other: Path) -> None:
    path = folder / "model" / "tokenizer.json"
    value = read_json(path)
    vocabulary = value["model"]["vocab"]
    vocabulary["good"], vocabulary["the"] = vocabulary["the"], vocabulary["good"]
    write_json_atomic(path, value)


def _graph_of_another_run(folder: Path, other: Path) -> None:
    shutil.rmtree(folder / "runtimes")
    shutil.copytree(other / "runtimes", folder / "runtimes")


@pytest.fixture(scope="module")
def other(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same task learnt in another order, exported."""
    folder = tmp_path_factory.mktemp("other")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LUTHIER_HOME", str(folder / "home"))
        options = ["train.epochs=1", "train.learning_rate=0.02", "seed=99"]
        bundle = luthier.run(project(folder, tiny_model), run_dir=folder / "run", overrides=options).bundle
    return {to: export(bundle, to, folder / to).folder for to in FORMATS}


@pytest.mark.parametrize("to", FORMATS)
@pytest.mark.parametrize("change", [_labels_swapped, _tokenizer_changed, _graph_of_another_run])
def test_a_changed_bundle_is_refused(
    change: Callable[[Path, Path], None], to: str, exported: dict[str, Path], other: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(exported[to], folder)
    change(folder, other[to])
    with pytest.raises(ArtifactError, match="is damaged"):
        luthier.load(folder)
    _reseal(folder)
    table = write_csv(tmp_path / "in.csv", [(text, "") for text in TEXTS])
    with pytest.raises(ArtifactError, match="golden example"):
        luthier.verify(folder)
    assert main(["predict", str(folder), str(table)]) == 2
    assert main(["serve", str(folder), "--port", "0"]) == 2


def test_what_cannot_be_exported_is_refused_by_name(
    source: Path, exported: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    for bundle, to, message in (
        (
            source,
            "tflite",
            "format must be one of onnx, openvino, transformers, pt2, executorch, gguf, mlflow, container; got tflite.",
        ),
        (exported["onnx"], "openvino", "has no weights in fp32: it was exported or compressed itself."),
    ):
        assert main(["export", str(bundle), "--to", to, "-o", str(out)]) == 2
        assert message in capsys.readouterr().err
    assert main(["export", str(source), "--to", "onnx", "-o", str(exported["onnx"])]) == 2
    assert "exists already." in capsys.readouterr().err
    table = write_csv(tmp_path / "in.csv", [(text, "") for text in TEXTS])
    assert main(["predict", str(source), str(table), "--runtime", "openvino"]) == 2
    assert "runtime must be one of torch; got openvino." in capsys.readouterr().err
    assert not out.exists()


def test_a_graph_that_answers_otherwise_leaves_nothing(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("luthier.compression.export.exporting.largest_difference", lambda *given: 1e-3)
    with pytest.raises(ArtifactError, match=r"differ from torch by 0\.001 \(allowed 0\.0001\)"):
        export(source, "onnx", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named(
    exported: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for to, package in FORMATS.items():
        monkeypatch.setitem(sys.modules, package, None)
        assert main(["verify", str(exported[to])]) == 2
        assert f'{package} is not installed. Install it: pip install "luthier[{to}]".' in capsys.readouterr().err


def test_a_manifest_of_before_is_still_read(source: Path) -> None:
    old = json.loads((source / "manifest.json").read_text(encoding="utf-8"))["runtimes"][0]
    for key in ("file", "inputs", "outputs"):
        old.pop(key, None)
    assert Runtime.model_validate(old).file is None
