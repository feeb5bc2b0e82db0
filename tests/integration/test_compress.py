"""The search for a smaller model on a tiny run: its choice, exit code 3, going on after a stop, and silence."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.tiny import build_model, project, sentences
from tests.tiny_pairs import embedding_project, reranking_project
from tests.tiny_spans import entity_project

import luthier
from luthier.artifacts.bundle import open_bundle
from luthier.artifacts.compression import CompressionReport
from luthier.artifacts.evaluation import EvalReport
from luthier.artifacts.files import sha256_file
from luthier.cli import main
from luthier.compression.export.traceable import Batch
from luthier.compression.search import forms
from luthier.compression.search.contract import Point, front
from luthier.compression.search.forms import Form
from luthier.compression.search.shapes import Shape
from luthier.errors import StoppedError
from luthier.pipeline.compressing import compress

TEXTS = [text for text, _ in sentences(12, seed=8)]
GUARDED = """
import socket, sys
attempts = []
def refuse(address):
    host = address[0] if isinstance(address, tuple) else address
    if isinstance(address, tuple) and host not in {"127.0.0.1", "::1", "localhost"}:
        attempts.append(host)
        raise OSError(f"connection to {host}")
connect, look_up = socket.socket.connect, socket.getaddrinfo
def guarded(self, address):
    refuse(address)
    return connect(self, address)
def looked_up(host, *rest, **options):
    refuse((host,))
    return look_up(host, *rest, **options)
socket.socket.connect, socket.getaddrinfo = guarded, looked_up
from luthier.cli import main
code = main(sys.argv[1:])
assert "nncf" in sys.modules and "openvino" in sys.modules and "onnxruntime" in sys.modules
assert not attempts, attempts
sys.exit(code)
"""


@pytest.fixture(scope="module")
def trained(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that every test takes a copy of."""
    folder = tmp_path_factory.mktemp("compress")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LUTHIER_HOME", str(folder / "home"))
        options = ["train.epochs=10", "bundle.golden_examples=4"]
        done = luthier.run(project(folder, tiny_model, rows=400), run_dir=folder / "run", overrides=options)
        assert done.evaluation().metrics["accuracy"].value > 0.9
    return folder / "run"


@pytest.fixture
def run(trained: Path, tmp_path: Path, home: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


def lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "compress" / "points.jsonl").read_text("utf-8").splitlines()]


