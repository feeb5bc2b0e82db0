"""What must start at once loads nothing heavy: read from sys.modules of a fresh interpreter, never from a clock."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

LEARNING = ("torch", "transformers", "sklearn", "pandas", "fastapi", "datasets", "uvicorn")
PROBE = """
import contextlib, importlib, io, json, sys
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    exec(sys.argv[1])
print(json.dumps(sorted(sys.modules)))
"""
LIGHT = [
    "luthier.version",
    "luthier.errors",
    "luthier.config",
    "luthier.config.load",
    "luthier.config.schema",
    "luthier.artifacts.files",
    "luthier.artifacts.run",
    "luthier.artifacts.bundle",
    "luthier.artifacts.checkpoint",
    "luthier.artifacts.evaluation",
    "luthier.artifacts.check",
    "luthier.metrics.registry",
    "luthier.metrics.classification",
    "luthier.metrics.calibration",
    "luthier.metrics.intervals",
    "luthier.samples",
    "luthier.samples.store",
    "luthier.samples.client",
    "luthier.data.sources",
    "luthier.data.splits",
    "luthier.data.batches",
    "luthier.data.features",
    "luthier.data.check",
    "luthier.data.infer",
    "luthier.tasks",
    "luthier.tasks.dataset",
    "luthier.tasks.text_classification",
]


def loaded_after(code: str) -> set[str]:
    """Return the modules that a fresh interpreter has loaded after some code."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE, code], capture_output=True, text=True, check=True, env={**os.environ}
    )
    return set(json.loads(done.stdout))


def test_the_probe_sees_what_is_loaded() -> None:
    assert "pandas" in loaded_after("import pandas")
    assert "luthier.cli" in loaded_after("import luthier.cli; luthier.cli.main(['--help'])")


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["run", "--help"], ["serve", "--help"], ["nonsense"]])
def test_the_command_line_answers_without_heavy_libraries(arguments: list[str]) -> None:
    loaded = loaded_after(f"from luthier.cli import main; main({arguments!r})")
    assert "luthier.cli" in loaded
    assert [name for name in (*LEARNING, "scipy", "pydantic", "numpy", "pyarrow") if name in loaded] == []


def test_importing_the_package_loads_none_of_its_parts() -> None:
    loaded = loaded_after("import luthier; dir(luthier); luthier.__version__; luthier.LuthierError")
    ours = {name for name in loaded if name.split(".")[0] == "luthier"}
    assert ours == {"luthier", "luthier.errors", "luthier.version"}
    assert [name for name in (*LEARNING, "scipy", "pydantic", "numpy", "pyarrow") if name in loaded] == []


def test_the_light_packages_load_without_the_libraries_of_training() -> None:
    loaded = loaded_after(f"for name in {LIGHT!r}: importlib.import_module(name)")
    assert set(LIGHT) <= loaded
    assert [name for name in LEARNING if name in loaded] == []


def test_a_project_file_is_read_without_the_libraries_of_training() -> None:
    code = "from luthier import Project; from luthier.config import read_project; read_project({'version': 1})"
    loaded = loaded_after(f"try:\n    {code}\nexcept Exception as error:\n    assert 'name' in str(error), error")
    assert "luthier.config" in loaded
    assert [name for name in LEARNING if name in loaded] == []


def test_importing_sets_no_variable_and_no_logging() -> None:
    code = (
        "import logging, os; before = dict(os.environ), list(logging.root.handlers), logging.root.level; import luthier"
        "; import luthier.cli; assert before == (dict(os.environ), list(logging.root.handlers), logging.root.level)"
    )
    assert "luthier.cli" in loaded_after(code)
