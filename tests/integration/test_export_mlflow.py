"""A bundle as a model of MLflow's: it answers through `mlflow.pyfunc` as before, and holds no pickle."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.tiny import build_decoder, chat_project, sentences
from tests.tiny_pairs import embedding_project
from tests.tiny_spans import answer_project, entity_project

import luthier
from luthier.artifacts.files import read_json, write_json_atomic
from luthier.cli import main
from luthier.compression.export.container import closure
from luthier.compression.export.exporting import export
from luthier.errors import ArtifactError

mlflow = pytest.importorskip("mlflow")
pd = pytest.importorskip("pandas")

pytestmark = pytest.mark.filterwarnings("ignore:.*AnyType:UserWarning")  # of MLflow's own types, when it is imported
TEXTS = [text for text, _ in sentences(12, seed=8)]
ELSEWHERE = """
import json, sys
import mlflow.pyfunc, pandas
sys.path[:] = [one for one in sys.path if "luthier" not in one or "site-packages" in one]
model = mlflow.pyfunc.load_model(sys.argv[1])
table = model.predict(pandas.DataFrame({"text": json.loads(sys.argv[2])}))
import luthier
print(json.dumps([luthier.__file__, table["label"].tolist()]))
"""


@pytest.fixture(autouse=True)
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow reports nothing, and writes nothing where the tests were started."""
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.fixture(scope="module")
def exported(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = export(source, "mlflow", tmp_path_factory.mktemp("exported") / "model")
    assert found.goldens > 7
    assert found.golden_difference < 1e-6
    return found.folder


def test_it_answers_as_the_bundle_it_came_from(source: Path, exported: Path, tmp_path: Path) -> None:
    model = mlflow.pyfunc.load_model(str(exported))
    table = pd.DataFrame({"text": TEXTS, "other": 1}, index=range(5, 5 + len(TEXTS)))
    found = model.predict(table)
    expected = [one.as_dict() for one in luthier.load(source).predict(TEXTS)]
    assert found.index.tolist() == table.index.tolist()
    assert found["label"].tolist() == [one["label"] for one in expected]
    assert found["probability"].tolist() == pytest.approx([one["probability"] for one in expected], abs=1e-6)
    assert list(found["scores"][5]) == list(expected[0]["scores"])
    assert list((tmp_path / "here").iterdir()) == []


def test_what_it_holds(source: Path, exported: Path) -> None:
    files = {str(one.relative_to(exported)) for one in exported.rglob("*") if one.is_file()}
    assert not [one for one in files if one.endswith((".pkl", ".pickle", ".pyc"))]
    assert {"MLmodel", "requirements.txt", "code/luthier/__init__.py", "data/bundle/manifest.json"} <= files
    model = mlflow.models.Model.load(str(exported / "MLmodel"))
    flavor = model.flavors["python_function"]
    assert (flavor["loader_module"], flavor["data"]) == ("luthier.inference.mlflow_model", "data/bundle")
    assert [(one.name, str(one.type), one.required) for one in model.signature.inputs] == [
        ("text", "DataType.string", True)
    ]
    pins = (exported / "requirements.txt").read_text(encoding="utf-8").split()
    assert all("==" in pin for pin in pins)
    assert {pin.partition("==")[0] for pin in pins} >= {
        "mlflow-skinny",
        "pandas",
        "tokenizers",
        "torch",
        "transformers",
    }
    assert "cloudpickle" not in "".join(files)


def test_a_process_without_luthier_opens_it(source: Path, exported: Path, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-P", "-c", ELSEWHERE, str(exported), json.dumps(TEXTS)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    where, labels = json.loads(done.stdout.splitlines()[-1])
    assert Path(where) == exported / "code" / "luthier" / "__init__.py"
    assert labels == [one.as_dict()["label"] for one in luthier.load(source).predict(TEXTS)]


@pytest.mark.parametrize("build", [entity_project, answer_project, embedding_project])
def test_other_tasks(build: Callable[[Path, Path], Path], tiny_model: Path, tmp_path: Path, home: Path) -> None:
    bundle = luthier.run(build(tmp_path, tiny_model), run_dir=tmp_path / "run", overrides=["train.epochs=1"]).bundle
    found = export(bundle, "mlflow", tmp_path / "model")
    assert found.goldens > 0
    assert found.golden_difference < 1e-5


def test_a_model_that_writes_text_and_one_for_another_runtime(
    source: Path, tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = chat_project(tmp_path, build_decoder(tmp_path / "decoder"))
    bundle = luthier.run(path, run_dir=tmp_path / "run", overrides=["train.epochs=1"]).bundle
    assert main(["export", str(bundle), "--to", "mlflow", "-o", str(tmp_path / "chat")]) == 0
    assert "golden examples answered as when they were evaluated" in capsys.readouterr().out
    asked = pd.DataFrame({"question": ["the end good?", json.dumps([{"role": "user", "content": "a plot dull?"}])]})
    answers = mlflow.pyfunc.load_model(str(tmp_path / "chat")).predict(asked)
    own = luthier.load(bundle).predict(asked.to_dict("records"))
    assert answers["completion"].tolist() == [one.as_dict()["completion"] for one in own]
    pytest.importorskip("onnxruntime")
    graph = export(source, "onnx", tmp_path / "onnx").folder
    model = export(graph, "mlflow", tmp_path / "of-graph").folder
    assert "torch" not in (model / "requirements.txt").read_text(encoding="utf-8")
    assert len(mlflow.pyfunc.load_model(str(model)).predict(pd.DataFrame({"text": TEXTS}))) == len(TEXTS)


# --- what is refused --------------------------------------------------------------------------------------------------


def test_a_model_that_answers_otherwise_leaves_nothing(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from luthier.inference import mlflow_model

    whole = mlflow_model.TableModel.predict
    monkeypatch.setattr(
        mlflow_model.TableModel, "predict", lambda self, table, params=None: whole(self, table).iloc[::-1]
    )
    with pytest.raises(ArtifactError, match="golden example 0"):
        export(source, "mlflow", tmp_path / "model")
    assert [one.name for one in tmp_path.iterdir()] == ["here"]


def test_a_changed_bundle_is_refused_when_mlflow_opens_it(exported: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(exported, folder)
    goldens = folder / "data" / "bundle" / "goldens.json"
    write_json_atomic(goldens, {**read_json(goldens), "more": 1})
    with pytest.raises(ArtifactError, match="is damaged"):
        mlflow.pyfunc.load_model(str(folder))


def test_a_missing_package_is_named(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for package in ("mlflow", "pandas"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, package, None)
            assert main(["export", str(source), "--to", "mlflow", "-o", str(tmp_path / "model")]) == 2
        assert f'{package} is not installed. Install it: pip install "luthier[mlflow]".' in capsys.readouterr().err
    assert closure(["mlflow-skinny"])
    assert [one.name for one in tmp_path.iterdir()] == ["here"]


def test_the_environment_is_as_before(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY")
    monkeypatch.setenv("MLFLOW_LOCK_MODEL_DEPENDENCIES", "true")
    before, path = dict(os.environ), list(sys.path)
    export(source, "mlflow", tmp_path / "model")
    assert (dict(os.environ), sys.path) == (before, path)
