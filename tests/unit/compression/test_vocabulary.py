"""Smaller vocabularies: tokenizers of each kind, trained here on a few lines, and tiny random models."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tests.contracts.test_families import batch
from tests.unit.models.test_tuning import task_model
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from luthier.compression.search.vocabulary import (
    LETTERS,
    LEVELS,
    TOKENS,
    kept_tokens,
    refusal,
    with_tokens,
    write_tokenizer,
)
from luthier.data.text import TextEncoder

SPECIAL = ["<pad>", "<unk>", "<s>", "</s>"]
ENGLISH = ["the fine film was warm", "a fine story with a warm end", "filming the storyline"]
CHINESE = ["这部电影很好看", "故事很温暖", "电影的故事"]
GREEK = ["η ταινία ήταν καλή", "μια καλή ιστορία"]
SEEN = ENGLISH[:2]
UNSEEN = ["filming warmth in the end", "这部电影", "καλή ταινία", "wax"]

Trained = tuple[Tokenizer, trainers.Trainer]


def word_pieces() -> Trained:
    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer, trainers.WordPieceTrainer(vocab_size=200, special_tokens=SPECIAL, show_progress=False)


def bytes_in_pairs() -> Trained:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    return tokenizer, trainers.BpeTrainer(
        vocab_size=400, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )


def pairs() -> Trained:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    return tokenizer, trainers.BpeTrainer(vocab_size=200, special_tokens=SPECIAL, show_progress=False)


def unigram() -> Trained:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    return tokenizer, trainers.UnigramTrainer(
        vocab_size=120, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False
    )


KINDS: dict[str, Callable[[], Trained]] = {one.__name__: one for one in (word_pieces, bytes_in_pairs, pairs, unigram)}
AROUND: dict[str, Any] = {
    "template": processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 2), ("</s>", 3)]),
    "bert": processors.BertProcessing(("</s>", 3), ("<s>", 2)),
    "sequence": processors.Sequence([processors.RobertaProcessing(("</s>", 3), ("<s>", 2), trim_offsets=False)]),
}


def written(folder: Path, tokenizer: Tokenizer) -> Path:
    """Write a plain folder's tokenizer."""
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {"pad_token": "<pad>", "unk_token": "<unk>", "eos_token": "</s>"}
    decoder = {str(number): {"content": token} for number, token in enumerate(SPECIAL)}
    (folder / "tokenizer_config.json").write_text(json.dumps({**names, "added_tokens_decoder": decoder}))
    size = tokenizer.get_vocab_size()
    config = {"pad_token_id": 0, "eos_token_id": [3], "bos_token_id": None, "vocab_size": size, "hidden_size": 8}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "vocab.txt").write_text("of another reader")
    return folder


def ids(encoder: TextEncoder, texts: list[str]) -> list[list[int]]:
    return [one.ids.tolist() for one in encoder.encode(texts)]


def seen(folder: Path, texts: list[str]) -> NDArray[np.int64]:
    return np.unique([0, *(number for row in ids(TextEncoder(folder, max_length=64), texts) for number in row)])


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("kind", KINDS)
def test_seen_texts_are_cut_as_before_and_no_text_becomes_unknown(
    kind: str, level: str, around: str, tmp_path: Path
) -> None:
    tokenizer, trainer = KINDS[kind]()
    tokenizer.train_from_iterator(ENGLISH * 8 + CHINESE * 8 + GREEK * 8, trainer)
    tokenizer.post_processor = AROUND[around]
    folder = written(tmp_path / "model", tokenizer)
    whole = TextEncoder(folder, max_length=64)
    before = {text: whole.encode([text])[0] for text in SEEN + UNSEEN}
    kept = kept_tokens(folder, seen(folder, SEEN), level)
    write_tokenizer(folder, kept)
    small = TextEncoder(folder, max_length=64)
    assert len(kept) < 0.95 * tokenizer.get_vocab_size()
    for text in SEEN:
        assert kept[ids(small, [text])[0]].tolist() == before[text].ids.tolist(), text
    for text in UNSEEN:
        found = small.encode([text])[0]
        assert found.unknown == before[text].unknown, text
        if kind == "bytes_in_pairs":
            assert small.text(found.ids) == text
    config = json.loads((folder / "config.json").read_text())
    assert config == {
        **config,
        "vocab_size": len(kept),
        "pad_token_id": 0,
        "eos_token_id": [3],
        "bos_token_id": None,
    }
    assert not (folder / "vocab.txt").exists()


