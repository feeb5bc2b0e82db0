"""Bundles changed on purpose, hashes made right again: the golden replay notices. Flipped bytes: the hashes do."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.tiny import project

import luthier
from luthier.artifacts.manifest import MANIFEST, SELF, read_manifest, seal
from luthier.cli import main
from luthier.errors import ArtifactError


@pytest.fixture(scope="module")
def bundle(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mutations")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LUTHIER_HOME", str(folder / "home"))
        path = project(folder, tiny_model)
        assert main(["run", str(path), "--run-dir", str(folder / "run"), "--set", "train.epochs=8"]) == 0
    return folder / "run" / "bundle"


def edit_json(path: Path, change: Callable[[Any], None]) -> None:
    value = json.loads(path.read_text(encoding="utf-8"))
    change(value)
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")


def entry(change: Callable[[dict[str, Any]], None]) -> Callable[[Path, dict[str, Any]], None]:
    return lambda folder, manifest: change(manifest["entry_points"][0])


def swap_labels(point: dict[str, Any]) -> None:
    point["targets"]["labels"].reverse()


def pooling(folder: Path, manifest: dict[str, Any]) -> None:
    manifest["heads"][0]["settings"]["pooling"] = "mean"


def shorter(point: dict[str, Any]) -> None:
    point["preprocess"]["max_length"] -= 1


def left(point: dict[str, Any]) -> None:
    point["preprocess"]["truncation_side"] = "left"


def hotter(point: dict[str, Any]) -> None:
    point["calibration"]["temperature"] *= 1.01


def keep_case(folder: Path, manifest: dict[str, Any]) -> None:
    edit_json(folder / "model" / "tokenizer.json", lambda value: value["normalizer"].update(lowercase=False))


def strip_accents(folder: Path, manifest: dict[str, Any]) -> None:
    edit_json(folder / "model" / "tokenizer.json", lambda value: value["normalizer"].update(strip_accents=False))


def one_layer_norm_weight(folder: Path, manifest: dict[str, Any]) -> None:
    from safetensors.torch import load_file, save_file

    path = folder / "model" / "model.safetensors"
    tensors = load_file(path)
    name = next(name for name in tensors if name.endswith("layer.1.output.LayerNorm.weight"))
    tensors[name][3] *= 1.05
    save_file(tensors, path, metadata={"format": "pt"})


def other_weights(folder: Path, manifest: dict[str, Any]) -> None:
    from safetensors.torch import load_file, save_file

    path = folder / "model" / "model.safetensors"
    tensors = load_file(path)
    tensors["classifier.bias"] += 0.01
    save_file(tensors, path, metadata={"format": "pt"})


MUTATIONS: dict[str, tuple[Callable[[Path, dict[str, Any]], None], str]] = {
    "labels swapped": (entry(swap_labels), "labels or"),
    "pooling changed": (pooling, "weights or pooling changed"),
    "truncation side": (entry(left), "token ids differ"),
    "length limit": (entry(shorter), "token ids differ"),
    "lower-casing": (keep_case, "token ids differ"),
    "accents": (strip_accents, "token ids differ"),
    "one LayerNorm weight": (one_layer_norm_weight, "weights or pooling changed"),
    "head bias": (other_weights, "weights or pooling changed"),
    "temperature": (entry(hotter), "calibration changed"),
}


def mutate(bundle: Path, target: Path, change: Callable[[Path, dict[str, Any]], None]) -> Path:
    shutil.copytree(bundle, target)
    manifest = read_manifest(target)
    change(target, manifest)
    seal(target, {key: value for key, value in manifest.items() if key not in {"files", SELF}})
    return target


def test_an_unchanged_bundle_that_is_sealed_again_still_loads(bundle: Path, tmp_path: Path) -> None:
    luthier.load(mutate(bundle, tmp_path / "same", lambda folder, manifest: None))


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mutation_with_recomputed_hashes_is_caught_by_the_goldens(bundle: Path, tmp_path: Path, name: str) -> None:
    change, message = MUTATIONS[name]
    with pytest.raises(ArtifactError, match=rf"golden example \d+ .*{message}"):
        luthier.load(mutate(bundle, tmp_path / "changed", change))


def test_a_plain_folder_that_answers_otherwise_is_caught_by_verify(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def other_label_map(folder: Path, manifest: dict[str, Any]) -> None:
        labels = {"0": "positive", "1": "negative"}
        edit_json(folder / "model" / "config.json", lambda value: value.update(id2label=labels))

    changed = mutate(bundle, tmp_path / "changed", other_label_map)
    assert main(["verify", str(changed)]) == 2
    assert "label map" in capsys.readouterr().err


def test_a_flipped_byte_anywhere_is_noticed_and_named(bundle: Path, tmp_path: Path) -> None:
    target = tmp_path / "flipped"
    shutil.copytree(bundle, target)
    draw = random.Random(4)
    files = sorted(path for path in target.rglob("*") if path.is_file())
    assert {MANIFEST, "goldens.json", "model.safetensors", "config.json", "tokenizer.json"} <= {p.name for p in files}
    for path in files:
        data = path.read_bytes()
        for position in (0, draw.randrange(len(data)), len(data) - 1):
            changed = data[:position] + bytes([data[position] ^ (1 << draw.randrange(8))]) + data[position + 1 :]
            path.write_bytes(changed)
            with pytest.raises(ArtifactError) as caught:
                luthier.load(target)
            assert path.name in str(caught.value)
        path.write_bytes(data)
    luthier.load(target)


def test_a_missing_and_an_added_file_are_named(bundle: Path, tmp_path: Path) -> None:
    target = tmp_path / "x"
    shutil.copytree(bundle, target)
    (target / "profile.json").unlink()
    (target / "model" / "hook.py").write_text("import os", encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"profile\.json is missing.*hook\.py is not in the manifest"):
        luthier.load(target)


def test_something_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"Give a bundle's folder"):
        luthier.load(tmp_path / "nothing")
    with pytest.raises(ArtifactError, match=r"has no manifest\.json"):
        luthier.load(tmp_path)
