"""Several adapters over one base in one bundle. Tiny random model."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.tiny import build_model, project, sentences, write_csv

import luthier
from luthier.cli import main

METHODS = {"first": "{lora: {merge: false}}", "second": "{adapter-pfeiffer: {width: 4}}", "third": "prefix"}
TEXTS = [text for text, _ in sentences(12, seed=8)]


@pytest.fixture(scope="module")
def bundles(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("combine")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LUTHIER_HOME", str(folder / "home"))
        found = {}
        for name, method in {**METHODS, "merged": "lora"}.items():
            path = project(folder / name, tiny_model, extra=f"method: {method}\n")
            path.write_text(path.read_text(encoding="utf-8").replace("name: tiny", f"name: {name}"), encoding="utf-8")
            if name == "second":  # another task over the same base: three labels instead of two
                rows = [(text, label if i % 3 else "other") for i, (text, label) in enumerate(sentences(240))]
                write_csv(folder / name / "data.csv", rows)
            options = [f"train.epochs={1 + len(found)}", "train.learning_rate=0.02", "train.dropout=0.0"]
            found[name] = Path(luthier.run(path, run_dir=folder / name / "run", overrides=options).bundle)
    return found


@pytest.fixture(scope="module")
def combined(bundles: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return luthier.combine([bundles[name] for name in METHODS], tmp_path_factory.mktemp("out") / "three")


@pytest.mark.parametrize("name", METHODS)
def test_each_entry_answers_as_its_own_bundle(name: str, combined: Path, bundles: dict[str, Path]) -> None:
    ours = luthier.load(combined, entry=name)
    alone = luthier.load(bundles[name])
    assert [a.as_dict() for a in ours.predict(TEXTS)] == [a.as_dict() for a in alone.predict(TEXTS)]
    assert (combined / "entries" / name / "evaluation.json").read_bytes() == (
        bundles[name] / "evaluation.json"
    ).read_bytes()


def test_entries_differ_and_the_base_is_there_once(combined: Path, bundles: dict[str, Path]) -> None:
    answers = [[a.as_dict() for a in luthier.load(combined, entry=name).predict(TEXTS)] for name in METHODS]
    assert answers[0] != answers[1] != answers[2]
    assert [path.name for path in combined.rglob("model.safetensors")] == ["model.safetensors"]
    one = luthier.verify(bundles["first"])
    three = luthier.verify(combined)
    assert three.goldens > 2 * one.goldens
    assert three.plain_difference is None


def test_an_entry_is_chosen_by_name(combined: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = write_csv(tmp_path / "in.csv", [(text, "") for text in TEXTS])
    arguments = ["predict", str(combined), str(table)]
    assert main(arguments) == 2
    assert "holds 3 entries. Choose one: first, second, third (--entry" in capsys.readouterr().err
    assert main([*arguments, "--entry", "fourth"]) == 2
    assert "entry must be one of first, second, third; got fourth." in capsys.readouterr().err
    assert main([*arguments, "--entry", "second"]) == 0
    assert "other" in capsys.readouterr().out
    assert main(["verify", str(combined)]) == 0
    assert "not replayed through plain Transformers: model/ is the base" in capsys.readouterr().out


def test_bundles_that_do_not_fit_are_refused_by_name(
    bundles: dict[str, Path], combined: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, out = str(bundles["first"]), str(tmp_path / "out")
    assert main(["combine", first, str(bundles["merged"]), "-o", out]) == 2
    assert "has no adapter of its own: training changed the base's weights." in capsys.readouterr().err
    assert main(["combine", first, first, "-o", out]) == 2
    assert "got first more than once" in capsys.readouterr().err
    assert main(["combine", first, str(combined), "-o", out]) == 2
    assert "it is a combined bundle already" in capsys.readouterr().err
    assert main(["combine", first, "-o", out]) == 2
    assert "at least two" in capsys.readouterr().err
    assert not Path(out).exists()
    assert main(["combine", first, str(bundles["second"]), "-o", str(combined)]) == 2
    assert "exists already" in capsys.readouterr().err


def test_another_base_is_refused(bundles: dict[str, Path], tmp_path: Path, home: Path) -> None:
    from luthier.errors import ArtifactError

    other = build_model(tmp_path / "model", dropout=0.0)
    from safetensors.torch import load_file, save_file

    weights = load_file(other / "model.safetensors")
    weights["embeddings.word_embeddings.weight"][3] += 1e-3
    save_file(weights, other / "model.safetensors", metadata={"format": "pt"})
    path = project(tmp_path, other, extra="method: {lora: {merge: false}}\n")
    result = luthier.run(path, run_dir=tmp_path / "run", overrides=["train.epochs=1"])
    with pytest.raises(ArtifactError, match=r"stands on another base than"):
        luthier.combine([bundles["first"], result.bundle], tmp_path / "out")


def test_a_damaged_bundle_is_refused(bundles: dict[str, Path], tmp_path: Path) -> None:
    from luthier.errors import ArtifactError

    copy = tmp_path / "copy"
    shutil.copytree(bundles["second"], copy)
    (copy / "adapters" / "main" / "adapter.safetensors").write_bytes(b"x")
    with pytest.raises(ArtifactError, match=r"adapter\.safetensors has 1 bytes"):
        luthier.combine([bundles["first"], copy], tmp_path / "out")
