"""Every key of a project file is read by code outside `config`: none is accepted and ignored."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from luthier.config.keys import key_table

SOURCE = Path(__file__).parents[2] / "src" / "luthier"


def attributes() -> set[str]:
    """Return every attribute name that code outside `config` reads."""
    found: set[str] = set()
    for path in SOURCE.rglob("*.py"):
        if "config" in path.relative_to(SOURCE).parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute):
                found.add(node.attr)
    return found


READ = attributes()
# Read by `resolve`, which turns the short form into the plan.
BLOCKS = {"version", "task", "method", "train", "check", "evaluate", "bundle", "report"}
LEAVES = [path for path, key in key_table().items() if key.block is None and path not in BLOCKS]


@pytest.mark.parametrize("path", LEAVES)
def test_a_key_is_read(path: str) -> None:
    assert path.rpartition(".")[2] in READ


def test_the_walk_sees_every_block() -> None:
    assert len(LEAVES) > 45
    assert {path.split(".")[0] for path in LEAVES} >= {
        "data",
        "model",
        "train",
        "check",
        "evaluate",
        "bundle",
        "report",
    }
