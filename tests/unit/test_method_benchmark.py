"""The method table's output, on made-up figures; nothing is timed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

OURS = {"methods", "method_tasks", "measurement", "tables", "machine", "contestants"}
FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    yield
    for name in [n for n in sys.modules if n.split(".")[0] in OURS]:
        del sys.modules[name]


def test_the_method_table_names_what_did_not_run(tmp_path, monkeypatch, capsys):
    import methods

    lora = {
        "method": "lora",
        "learning_rate": 1e-3,
        "trainable": 812_162,
        "trainable_without_head": 663_552,
        "peak_mib": 1151,
        "seconds": 37.6,
        "processor_seconds": 70.2,
        "steps": 9,
        "best_step": 3,
        "epochs": 2,
        "rows": 411,
        "validation_rows": 21,
        "quality": 0.857,
        "interval": [0.654, 0.95],
    }
    found = {"lora": lora, "qlora": {"method": "qlora", "refused": "needs a package"}}
    monkeypatch.setattr(methods, "run_one", lambda task, name, options: found[name])
    page = tmp_path / "methods.md"
    page.write_text("# Methods\n", encoding="utf-8")
    methods.main(["--tasks", "movie-reviews", "--only", "lora,qlora", "--rows", "200", "--write", str(page)])
    out = capsys.readouterr().out.splitlines()
    assert json.loads(out[-1])["tasks"] == {"movie-reviews": [lora, found["qlora"]]}
    figures = "0.001 | 812,162 | 663,552 | 1,151 | 38 | 70 | 0.857 (0.654 to 0.950) |"
    row = f"| [`lora`](../recipes/methods/lora.yaml) | {figures}"
    assert row in out
    text = page.read_text(encoding="utf-8")
    assert row in text
    assert "does not run here: qlora." in text
    assert "`python benchmarks/methods.py --tasks movie-reviews --only lora,qlora --rows 200 --write" in text


def test_every_method_has_a_recipe_to_measure():
    from luthier.models.tuning.table import METHODS
    from method_tasks import METHOD_RECIPES

    assert {path.stem for path in METHOD_RECIPES.glob("*.yaml")} == METHODS.keys()


def test_a_chat_model_is_trained_by_the_method_of_each_recipe_that_goes_with_it():
    from luthier.config import read_project
    from luthier.models.tuning.table import METHODS
    from method_tasks import METHOD_RECIPES, source
    from methods import UNTUNED, methods_of

    names = methods_of("support-chat", None)
    assert set(METHODS) - set(names) == {"head", "bitfit", "prefix", "prompt", "p-tuning"}
    assert methods_of("support-chat", ["head", "lora"]) == [UNTUNED, "lora"]
    rates = set()
    for name in names[1:]:
        path, overrides = source("support-chat", name)
        project = read_project(path, overrides=overrides).project
        assert project.name == "chat"
        assert project.method == read_project(METHOD_RECIPES / f"{name}.yaml").project.method
        rates.add(project.train.learning_rate)
    assert len(rates) > 3
    untuned, _ = source("support-chat", UNTUNED)
    assert untuned == path


def test_perplexity_comes_with_an_interval_over_rows():
    import numpy as np

    from method_tasks import judge

    outputs = {"nll": np.array([2.0, 4.0]), "tokens": np.array([2.0, 2.0]), "correct": np.zeros(2)}
    value, interval = judge("support-chat", None, outputs)
    assert value == pytest.approx(np.exp(1.5))
    assert interval == pytest.approx((np.exp(1.0), np.exp(2.0)))  # of two rows, each is drawn alone in a quarter


def test_the_table_says_what_the_pretrained_model_can_do():
    from methods import table

    figures = {"peak_mib": 900, "validation_rows": 9, "quality": 10.0, "interval": [9.0, 11.0]}
    text = table("support-chat", [{"method": "untuned", **figures}])
    assert "| none: the pretrained model |  | 0 | 0 | 900 | 0 | 0 | 10.000 (9.000 to 11.000) |" in text


def test_what_was_kept_under_the_same_conditions_is_not_measured_again(tmp_path, monkeypatch):
    import methods

    measured = []

    def python(command, threads):
        measured.append(command[3])
        return json.dumps({"method": command[3], "refused": "made up"})

    monkeypatch.setattr(methods, "python", python)
    keep = tmp_path / "kept.jsonl"

    def run(*given):
        options = methods.arguments(["--keep", str(keep), *given])
        return [methods.run_one("movie-reviews", name, options)["method"] for name in options.only]

    assert run("--rows", "9", "--only", "full") == ["full"]
    assert run("--rows", "9", "--only", "full,lora") == ["full", "lora"]
    assert measured == ["full", "lora"]
    run("--rows", "8", "--only", "lora")
    assert measured == ["full", "lora", "lora"]