def test_the_chosen_point_becomes_a_bundle_that_answers(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compress", str(run / "bundle"), "--max-drop", "100", "--epochs", "1", "--json"]) == 0
    report = CompressionReport.model_validate_json(capsys.readouterr().out)
    assert report == CompressionReport.read(run / "compress" / "compression.json")
    names = [point.name for point in report.points]
    assert names[0] == "as it is"
    assert {"onnxruntime int8", "openvino int8"} <= set(names)
    assert ("openvino int8 in part" in names) != ("openvino int8 in part" in report.left_out)
    plain = [Point.of(line["point"]) for line in lines(run) if line["name"] in forms.FORMS and "point" in line]
    for shape in ("3/4 as wide", "1 layers", "1/2 as wide", "1 layers, 3/4 as wide"):
        tried = [name for name in names if name.rpartition(", ")[0] == shape]
        assert len(tried) == min(3, len(front(plain))), shape
    assert report.kept
    chosen = next(point for point in report.points if point.name == report.chosen)
    assert chosen.ratio == max(point.ratio for point in report.points[1:])
    assert report.test is not None
    assert report.test.rows == EvalReport.read(run / "evaluation.json").rows

    manifest = open_bundle(run / "compressed")
    assert (manifest.runtimes[0].name, manifest.runtimes[0].precision) == (chosen.runtime, chosen.precision)
    assert manifest.parent == sha256_file(run / "bundle" / "manifest.json")
    assert luthier.verify(run / "compressed").goldens > 4
    judged = EvalReport.read(run / "compressed" / "evaluation.json")
    lost = EvalReport.read(run / "evaluation.json").metrics["accuracy"].value - judged.metrics["accuracy"].value
    assert report.test.drop == pytest.approx(100 * lost)
    assert len(luthier.load(run / "compressed").predict(TEXTS)) == len(TEXTS)
    assert report.chosen in (run / "compressed" / "README.md").read_text(encoding="utf-8")

    ledger = [json.loads(line) for line in (run / "ledger.jsonl").read_text("utf-8").splitlines()]
    assert [line["stage"] for line in ledger] == ["evaluate", "compress"]
    page = (run / "report.html").read_text(encoding="utf-8")
    assert 'data-chart="front"' in page
    assert all(name in page for name in names)
    assert "have been read" not in page  # one evaluation, one compressed point: nobody chose by the test rows


def test_what_cannot_be_kept_ends_with_3_and_the_nearest_miss(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["compress", str(run), "--moves", "forms", "--max-drop", "100"]
    assert main([*asked, "--rows-per-second", "1e9"]) == 3
    said = capsys.readouterr().err
    assert re.search(r"no point keeps the contract; the nearest of \d is .*: rows_per_second .*asked for 1e\+09", said)
    assert not (run / "compressed").exists()
    assert len((run / "ledger.jsonl").read_text("utf-8").splitlines()) == 1  # the test rows were not read again
    before = lines(run)
    assert main(asked) == 0  # another contract over the same points
    assert lines(run) == before
    assert (run / "compressed").exists()
    assert main([*asked, "--mib", "0.001"]) == 3  # what kept the last contract is not left for this one
    assert not (run / "compressed").exists()


def test_tokens_that_no_row_has_can_go(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build_model(tmp_path / "model", unused=["".join(one) for one in product("tale", repeat=3)])
    monkeypatch.setattr("luthier.compression.search.searching.shapes", lambda *_, **__: [])
    monkeypatch.setattr("luthier.compression.search.searching.FORMS", {"openvino fp32": forms.FORMS["openvino fp32"]})
    done = luthier.run(project(tmp_path, model, rows=200), run_dir=tmp_path / "run", overrides=["train.epochs=4"])
    report = compress(done.run_dir, changes={"max_drop": 0.0, "prefer": "size"})
    whole, small = report.points[1:]
    assert "seen letters" in report.left_out  # their letters are in the rows
    assert small.name == report.chosen == "seen tokens, openvino fp32"
    assert small.bytes < whole.bytes
    assert small.loss.flips == 0.0
    assert small.loss.divergence < 1e-6
    bundle = luthier.load(done.run_dir / "compressed")
    assert len(bundle.predict([*TEXTS, "aeal is a word of its letters now"])) == len(TEXTS) + 1


@pytest.mark.parametrize("make", [embedding_project, reranking_project, entity_project])
def test_every_kind_of_task_is_judged_with_fewer_tokens_and_layers(
    make: Callable[[Path, Path], Path], tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build_model(tmp_path / "model", unused=["".join(one) for one in product("tale", repeat=3)])
    monkeypatch.setattr("luthier.compression.search.searching.shapes", lambda *_, **__: [Shape(1, 2)])
    monkeypatch.setattr("luthier.compression.search.searching.FORMS", {"openvino fp32": forms.FORMS["openvino fp32"]})
    done = luthier.run(make(tmp_path / "project", model), run_dir=tmp_path / "run", overrides=["train.epochs=1"])
    report = compress(done.run_dir, changes={"max_drop": 100.0, "epochs": 1})
    names = {point.name: point for point in report.points}
    assert {"seen tokens, openvino fp32", "1 layers, openvino fp32"} <= set(names), report.left_out
    assert names["seen tokens, openvino fp32"].loss.drop == pytest.approx(0.0, abs=1e-6)
    assert names["seen tokens, openvino fp32"].loss.divergence < 1e-5


def test_a_search_that_was_stopped_goes_on_and_repeats_nothing(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = {"max_drop": 100.0, "epochs": 1, "relations": 1.0}
    monkeypatch.setattr("luthier.compression.search.searching.shapes", lambda *_, **__: [Shape(1, 2)])

    def after(number: int) -> Any:
        asked: list[int] = []
        return lambda: asked.append(1) is None and len(asked) > number

    with pytest.raises(StoppedError):
        compress(run, changes=changes, stop=after(3))
    first = lines(run)
    assert sum("point" in line for line in first) == 3  # beside forms that this processor leaves out
    with (run / "compress" / "points.jsonl").open("a", encoding="utf-8") as stream:
        stream.write('{"name": "openvino')  # what a kill leaves of a line
    with pytest.raises(StoppedError):
        compress(run, changes=changes, stop=after(9))
    second = lines(run)
    assert second[: len(first)] == first
    report = compress(run, changes=changes)
    found = lines(run)
    assert found[: len(second)] == second
    assert len({line["name"] for line in found}) == len(found)
    assert [point.name for point in report.points] == [line["name"] for line in found if "point" in line]
    again = compress(run, changes=changes)
    assert lines(run) == found
    assert [(one.name, one.on_front) for one in again.points] == [(one.name, one.on_front) for one in report.points]


def test_a_search_that_was_killed_goes_on_and_repeats_nothing(run: Path) -> None:
    command = [sys.executable, "-m", "luthier", "compress", str(run), "--max-drop", "100", "--moves", "forms"]
    path, first = run / "compress" / "points.jsonl", b""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as search:
        while search.poll() is None and first.count(b"\n") < 3:
            time.sleep(0.01)
            first = path.read_bytes() if path.exists() else b""
        search.kill()
    assert search.returncode == -signal.SIGKILL
    whole = path.read_bytes()[: path.read_bytes().rfind(b"\n") + 1]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    found = path.read_bytes()
    assert found.startswith(whole)
    names = [line["name"] for line in lines(run)]
    assert len(set(names)) == len(names) > whole.count(b"\n")
    report = CompressionReport.read(run / "compress" / "compression.json")
    points = [Point.of(line["point"]) for line in lines(run) if "point" in line]
    assert [point.name for point in report.points if point.on_front] == [point.name for point in front(points)]
    assert luthier.verify(run / "compressed").goldens > 4


def test_a_useless_move_is_not_taken(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights put in another order: as fast and as small as any, and of no use."""

    def shuffled(graph: Path, path: Path, _: Sequence[Batch]) -> None:
        import onnx

        model = onnx.load(graph)
        draw = np.random.default_rng(0)
        for tensor in model.graph.initializer:
            values = onnx.numpy_helper.to_array(tensor)
            if values.ndim == 2 and values.dtype == np.float32:
                mixed = draw.permutation(values.ravel()).reshape(values.shape)
                tensor.CopyFrom(onnx.numpy_helper.from_array(mixed, tensor.name))
        onnx.save(model, path)

    planted = Form("shuffled", "onnx", "fp32", shuffled)
    monkeypatch.setattr(forms, "FORMS", {"shuffled": planted})
    monkeypatch.setattr("luthier.compression.search.searching.FORMS", {"shuffled": planted})
    report = compress(run, changes={"max_drop": 2.0, "moves": "forms"})
    point = next(point for point in report.points if point.name == "shuffled")
    assert point.loss.drop > 10
    assert point.loss.flips is not None
    assert point.loss.flips > 0.1
    assert report.chosen == "as it is"
    assert not (run / "compressed").exists()


def test_the_time_is_kept(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compress", str(run), "--max-drop", "100", "--seconds", "0.000001"]) == 0
    assert "the time was up after" in capsys.readouterr().out
    report = CompressionReport.model_validate_json((run / "compress" / "compression.json").read_text("utf-8"))
    assert len(report.points) == 2
    assert not report.complete


def test_a_bound_is_asked_for_with_a_confidence(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("luthier.compression.search.searching.FORMS", {"openvino fp32": forms.FORMS["openvino fp32"]})
    code = main(["compress", str(run), "--moves", "forms", "--max-drop", "100", "--confidence", "0.95", "--json"])
    report = CompressionReport.model_validate_json(capsys.readouterr().out)
    assert code == 0
    assert report.points[0].loss.confidence == 0.95
    assert all(point.loss.bound is not None for point in report.points)


def test_nothing_is_reported_to_anybody(run: Path) -> None:
    command = [sys.executable, "-c", GUARDED, "compress", str(run), "--moves", "forms", "--max-drop", "100"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr


def test_a_stage_of_a_run_keeps_its_contract_or_ends_with_3(
    tiny_model: Path, tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    extra = "compress: {max_drop: 100, moves: forms}\n"
    path = project(tmp_path, tiny_model, rows=120, extra=extra)
    asked = ["run", str(path), "--run-dir", str(tmp_path / "run"), "--set", "train.epochs=1"]
    assert main(asked) == 0
    assert open_bundle(tmp_path / "run" / "compressed").parent is not None
    assert 'data-chart="front"' in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    before = lines(tmp_path / "run")
    assert main([*asked, "--set", "compress.mib=0.001"]) == 3
    assert "no point keeps the contract" in capsys.readouterr().err
    assert lines(tmp_path / "run") == before
    assert (tmp_path / "run" / "result.json").exists()


@pytest.mark.parametrize("value", [["--max-drop", "-1"], ["--confidence", "0.2"], ["--mib", "0"]])
def test_a_value_out_of_bounds_is_refused(value: list[str], run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compress", str(run), *value]) == 2
    assert value[0] in capsys.readouterr().err


def test_without_a_runtime_it_says_what_to_install(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forms, "find_spec", lambda package: None)
    assert main(["compress", str(run)]) == 2
    assert "luthier[compress]" in capsys.readouterr().err


def test_a_run_that_would_compress_without_a_runtime_is_refused_before_it_trains(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("luthier.pipeline.run.find_spec", lambda package: None)
    path = project(tmp_path, tiny_model, rows=40, extra="compress: {max_drop: 1.0}\n")
    assert main(["run", str(path), "--run-dir", str(tmp_path / "run")]) == 2
    assert "compress: neither onnxruntime nor openvino is installed" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_what_cannot_be_compressed_is_refused(
    run: Path, tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(run / "bundle", tmp_path / "alone")
    assert main(["compress", str(tmp_path / "alone")]) == 2
    assert "is not a finished run" in capsys.readouterr().err
