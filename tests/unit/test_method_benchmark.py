"""The method table's output, on made-up figures; nothing is timed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    yield
    for name in [n for n in sys.modules if n.split(".")[0] in {"methods", "tables", "machine", "contestants"}]:
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
        "steps": 9,
        "best_step": 3,
        "epochs": 2,
        "rows": 411,
        "validation_rows": 21,
        "accuracy": 0.857,
        "interval": [0.654, 0.95],
    }
    found = {"lora": lora, "qlora": {"method": "qlora", "refused": "needs a package"}}
    monkeypatch.setattr(methods, "run_one", lambda name, options: found[name])
    page = tmp_path / "methods.md"
    page.write_text("# Methods\n", encoding="utf-8")
    methods.main(["--only", "lora,qlora", "--rows", "200", "--write", str(page)])
    out = capsys.readouterr().out.splitlines()
    assert json.loads(out[-1])["methods"] == [lora, found["qlora"]]
    row = "| [`lora`](../recipes/methods/lora.yaml) | 0.001 | 812,162 | 663,552 | 1,151 | 38 | 0.857 (0.654 to 0.950) |"
    assert row in out
    text = page.read_text(encoding="utf-8")
    assert row in text
    assert "does not run here: qlora." in text
    assert "`python benchmarks/methods.py --only lora,qlora --rows 200 --write" in text


def test_every_method_has_a_recipe_to_measure():
    import methods
    from luthier.models.tuning.table import METHODS

    assert {path.stem for path in methods.RECIPES.glob("*.yaml")} == METHODS.keys()
