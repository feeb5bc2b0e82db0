"""Tiny random encoder-decoders and made-up pairs, for tests of the machinery. They show nothing about quality."""

from __future__ import annotations

import csv
import random
from pathlib import Path
from typing import Any

from tests.tiny import BAD, FILLER, GOOD

SIZES: dict[str, dict[str, Any]] = {
    "t5": {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2, "decoder_start_token_id": 0},
    "bart": {"decoder_start_token_id": 1},
    "marian": {"decoder_start_token_id": 0},
}
BART_LIKE = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "max_position_embeddings": 128,
    "forced_eos_token_id": None,
}


def write_tokenizer(folder: Path, *, start: bool) -> int:
    """Write a tokenizer whose tokens are bytes, and return how many it has; `start` puts a token before a text."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "</s>", "<s>", "<unk>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({token: number for number, token in enumerate([*special, *alphabet])}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in special])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>" if start else "$A </s>", special_tokens=[("<s>", 2), ("</s>", 1)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        model_max_length=128,
    )
    fast.save_pretrained(folder)
    return len(special) + len(alphabet)


def build_writer(folder: Path, *, family: str = "t5", tied: bool = True, spread: float = 1.0) -> Path:
    """Write a random 2-layer encoder-decoder.

    `spread` multiplies its matrices: as they are drawn, answers hardly depend on the text.
    """
    import torch
    from transformers import AutoConfig, AutoModelForSeq2SeqLM

    folder.mkdir(parents=True, exist_ok=True)
    size = write_tokenizer(folder, start=family == "bart")
    own = SIZES[family] if family == "t5" else {**BART_LIKE, **SIZES[family]}
    tokens = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2}
    config = AutoConfig.for_model(family, vocab_size=size, tie_word_embeddings=tied, dropout_rate=0.0, **tokens, **own)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        model = AutoModelForSeq2SeqLM.from_config(config)
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2 and "embed" not in name and "shared" not in name:
                parameter.mul_(spread)
        if not tied:
            model.lm_head.weight = torch.nn.Parameter(torch.randn_like(model.lm_head.weight) * 0.05)
        for name, buffer in model.named_buffers():
            if name == "final_logits_bias":
                buffer.normal_(0.0, 0.1)
    model.save_pretrained(folder)
    return folder


def pairs(rows: int, seed: int = 0) -> list[tuple[str, str]]:
    """Return (text, answer) pairs whose answer is the text's last word in capitals; all texts differ."""
    draw = random.Random(seed)
    found: dict[str, str] = {}
    while len(found) < rows:
        word = draw.choice((*GOOD, *BAD))
        found.setdefault(f"{draw.choice(FILLER)} {draw.choice(FILLER)} {word}", word.upper())
    return list(found.items())


def pair_project(
    folder: Path, model: Path, *, task: str = "translation", rows: int = 120, settings: str = "", extra: str = ""
) -> Path:
    """Write pairs and a project file for them; return the project file."""
    folder.mkdir(parents=True, exist_ok=True)
    source, target = ("source", "target") if task == "translation" else ("document", "summary")
    with (folder / "pairs.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow([source, target, "tongue"])
        writer.writerows((*pair, "Loud") for pair in pairs(rows))
    path = folder / "pairs.yaml"
    path.write_text(
        f"""version: 1
name: tiny-pairs
task: {{{task}: {{max_new_tokens: 12, max_target_length: 16{settings}}}}}
model: {{id: {model}, max_length: 64}}
data:
  train: pairs.csv
train:
  epochs: 3
  learning_rate: 0.003
  batch_tokens: 1024
  precision: fp32
evaluate: {{resamples: 200, answers: 8}}
bundle: {{golden_examples: 4}}
{extra}""",
        encoding="utf-8",
    )
    return path
