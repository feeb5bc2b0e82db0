"""Bundles as programs of ExecuTorch, which runs in processes that see its packages; this one does not. Tiny models."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.tiny_pairs import embedding_project
from tests.tiny_spans import entity_project

import luthier
from luthier.cli import main
from luthier.compression.export.executorch_program import lengths_below

PACKAGES = Path(sys.prefix) / "executorch"
apart = pytest.mark.skipif(not PACKAGES.exists(), reason="ExecuTorch is not installed; `make test` installs it")
EXPORT = """
import json, sys
from luthier.compression.export.exporting import export
for bundle, out in json.loads(sys.argv[1]):
    found = export(bundle, "executorch", out)
    print(json.dumps([found.goldens, found.golden_difference, found.shapes, found.torch_difference]))
"""
OTHERWISE = """
import copy, dataclasses, sys
import torch
from luthier.cli import main
from luthier.compression.export import exporting

write = exporting.write_executorch

def otherwise(model, lengths, path):
    module = copy.deepcopy(model.module)
    with torch.no_grad():
        next(module.parameters()).add_(0.5 * torch.randn(1))
        for one in module.parameters():
            one.mul_(1.01)
    write(dataclasses.replace(model, module=module), lengths, path)

exporting.write_executorch = otherwise
sys.exit(main(sys.argv[1:]))
"""


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program that sees ExecuTorch."""
    places = [str(PACKAGES), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(places)}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=800, check=False)


@apart
def test_a_program_for_phones_answers_as_the_bundle(source: Path, tiny_model: Path, tmp_path: Path, home: Path) -> None:
    bundles = {"classification": source}
    for name, make in (("entities", entity_project), ("embedding", embedding_project)):
        project: Any = make(tmp_path / name, tiny_model)
        done = luthier.run(project, run_dir=tmp_path / name / "run", overrides=["train.epochs=1"])
        bundles[name] = Path(done.bundle)
    jobs = [[str(bundle), str(tmp_path / "out" / name)] for name, bundle in bundles.items()]
    (tmp_path / "out").mkdir()
    done_there = python(EXPORT, json.dumps(jobs))
    assert done_there.returncode == 0, done_there.stderr[-3000:]
    found = [json.loads(line) for line in done_there.stdout.splitlines() if line.startswith("[")]
    assert len(found) == len(bundles)
    for name, (goldens, golden, shapes, raw) in zip(bundles, found, strict=True):
        assert goldens > 4, name
        assert golden < 1e-4, name
        assert raw < 1e-4, name
        assert shapes >= 9, name
        written = {path.name for path in (tmp_path / "out" / name).iterdir()}
        assert written >= {"model.pte", "names.json", "model", "README.md"}, name
        names = json.loads((tmp_path / "out" / name / "names.json").read_text(encoding="utf-8"))
        assert names["lengths"] == sorted(names["lengths"])


@apart
def test_a_program_that_answers_otherwise_is_refused(source: Path, tmp_path: Path) -> None:
    done = python(OTHERWISE, "export", str(source), "--to", "executorch", "-o", str(tmp_path / "out"))
    assert done.returncode == 2, done.stderr[-3000:]
    assert "Traceback" not in done.stderr
    assert "is not answered as the evaluated model answered it" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_without_the_package_it_says_what_to_install(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(source), "--to", "executorch", "-o", str(tmp_path / "out")]) == 2
    assert "luthier[executorch]" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("longest", "lengths"), [(64, [16, 32, 64]), (100, [16, 32, 64, 100]), (8, [8])])
def test_lengths_end_with_the_limit(longest: int, lengths: list[int]) -> None:
    assert lengths_below(longest) == lengths