def test_letters_keep_more_than_tokens(tmp_path: Path) -> None:
    tokenizer, trainer = word_pieces()
    tokenizer.train_from_iterator(ENGLISH * 8 + GREEK * 8, trainer)
    folder = written(tmp_path / "model", tokenizer)
    found = {level: set(kept_tokens(folder, seen(folder, SEEN), level).tolist()) for level in LEVELS}
    assert found[TOKENS] < found[LETTERS]
    names = {token for token, number in tokenizer.get_vocab().items() if number in found[LETTERS]}
    assert "storyline" in names  # never seen, of letters that were
    assert not any("λή" in name for name in names)
    assert "λ" in names  # single letters stay


def test_every_way_to_merge_a_kept_token_stays(tmp_path: Path) -> None:
    vocabulary = {token: number for number, token in enumerate([*SPECIAL, "a", "b", "c", "ab", "bc", "abc", "ca"])}
    tokenizer = Tokenizer(models.BPE(vocabulary, [("b", "c"), ("a", "b"), ("a", "bc"), ("ab", "c"), ("c", "a")]))
    tokenizer.add_special_tokens(SPECIAL)
    folder = written(tmp_path / "model", tokenizer)
    kept = kept_tokens(folder, np.asarray([vocabulary["abc"]]), TOKENS)
    assert sorted(set(vocabulary) - {token for token, number in vocabulary.items() if number in kept}) == ["ca"]
    write_tokenizer(folder, kept)
    merges = json.loads((folder / "tokenizer.json").read_text())["model"]["merges"]
    assert [tuple(one) for one in merges] == [("b", "c"), ("a", "b"), ("a", "bc"), ("ab", "c")]


@pytest.mark.parametrize("pad", [0, 3, 40])
def test_low_padding_keeps_its_number(pad: int, tmp_path: Path) -> None:
    vocabulary = {f"w{number}": number for number in range(50)} | {"<unk>": 50}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="<unk>"))
    tokenizer.add_special_tokens([f"w{pad}"])
    folder = written(tmp_path / "model", tokenizer)
    config = {"pad_token_id": pad, "vocab_size": 51}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer_config.json").write_text(json.dumps({"pad_token": f"w{pad}"}))
    kept = kept_tokens(folder, np.asarray([45]), TOKENS)
    write_tokenizer(folder, kept)
    now = json.loads((folder / "config.json").read_text())["pad_token_id"]
    assert kept[now] == pad
    assert TextEncoder(folder, max_length=8).pad_id == now
    assert now == (pad if pad < 16 else 0)


@pytest.mark.parametrize("model_type", ["bert", "distilbert", "electra", "gpt2", "llama", "roberta"])
def test_the_model_answers_kept_tokens_as_before(model_type: str) -> None:
    model = task_model(model_type).eval()
    given = batch()
    kept = np.unique(np.concatenate([given["input_ids"].numpy().ravel(), np.arange(4)]))
    small = with_tokens(model, kept)
    mapped = torch.from_numpy(np.searchsorted(kept, given["input_ids"].numpy()))
    with torch.no_grad():
        expected, found = model(given)["logits"], small({**given, "input_ids": mapped})["logits"]
    assert torch.equal(expected, found)
    assert sum(one.numel() for one in small.parameters()) < sum(one.numel() for one in model.parameters())


def test_refusals_name_what_is_in_the_way(tmp_path: Path) -> None:
    model = task_model("bert").eval()
    tokenizer, trainer = word_pieces()
    tokenizer.train_from_iterator(ENGLISH, trainer)
    folder = written(tmp_path / "pieces", tokenizer)
    assert refusal(model, folder) is None
    tied = copy.deepcopy(model)
    backbone: Any = tied.backbone
    tied.heads["vocabulary"] = torch.nn.Linear(4, backbone.get_input_embeddings().num_embeddings)
    assert "a row for each token" in str(refusal(tied, folder))
    words = written(tmp_path / "words", Tokenizer(models.WordLevel({"a": 0, "<unk>": 1}, unk_token="<unk>")))
    assert "WordLevel" in str(refusal(model, words))
