"""A first project file for somebody's data, with the meaning of each key beside it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from luthier.config.keys import key_table
from luthier.config.writing import INDENT, flow

WIDTH = 100
# Keys worth seeing in a first file, beside those that must be there; all are written with their defaults.
SHOWN = (
    "data.split",
    "data.split.test",
    "data.split.validation",
    "data.split.seed",
    "method",
    "train",
    "train.epochs",
    "train.learning_rate",
    "train.batch_tokens",
)


def project_text(
    *,
    name: str,
    task: str,
    model: str,
    data: str,
    columns: Mapping[str, str],
    labels: Sequence[str | int | bool] | Mapping[Any, str] | None = None,
    delimiter: str | None = None,
    skip_bad_rows: bool = False,
    notes: Iterable[str] = (),
) -> str:
    """Return a commented project file that loads as it is.

    Args:
        name: the project's name.
        task: the task's name.
        model: the model's id.
        data: the training rows, as `data.train` takes them.
        columns: `{role: column}`.
        labels: the labels in order, or `{value: name}`; None leaves them to the data.
        delimiter: between the cells of a CSV file; None for the format's own.
        skip_bad_rows: leave out rows that cannot be read.
        notes: remarks for the top of the file, such as what was guessed and why.
    """
    values: dict[str, Any] = {
        "version": 1,
        "name": name,
        "task": task,
        "model": model,
        "data": {},
        "data.train": data,
        "data.columns": dict(columns),
        **({} if labels is None else {"data.labels": labels}),
        **({} if delimiter is None else {"data.delimiter": delimiter}),
        **({"data.bad_rows": "skip"} if skip_bad_rows else {}),
        **{path: key_table()[path].default for path in SHOWN},
    }
    lines = list(_comments(notes, 0))
    for path in key_table():
        if path in values:
            lines.extend(_entry(path, values[path]))
    lines += ["", "# Every key: docs/reference/project.md; `luthier schema` prints a JSON Schema for editors."]
    return "\n".join(lines) + "\n"


def _entry(path: str, value: Any) -> Iterable[str]:
    """Give the lines of one key: its description as a comment, then the key."""
    key = key_table()[path]
    depth = path.count(".")
    indent = INDENT * depth
    if depth == 0:
        yield ""
    yield from _comments([f"{key.description}{f' Unit: {key.unit}.' if key.unit else ''}"], depth)
    is_block = key.block is not None and not isinstance(value, str)
    yield f"{indent}{key.path.rpartition('.')[2]}:" + ("" if is_block else f" {flow(value)}")


def _comments(texts: Iterable[str], depth: int) -> Iterable[str]:
    indent = INDENT * depth
    for text in texts:
        for line in text.splitlines() or [""]:
            line = "".join(character if character.isprintable() else " " for character in line)
            prefix = f"{indent}# "
            wrapped = textwrap.wrap(line, WIDTH, initial_indent=prefix, subsequent_indent=prefix)
            yield from wrapped or [f"{indent}#"]
