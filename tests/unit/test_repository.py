"""The repository itself: what it may hold, what its documents say, and that its recipes load."""

from __future__ import annotations

import ast
import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from luthier.cli import _parser
from luthier.config import read_project, resolve
from luthier.pipeline.names import known_names
from luthier.version import __version__

ROOT = Path(__file__).resolve().parents[2]
LARGEST = 1_000_000
RECIPES = 30
BINARIES = {".safetensors", ".bin", ".pt", ".pth", ".pkl", ".pickle", ".joblib", ".onnx", ".gguf", ".arrow", ".parquet"}
# A pickle runs code when it is read; every one of these reads or writes pickles.
PICKLES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
READ_PICKLES = {"torch.load", "torch.save", "torch.jit.load", "pandas.read_pickle", "numpy.load", "np.load"}
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
PAGES = [ROOT / "README.md", ROOT / "README.zh-CN.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
SOURCES = sorted((ROOT / "src").rglob("*.py"))


def repository_files() -> list[Path]:
    """Return the files that git keeps or would keep."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [path for name in done.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def blocks(page: Path, *languages: str) -> list[str]:
    """Return a page's code blocks in some languages."""
    found = FENCE.findall(page.read_text(encoding="utf-8"))
    return [text for language, text in found if language in languages]


def names(paths: list[Path]) -> list[str]:
    return [path.relative_to(ROOT).as_posix() for path in paths]


# --- what it may hold -------------------------------------------------------------------------------------------------


def test_no_file_is_large_or_a_binary_of_data_or_weights() -> None:
    files = repository_files()
    assert len(files) > 100, "git listed too little"
    assert names([path for path in files if path.stat().st_size > LARGEST]) == []
    assert names([path for path in files if path.suffix.lower() in BINARIES]) == []


def test_the_source_reads_no_pickle_and_runs_no_remote_code() -> None:
    assert len(SOURCES) > 100, "the walk went blind"
    assert [place for path in SOURCES for place in dangers(path)] == []


def dangers(path: Path) -> Iterator[str]:
    """Yield the places in a file that could run what somebody else wrote."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        found: str | None = None
        if isinstance(node, ast.Import):
            found = next((alias.name for alias in node.names if alias.name.split(".")[0] in PICKLES), None)
        elif isinstance(node, ast.ImportFrom):
            found = node.module if (node.module or "").split(".")[0] in PICKLES else None
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            found = name if name in READ_PICKLES | {"eval", "exec", "__import__"} else None
        elif isinstance(node, ast.keyword) and node.arg in {"trust_remote_code", "allow_pickle"}:
            found = f"{node.arg}={ast.unparse(node.value)}" if ast.unparse(node.value) != "False" else None
        if found:
            yield f"{path.name}:{node.lineno} {found}"


def test_dangers_are_seen(tmp_path: Path) -> None:
    lines = [
        "import pickle",
        "from joblib import load",
        "torch.load(path)",
        "Model.from_pretrained(path, trust_remote_code=True)",
        "Model.from_pretrained(path, trust_remote_code=False)",
    ]
    (tmp_path / "bad.py").write_text("\n".join(lines))
    assert sorted(dangers(tmp_path / "bad.py")) == [
        "bad.py:1 pickle",
        "bad.py:2 joblib",
        "bad.py:3 torch.load",
        "bad.py:4 trust_remote_code=True",
    ]


# --- what it says -----------------------------------------------------------------------------------------------------


def test_both_readmes_have_the_same_structure() -> None:
    english, chinese = (ROOT / "README.md", ROOT / "README.zh-CN.md")
    shapes = []
    for page in (english, chinese):
        prose = FENCE.sub("", page.read_text(encoding="utf-8"))
        shapes.append(
            {
                "headings": [len(mark) for mark in re.findall(r"^(#+) ", prose, re.MULTILINE)],
                "code": FENCE.findall(page.read_text(encoding="utf-8")),
                "links": {link for link in LINK.findall(prose) if not link.startswith("README")},
                "tables": len(re.findall(r"^\|", prose, re.MULTILINE)),
                "items": len(re.findall(r"^- ", prose, re.MULTILINE)),
            }
        )
    assert len(shapes[0]["headings"]) > 8
    assert len(shapes[0]["code"]) > 5
    for part, value in shapes[0].items():
        assert value == shapes[1][part], part


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_links_lead_to_what_exists(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    targets = [link.partition("#")[0] for link in LINK.findall(text) if not re.match(r"[a-z]+:", link)]
    assert [target for target in targets if target and not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_commands_in_documents_are_commands(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for block in blocks(page, "bash"):
        for line in block.replace("\\\n", " ").splitlines():
            for command in line.split(" | "):
                words = shlex.split(command.partition(" > ")[0], comments=True)
                if words[:1] == ["luthier"]:
                    assert _parser().parse_args(words[1:]).command is not None
                if words[:1] == ["make"]:
                    assert words[1] in targets


def test_there_are_commands_to_look_at() -> None:
    found = [line for page in PAGES for block in blocks(page, "bash") for line in block.splitlines()]
    assert len([line for line in found if "luthier " in line]) > 15


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_python_in_documents_uses_public_names_that_exist(page: Path) -> None:
    import luthier

    for block in blocks(page, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "luthier":
                assert node.attr in luthier.__all__


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_project_files_in_documents_load(page: Path, tmp_path: Path) -> None:
    for number, block in enumerate(blocks(page, "yaml")):
        file = tmp_path / f"{number}.yaml"
        file.write_text(block, encoding="utf-8")
        resolve(read_project(file, names=known_names()).project, known_names())


def test_generated_pages_are_up_to_date() -> None:
    command = [sys.executable, "docs/generate.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_notebooks_were_executed_without_an_error() -> None:
    notebooks = sorted((ROOT / "docs").rglob("*.ipynb"))
    assert notebooks
    for path in notebooks:
        cells = [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
        assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1)), f"make docs: {path.name}"
        outputs = [output for cell in cells for output in cell["outputs"]]
        assert len(outputs) >= len(cells) // 2
        assert [one for one in outputs if one["output_type"] == "error" or one.get("name") == "stderr"] == [], path.name
        assert str(Path.home()) not in json.dumps(outputs)


def test_the_changelog_names_this_version() -> None:
    assert f"## {__version__} " in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_licence_is_the_standard_text() -> None:
    import hashlib

    digest = hashlib.sha256((ROOT / "LICENSE").read_bytes()).hexdigest()
    assert digest == "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"


# --- recipes and requirements -----------------------------------------------------------------------------------------


def test_every_recipe_loads() -> None:
    recipes = sorted((ROOT / "recipes").rglob("*.y*ml"))
    assert len(recipes) == RECIPES, "count the new recipe in RECIPES"
    for path in recipes:
        loaded = read_project(path, names=known_names())
        assert loaded.project.name == path.stem
        assert resolve(loaded.project, known_names()).stages


def test_the_readme_shows_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "readme.yaml").write_text(blocks(ROOT / "README.md", "yaml")[0], encoding="utf-8")
    shown = read_project(tmp_path / "readme.yaml", names=known_names()).project
    assert shown == read_project(ROOT / "recipes" / "movie-sentiment.yaml", names=known_names()).project


def test_every_decision_is_listed() -> None:
    folder = ROOT / "docs" / "decisions"
    listed = set(LINK.findall((folder / "README.md").read_text(encoding="utf-8")))
    assert listed == {path.name for path in folder.glob("*.md")} - {"README.md"}


def pins(name: str) -> dict[str, str]:
    """Return `{package: version}` of a lock file; every line must be an exact pin."""
    found = {}
    for line in (ROOT / name).read_text(encoding="utf-8").splitlines():
        if line.startswith("#") or line == "-r requirements.lock":
            continue
        match = re.fullmatch(r"([A-Za-z0-9._-]+)==([0-9][0-9a-z.]*)", line)
        assert match, f"{name}: {line!r} is no exact pin"
        found[re.sub(r"[-_.]+", "-", match[1]).lower()] = match[2]
    return found


def test_the_lock_files_fit_the_declared_ranges() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    runtime, tools = pins("requirements.lock"), pins("requirements-dev.lock")
    assert runtime["torch"] == "2.13.0"
    assert not runtime.keys() & tools.keys()
    apart = pins("requirements-executorch.lock")
    extras = [text for group in project["optional-dependencies"].values() for text in group]
    for declared, locked in ((project["dependencies"], runtime), (extras, runtime | tools | apart)):
        for text in declared:
            wanted = Requirement(text)
            assert locked[re.sub(r"[-_.]+", "-", wanted.name).lower()] in wanted.specifier, text
