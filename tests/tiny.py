"""A tiny random BERT and tiny made-up data, for tests of the machinery. They show nothing about quality."""

from __future__ import annotations

import csv
import random
from collections.abc import Sequence
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


def build_model(
    folder: Path, *, positions: int = 64, hidden: int = 32, dropout: float = 0.1, unused: Sequence[str] = ()
) -> Path:
    """Write a random 2-layer BERT encoder with a word-piece tokenizer; `unused` are words that no row has."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, BertTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *GOOD, *BAD, *FILLER]
    pieces = [*LETTERS, *(f"##{letter}" for letter in LETTERS)]
    vocabulary = {word: number for number, word in enumerate(dict.fromkeys([*words, *unused, *pieces]))}
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


CHAT = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<start>system\nBe brief.<end>\n' }}{% endif %}"
    "{{ '<start>' + message['role'] + '\n' + message['content'] + '<end>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start>assistant\n' }}{% endif %}"
)


def build_decoder(
    folder: Path,
    *,
    family: str = "llama",
    tied: bool = True,
    template: str | None = CHAT,
    merges: Sequence[tuple[str, str]] = (),
) -> Path:
    """Write a random 2-layer decoder whose tokens are bytes, and merged ones, and whose pad token is its end token."""
    import torch
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = ["<start>", "<end>", *alphabet, *("".join(pair) for pair in merges)]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocabulary, list(merges)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken("<start>", special=True), AddedToken("<end>", special=True)])
    folder.mkdir(parents=True, exist_ok=True)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<start>", eos_token="<end>", pad_token="<end>", model_max_length=256
    )
    fast.chat_template = template
    fast.save_pretrained(folder)
    sizes = {
        "llama": {"num_key_value_heads": 1, "intermediate_size": 48},
        "qwen2": {"num_key_value_heads": 1, "intermediate_size": 48},
        "gpt2": {"embd_pdrop": 0.0, "attn_pdrop": 0.0, "resid_pdrop": 0.0},
    }
    config = AutoConfig.for_model(
        family,
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=256,
        tie_word_embeddings=tied,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
        **sizes[family],
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


def questions(rows: int, seed: int = 0) -> list[tuple[str, str]]:
    """Return (question, answer) pairs: the answer repeats the question's word; all questions differ."""
    draw = random.Random(seed)
    found: dict[str, str] = {}
    while len(found) < rows:
        word = draw.choice((*GOOD, *BAD))
        found.setdefault(f"{draw.choice(FILLER)} {draw.choice(FILLER)} {word}?", f"{word}!")
    return list(found.items())


def chat_project(folder: Path, model: Path, *, rows: int = 120, extra: str = "") -> Path:
    """Write questions and a project file for them; return the project file."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "chat.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["question", "answer"])
        writer.writerows(questions(rows))
    path = folder / "chat.yaml"
    path.write_text(
        f"""version: 1
name: tiny-chat
task: {{text-generation: {{max_new_tokens: 12}}}}
model: {{id: {model}, max_length: 128}}
data:
  train: chat.csv
  columns: {{prompt: question, completion: answer}}
train:
  epochs: 3
  learning_rate: 0.003
  batch_tokens: 1024
  precision: fp32
evaluate: {{resamples: 200, answers: 6}}
bundle: {{golden_examples: 4}}
{extra}""",
        encoding="utf-8",
    )
    return path
