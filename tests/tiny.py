"""A tiny random BERT and tiny made-up data, for tests of the machinery. They show nothing about quality."""

from __future__ import annotations

import csv
import random
from pathlib import Path

GOOD = ("good", "great", "fine", "lovely", "warm", "bright")
BAD = ("bad", "poor", "dull", "cold", "weak", "dreadful")
FILLER = (
    "the",
    "film",
    "is",
    "a",
    "story",
    "of",
    "and",
    "with",
    "cast",
    "plot",
    "very",
    "it",
    "was",
    "an",
    "end",
    "in",
)
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,!?'-"


def build_model(folder: Path, *, positions: int = 64, hidden: int = 32, dropout: float = 0.1) -> Path:
    """Write a random 2-layer BERT encoder with a word-piece tokenizer."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, BertTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *GOOD, *BAD, *FILLER]
    pieces = [*LETTERS, *(f"##{letter}" for letter in LETTERS)]
    vocabulary = {word: number for number, word in enumerate(dict.fromkeys([*words, *pieces]))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    folder.mkdir(parents=True, exist_ok=True)
    BertTokenizerFast(tokenizer_object=tokenizer, model_max_length=positions).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=hidden,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=2 * hidden,
        max_position_embeddings=positions,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertModel(config).save_pretrained(folder)
    return folder


def sentences(rows: int, seed: int = 0) -> list[tuple[str, str]]:
    """Return (text, label) pairs whose label follows from one word; all texts differ."""
    draw = random.Random(seed)
    found: dict[str, str] = {}
    while len(found) < rows:
        label = draw.choice(("negative", "positive"))
        words = draw.choices(FILLER, k=draw.randint(3, 24))
        words.insert(draw.randrange(len(words)), draw.choice(GOOD if label == "positive" else BAD))
        found.setdefault(" ".join(words), label)
    return list(found.items())


def write_csv(path: Path, pairs: list[tuple[str, str]]) -> Path:
    """Write pairs as a CSV with the columns text and label."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["text", "label"])
        writer.writerows(pairs)
    return path


def project(folder: Path, model: Path, *, rows: int = 240, extra: str = "") -> Path:
    """Write data and a project file for them; return the project file."""
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(folder / "data.csv", sentences(rows))
    path = folder / "project.yaml"
    path.write_text(
        f"""version: 1
name: tiny
task: text-classification
model: {model}
data:
  train: data.csv
train:
  epochs: 3
  learning_rate: 0.003
  batch_tokens: 256
  precision: fp32
evaluate:
  resamples: 200
{extra}""",
        encoding="utf-8",
    )
    return path
