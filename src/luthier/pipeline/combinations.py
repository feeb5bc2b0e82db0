"""Which task, method and model family go together, and why the others are refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

from luthier.models.families import FAMILIES
from luthier.models.tuning.table import METHODS
from luthier.models.tuning.table import refusal as method_refusal
from luthier.tasks import TASKS


class _AnyTargets(dict[str, Any]):
    """Stands for what training would fit: two of everything."""

    def __missing__(self, key: str) -> Sequence[str]:
        return ("a", "b")


@cache
def head_of(task: str) -> str:
    """Return the kind of head that a task needs, a key of `models.heads.HEADS`."""
    return TASKS[task]().head(_AnyTargets()).kind


def families_of(task: str) -> list[str]:
    """Return the model types that can do a task."""
    return [name for name, family in FAMILIES.items() if head_of(task) in family.plain]


def refusal(task: str, method: str, family: str) -> str | None:
    """Return why three do not go together; None where they do.

    Args:
        task: a key of `TASKS`.
        method: a key of `METHODS`.
        family: a key of `FAMILIES`.
    """
    if family not in families_of(task):
        return f"Transformers has no class of this family with a {head_of(task)} head"
    return method_refusal(method, family, task)


def combinations_markdown() -> str:
    """Return the reference page of what is refused, by name and reason."""
    lines = [
        "# Tasks, methods and model families",
        "",
        "<!-- Written by `make docs`; do not edit. -->",
        "",
        "What is not listed here as refused goes together: `tests/contracts/test_matrix.py` trains, saves, loads and",
        "compares a tiny model for every pair in CI and for every combination under `make test-all`. A refused",
        "combination is an error before weights load, which names the ones that work.",
        "",
        "## Model families by task",
        "",
        "| task | head | families |",
        "| --- | --- | --- |",
        *(f"| `{task}` | {head_of(task)} | {', '.join(families_of(task))} |" for task in TASKS),
        "",
        "A family that is missing in a line has no class with that head in Transformers.",
        "",
        "## Methods refused for a family",
        "",
        "| method | families | reason |",
        "| --- | --- | --- |",
        *_by_reason(FAMILIES, lambda method, family: method_refusal(method, family)),
        "",
        "## Methods refused for a task",
        "",
        "| method | tasks | reason |",
        "| --- | --- | --- |",
        *_by_reason(TASKS, lambda method, task: METHODS[method].refused_tasks.get(task)),
        "",
        "`qlora` needs the bitsandbytes package and is refused where it is absent.",
        "",
    ]
    return "\n".join(lines)


def _by_reason(names: Iterable[str], reason_of: Callable[[str, str], str | None]) -> list[str]:
    """Return a line for each method and reason, with the names that it holds for."""
    found: dict[tuple[str, str], list[str]] = {}
    every = list(names)
    for method in METHODS:
        for name in every:
            reason = reason_of(method, name)
            if reason is not None:
                found.setdefault((method, reason), []).append(name)
    return [f"| `{method}` | {', '.join(those)} | {reason} |" for (method, reason), those in found.items()]
