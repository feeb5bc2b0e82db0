"""Tiny made-up pairs, questions with answers and lists of candidates, for tests of the machinery."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.tiny import BAD, FILLER, GOOD, build_model

WORDS = (*GOOD, *BAD)


def build_spread_model(folder: Path) -> Path:
    """Write the tiny BERT with large word embeddings and a large head, so that its answers differ from text to text."""
    from safetensors.torch import load_file, save_file

    path = build_model(folder) / "model.safetensors"
    tensors = load_file(path)
    tensors["embeddings.word_embeddings.weight"] *= 30
    save_file(tensors, path, metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, "initializer_range": 0.5}), encoding="utf-8")
    return folder


def questions_and_answers(rows: int, seed: int = 0) -> list[tuple[str, str]]:
    """Return (question, answer): both hold the same word of twelve; all questions differ."""
    draw = random.Random(seed)
    found: dict[str, str] = {}
    while len(found) < rows:
        word = draw.choice(WORDS)
        question = f"{' '.join(draw.choices(FILLER, k=draw.randint(1, 6)))} {word}?"
        found.setdefault(question, f"{word} {draw.choice(FILLER)} {draw.choice(FILLER)}.")
    return list(found.items())


def pairs(rows: int, seed: int = 0) -> list[tuple[str, str, str]]:
    """Return (first, second, label): `yes` where the second answers the first."""
    draw = random.Random(seed)
    known = questions_and_answers(rows, seed)
    found = []
    for question, answer in known:
        wrong = [other for _, other in known if other.split()[0] != answer.split()[0]]
        label = draw.choice(("yes", "no"))
        found.append((question, answer if label == "yes" else draw.choice(wrong), label))
    return found


def lists(rows: int, seed: int = 0, candidates: int = 4) -> list[tuple[str, str, str]]:
    """Return (query, passages as a JSON list, the right one's place)."""
    draw = random.Random(seed)
    known = questions_and_answers(rows, seed)
    found = []
    for question, answer in known:
        wrong = sorted({other for _, other in known if other.split()[0] != answer.split()[0]})
        passages = [answer, *draw.sample(wrong, candidates - 1)]
        draw.shuffle(passages)
        found.append((question, json.dumps(passages), str(passages.index(answer))))
    return found


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> Path:
    """Write a CSV."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(header)
        writer.writerows(rows)
    return path


def write_project(folder: Path, model: Path, task: str, columns: str, *, extra: str = "") -> Path:
    """Write a project file over `data.csv`."""
    path = folder / "project.yaml"
    path.write_text(
        f"""version: 1
name: tiny
task: {task}
model: {model}
data:
  train: data.csv
  columns: {columns}
train:
  epochs: 3
  learning_rate: 0.003
  batch_tokens: 512
  precision: fp32
evaluate: {{resamples: 200}}
bundle: {{golden_examples: 4}}
{extra}""",
        encoding="utf-8",
    )
    return path


def pair_project(folder: Path, model: Path, *, extra: str = "") -> Path:
    """Write pairs and a project file for them; return the project file."""
    folder.mkdir(parents=True, exist_ok=True)
    write_table(folder / "data.csv", ("question", "answer", "match"), pairs(240))
    columns = "{first: question, second: answer, label: match}"
    return write_project(folder, model, "text-pair", columns, extra=extra)


def similarity_project(folder: Path, model: Path, *, extra: str = "") -> Path:
    """Write pairs with how alike they are, 5 or 1, and a project file for them; return the project file."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [(first, second, "5" if label == "yes" else "1") for first, second, label in pairs(240)]
    write_table(folder / "data.csv", ("question", "answer", "alike"), rows)
    return write_project(
        folder, model, "text-similarity", "{first: question, second: answer, value: alike}", extra=extra
    )


def embedding_project(folder: Path, model: Path, *, task: str = "embedding", extra: str = "") -> Path:
    """Write questions with answers and a project file for them; return the project file."""
    folder.mkdir(parents=True, exist_ok=True)
    write_table(folder / "data.csv", ("question", "answer"), questions_and_answers(240))
    return write_project(folder, model, task, "{text: question, positive: answer}", extra=extra)


def reranking_project(folder: Path, model: Path, *, loss: str = "listwise", extra: str = "") -> Path:
    """Write lists of candidates and a project file for them; return the project file."""
    folder.mkdir(parents=True, exist_ok=True)
    write_table(folder / "data.csv", ("question", "candidates", "right"), lists(160))
    columns = "{query: question, passages: candidates, relevance: right}"
    return write_project(folder, model, f"{{reranking: {{loss: {loss}}}}}", columns, extra=extra)
