"""Tiny made-up data for tests of tasks about parts of texts. They show nothing about quality."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.tiny import BAD, FILLER, GOOD

LABELS = {**dict.fromkeys(GOOD, "PRAISE"), **dict.fromkeys(BAD, "BLAME")}
TRAIN = """train:
  epochs: 3
  learning_rate: 0.003
  batch_tokens: 512
  precision: fp32
evaluate: {resamples: 200}
bundle: {golden_examples: 4}
"""


def tagged(rows: int, seed: int = 0, *, longest: int = 24) -> list[dict[str, Any]]:
    """Return words with tags: single words of praise and blame are entities; all texts differ."""
    draw = random.Random(seed)
    found: dict[str, dict[str, Any]] = {}
    while len(found) < rows:
        words = draw.choices([*FILLER, *GOOD, *BAD], k=draw.randint(4, longest))
        if any(word in LABELS for word in words):
            tags = [f"B-{LABELS[word]}" if word in LABELS else "O" for word in words]
            found.setdefault(" ".join(words), {"words": words, "tags": tags})
    return list(found.values())


def spanned(rows: int, seed: int = 0, *, longest: int = 24) -> list[dict[str, Any]]:
    """Return the same as texts with spans."""
    return [with_spans(row) for row in tagged(rows, seed, longest=longest)]


def with_spans(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row of words and tags as a text with spans."""
    spans, start = [], 0
    for word, tag in zip(row["words"], row["tags"], strict=True):
        if tag != "O":
            spans.append({"start": start, "end": start + len(word), "label": tag[2:]})
        start += len(word) + 1
    return {"text": " ".join(row["words"]), "spans": spans}


def related(rows: int, seed: int = 0) -> list[dict[str, Any]]:
    """Return texts with two marked words, and whether they are of one kind, which of them is praised, or neither."""
    draw = random.Random(seed)
    found: dict[str, dict[str, Any]] = {}
    while len(found) < rows:
        words = draw.choices(FILLER, k=draw.randint(6, 20))
        one, two = sorted(draw.sample(range(len(words)), 2))
        words[one], words[two] = draw.choice([*GOOD, *BAD]), draw.choice([*GOOD, *BAD])
        places = [one, two] if draw.random() < 0.5 else [two, one]
        spans = []
        for place in places:
            start = len(" ".join(words[:place])) + (1 if place else 0)
            spans.append({"start": start, "end": start + len(words[place]), "label": "word"})
        kinds = [LABELS[words[place]] for place in places]
        label = "none" if kinds[0] == kinds[1] else f"{kinds[0]}-first".lower()
        found.setdefault(" ".join(words), {"text": " ".join(words), "head": spans[0], "tail": spans[1], "label": label})
    return list(found.values())


def asked(rows: int, seed: int = 0, *, longest: int = 24) -> list[dict[str, Any]]:
    """Return questions after the good or the bad word of a context; a third of the contexts lack it."""
    draw = random.Random(seed)
    found: dict[tuple[str, str], dict[str, Any]] = {}
    while len(found) < rows:
        words = draw.choices(FILLER, k=draw.randint(4, longest))
        kind = draw.choice(("good", "bad"))
        answer = draw.choice(GOOD[1:] if kind == "good" else BAD[1:])
        other = draw.choice(BAD[1:] if kind == "good" else GOOD[1:])
        words.insert(draw.randrange(len(words)), other)
        answerable = draw.random() > 0.33
        if answerable:
            words.insert(draw.randrange(len(words)), answer)
        row = {"question": f"the {kind} word", "context": " ".join(words), "answers": [answer] if answerable else None}
        found.setdefault((row["question"], row["context"]), row)
    return list(found.values())


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """Write rows as JSON Lines."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def _project(folder: Path, name: str, task: str, model: str, columns: str, rows: Sequence[dict[str, Any]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    write_rows(folder / f"{name}.jsonl", rows)
    path = folder / f"{name}.yaml"
    path.write_text(
        f"version: 1\nname: {name}\ntask: {task}\nmodel: {model}\n"
        f"data:\n  train: {name}.jsonl\n  columns: {columns}\n{TRAIN}",
        encoding="utf-8",
    )
    return path


def entity_project(folder: Path, model: Path, *, rows: int = 200) -> Path:
    """Write texts with spans and a project file for them; return the project file."""
    task = "{token-classification: {stride: 8}}"
    return _project(
        folder, "entities", task, f"{{id: {model}, max_length: 24}}", "{text: text, spans: spans}", spanned(rows)
    )


def word_project(folder: Path, model: Path, *, rows: int = 200) -> Path:
    """Write words with tags and a project file for them; return the project file."""
    task = "{token-classification: {stride: 8, tagging: bioes, input: words}}"
    model_text = f"{{id: {model}, max_length: 24}}"
    return _project(folder, "words", task, model_text, "{text: words, spans: tags}", tagged(rows))


def relation_project(folder: Path, model: Path, *, rows: int = 240) -> Path:
    """Write texts with two marked words and a project file for them; return the project file."""
    columns = "{text: text, head: head, tail: tail, label: label}"
    return _project(
        folder,
        "relations",
        "{relation-extraction: {none: none}}",
        f"{{id: {model}, max_length: 56}}",
        columns,
        related(rows),
    )


def answer_project(folder: Path, model: Path, *, rows: int = 240) -> Path:
    """Write questions with contexts and a project file for them; return the project file."""
    task = "{question-answering: {stride: 8, max_answer_tokens: 4, best: 3}}"
    columns = "{question: question, context: context, answers: answers}"
    return _project(folder, "answers", task, f"{{id: {model}, max_length: 32}}", columns, asked(rows))
