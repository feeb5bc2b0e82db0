"""Imports point one way over the whole of src, there is no cycle, and what belongs to one place stays there.

Read from the source, so that imports inside functions and under TYPE_CHECKING obey as well.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parents[2] / "src"
PACKAGE = "luthier"
# A package may import only what stands above it. "luthier" is the package's own __init__.py.
ORDER = [
    "version",
    "errors",
    "config",
    "artifacts",
    "metrics",
    "samples",
    "data",
    "tasks",
    "models",
    "objectives",
    "training",
    "inference",
    "evaluation",
    "compression",
    "monitoring",
    "serving",
    "reporting",
    "scale",
    "pipeline",
    "console",
    "luthier",
    "cli",
    "__main__",
]
LATER = {"monitoring", "scale"}  # named in the order, not written yet
WITHOUT_TORCH = {"version", "errors", "config", "artifacts", "metrics", "samples", "data", "tasks"}
HEAVY = {"torch", "transformers", "peft", "ray", "onnxruntime", "openvino", "datasets", "pandas", "fastapi"}
PYDANTIC = re.compile(r"luthier\.(config|artifacts)(\..*)?|luthier\.serving\.schemas")
SPEAKS = {"luthier.cli", "luthier.__main__"}


@dataclass(frozen=True)
class Import:
    """An import statement's target, seen from a module.

    Attributes:
        module: who imports.
        line: where.
        target: what, as a module's full name.
        top: whether it runs when the module is imported.
    """

    module: str
    line: int
    target: str
    top: bool

    def __str__(self) -> str:
        return f"{self.module}:{self.line} imports {self.target}"


def module_names(src: Path) -> dict[str, Path]:
    """Return every module below a folder by its full name."""
    found = {}
    for path in sorted(src.rglob("*.py")):
        parts = path.relative_to(src).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_of(module: str, path: Path, modules: Mapping[str, Path]) -> Iterator[Import]:
    """Yield a module's imports; `from package import name` is an import of the submodule where there is one."""
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    lazy = {id(inner) for node in ast.walk(tree) for inner in _run_later(node)}
    for node in ast.walk(tree):
        top = id(node) not in lazy
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(module, node.lineno, alias.name, top)
        if isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*package.split(".")[: len(package.split(".")) - node.level + 1], *base.split(".")])
            for alias in node.names:
                inner = f"{base.rstrip('.')}.{alias.name}"
                yield Import(module, node.lineno, inner if inner in modules else base.rstrip("."), top)


