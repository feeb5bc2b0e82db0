"""Tiny made-up data for label sets and numbers, and project files for them. They show nothing about quality."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path

from tests.tiny import BAD, FILLER, GOOD

PROJECT = """version: 1
name: tiny-{name}
task: {task}
model: {model}
data:
  train: {file}
train:
  epochs: 3
  learning_rate: 0.003
  batch_tokens: 256
  precision: fp32
evaluate:
  resamples: 200
{extra}"""


def mixed(rows: int, seed: int = 0) -> list[tuple[str, int, int]]:
    """Return (text, kind words, unkind words), up to two of each; all texts differ."""
    draw = random.Random(seed)
    found: dict[str, tuple[int, int]] = {}
    while len(found) < rows:
        good, bad = draw.randint(0, 2), draw.randint(0, 2)
        words = [*draw.choices(FILLER, k=draw.randint(3, 12)), *draw.choices(GOOD, k=good), *draw.choices(BAD, k=bad)]
        draw.shuffle(words)
        found.setdefault(" ".join(words), (good, bad))
    return [(text, good, bad) for text, (good, bad) in found.items()]


def label_set(good: int, bad: int) -> list[str]:
    """Return the labels that follow from the words of a text: none, one or two."""
    return [name for name, number in (("kind", good), ("unkind", bad)) if number]


def multi_label_project(folder: Path, model: Path, *, rows: int = 240, extra: str = "") -> Path:
    """Write texts with label sets as JSON Lines, and a project file for them; return the project file."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"text": text, "labels": label_set(good, bad)}) for text, good, bad in mixed(rows)]
    (folder / "sets.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return _project(folder, model, "multi-label", "sets.jsonl", extra)


def regression_project(folder: Path, model: Path, *, rows: int = 240, extra: str = "") -> Path:
    """Write texts with a number as CSV, and a project file for them; return the project file."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "values.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["text", "value"])
        writer.writerows((text, 3 + good - bad) for text, good, bad in mixed(rows))
    return _project(folder, model, "{regression: {levels: [1, 2, 3, 4, 5]}}", "values.csv", extra)


def texts(rows: int) -> list[str]:
    """Return texts of the same kind as training has."""
    return [text for text, _, _ in mixed(rows, seed=5)]


def _project(folder: Path, model: Path, task: str, file: str, extra: str) -> Path:
    name = file.split(".")[0]
    path = folder / f"{name}.yaml"
    path.write_text(PROJECT.format(name=name, task=task, model=model, file=file, extra=extra), encoding="utf-8")
    return path