def _run_later(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what inside a node does not run on import: bodies of functions and of TYPE_CHECKING blocks."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        yield from (inner for statement in node.body for inner in ast.walk(statement))
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        yield from (inner for statement in node.body for inner in ast.walk(statement))


def layer(module: str) -> str:
    """Return which entry of ORDER a module of ours belongs to."""
    return module.split(".")[1] if "." in module else PACKAGE


def against_the_order(imports: list[Import]) -> list[str]:
    """Return the imports of ours that do not point upwards in ORDER."""
    place = {name: number for number, name in enumerate(ORDER)}
    own = [one for one in imports if one.target.split(".")[0] == PACKAGE and layer(one.target) != layer(one.module)]
    return [str(one) for one in own if place[layer(one.target)] > place[layer(one.module)]]


def cycle(imports: list[Import]) -> list[str]:
    """Return the modules of one cycle of imports, empty where there is none.

    A package's __init__ and its modules count by what their statements name: that Python runs the __init__ first is
    left out of account.
    """
    graph: dict[str, set[str]] = {}
    for one in imports:
        if one.target.split(".")[0] == PACKAGE:
            graph.setdefault(one.module, set()).add(one.target)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


@pytest.fixture(scope="module")
def modules() -> dict[str, Path]:
    return module_names(SRC)


@pytest.fixture(scope="module")
def imports(modules: dict[str, Path]) -> list[Import]:
    return [one for module, path in modules.items() for one in imports_of(module, path, modules)]


def test_every_package_has_its_place(modules: dict[str, Path]) -> None:
    found = {layer(module) for module in modules}
    assert found - set(ORDER) == set(), "a new package needs a place in ORDER"
    assert set(ORDER) - found - LATER == set(), "ORDER names what is not there"
    assert len(modules) > 100, "the walk went blind"


def test_imports_point_one_way(imports: list[Import]) -> None:
    assert len([one for one in imports if one.target.startswith(f"{PACKAGE}.")]) > 300, "the walk went blind"
    assert against_the_order(imports) == []


def test_modules_make_no_cycle(imports: list[Import]) -> None:
    assert cycle(imports) == []


def test_our_imports_name_what_exists(imports: list[Import], modules: dict[str, Path]) -> None:
    ours = [one for one in imports if one.target.split(".")[0] == PACKAGE]
    assert [str(one) for one in ours if one.target not in modules] == []


def test_the_light_packages_leave_heavy_libraries_to_functions(imports: list[Import]) -> None:
    heavy = [one for one in imports if one.target.split(".")[0] in HEAVY]
    assert heavy, "the walk went blind"
    assert [str(one) for one in heavy if one.top and layer(one.module) in WITHOUT_TORCH | {"luthier", "cli"}] == []


def test_pydantic_stays_at_the_edges(imports: list[Import]) -> None:
    users = {one.module for one in imports if one.target.split(".")[0].startswith("pydantic")}
    assert users, "the walk went blind"
    assert sorted(user for user in users if not PYDANTIC.fullmatch(user)) == []


def test_only_the_command_line_prints_or_exits(modules: dict[str, Path]) -> None:
    speakers = {module for module, path in modules.items() if any(_speaks(path))}
    assert "luthier.cli" in speakers, "the walk went blind"
    assert sorted(speakers - SPEAKS) == []


def _speaks(path: Path) -> Iterator[bool]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func) in {"print", "exit", "quit", "sys.exit", "os._exit"}
        if isinstance(node, ast.Raise) and node.exc is not None:
            yield ast.unparse(node.exc).startswith("SystemExit")


# --- the checks themselves, on a small tree that breaks the rules ----------------------------------------------------


@pytest.fixture
def planted(tmp_path: Path) -> list[Import]:
    """Imports of a tree in which data imports training lazily and two modules of metrics import each other."""
    sources = {
        "__init__.py": "",
        "data/__init__.py": "",
        "data/rows.py": "def f():\n    from luthier.training import loop\n",
        "data/text.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .. import cli\n",
        "training/__init__.py": "",
        "training/loop.py": "import luthier.data.rows\nfrom .schedule import factor\n",
        "training/schedule.py": "import math\n",
        "metrics/__init__.py": "",
        "metrics/a.py": "from luthier.metrics import b\n",
        "metrics/b.py": "from luthier.metrics.a import something\n",
        "cli.py": "",
    }
    for name, text in sources.items():
        path = tmp_path / PACKAGE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    modules = module_names(tmp_path)
    return [one for module, path in modules.items() for one in imports_of(module, path, modules)]


def test_a_wrong_direction_is_seen_wherever_it_hides(planted: list[Import]) -> None:
    assert against_the_order(planted) == [
        "luthier.data.rows:2 imports luthier.training.loop",
        "luthier.data.text:3 imports luthier.cli",
    ]
    assert [one.target for one in planted if one.module == "luthier.training.loop"] == [
        "luthier.data.rows",
        "luthier.training.schedule",
    ]


def test_a_cycle_is_seen(planted: list[Import]) -> None:
    metrics = [one for one in planted if layer(one.module) == "metrics"]
    assert set(cycle(metrics)) == {"luthier.metrics.a", "luthier.metrics.b"}
    across = [one for one in planted if layer(one.module) in {"data", "training"}]
    assert set(cycle(across)) == {"luthier.data.rows", "luthier.training.loop"}


def test_what_runs_later_is_told_apart(planted: list[Import]) -> None:
    assert [one.target for one in planted if not one.top] == ["luthier.training.loop", "luthier.cli"]
