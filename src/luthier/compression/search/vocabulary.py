"""A smaller vocabulary: the tokens that the training rows need, and the embedding table and tokenizer cut to them.

A text of tokens that are kept is cut as before. A word whose token went is cut into smaller ones; single characters and
bytes all stay, so that no text becomes unknown.

Reference: Abdaoui et al. 2020, Load What You Need: Smaller Versions of Multilingual BERT. Deviation: tokens stay for
being seen at all, not for their frequency, and for their letters or for themselves.

Covered: word pieces, byte-pair encoding and unigram, in models whose one table of embeddings is all that has a row per
token.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from luthier.artifacts.files import read_json, write_bytes_atomic, write_json_atomic
from luthier.models.assembly import TaskModel

LETTERS, TOKENS = "seen letters", "seen tokens"
LEVELS = (LETTERS, TOKENS)
"""What of the training rows a token must consist of, to stay: their letters, or their tokens."""
WORTH = 0.1
"""The share of the tokens that must go, at least, for a try."""
KINDS = ("BPE", "Unigram", "WordPiece")
LOW = 16
"""A padding token with a smaller number keeps it: some families count positions from there."""

_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
_OTHER_FILES = ("merges.txt", "vocab.json", "vocab.txt", "*.model")
"""A tokenizer's files beside `tokenizer.json`; Luthier reads none of them."""


def refusal(model: TaskModel, folder: Path) -> str | None:
    """Return why a vocabulary must stay as it is; None where it may be smaller.

    Args:
        model: that reads it.
        folder: holds `tokenizer.json`.
    """
    kind = read_json(folder / "tokenizer.json")["model"]["type"]
    if kind not in KINDS:
        return f"a tokenizer of kind {kind} is not known ({', '.join(KINDS)})"
    backbone: Any = model.backbone
    table = backbone.get_input_embeddings()
    if type(table) is not nn.Embedding:
        return "the embeddings are no plain table"
    rows = table.num_embeddings
    if any(one is not table.weight and rows in one.shape for one in model.state_dict(keep_vars=True).values()):
        return "more than the table of embeddings has a row for each token"
    return None


def kept_tokens(folder: Path, seen: NDArray[np.int64], level: str) -> NDArray[np.int64]:
    """Return the numbers of the tokens that stay, rising.

    Args:
        folder: holds `tokenizer.json` and `config.json`.
        seen: numbers of the tokens in the training rows.
        level: one of `LEVELS`.
    """
    tokenizer = read_json(folder / "tokenizer.json")
    model = tokenizer["model"]
    names = _names(tokenizer)
    added = {int(one["id"]) for one in tokenizer["added_tokens"]}
    prefix = model.get("continuing_subword_prefix") or ""
    plain = {number: name.removeprefix(prefix) for number, name in names.items() if number not in added}
    kept = {number for number, name in plain.items() if len(name) == 1 or _BYTE.fullmatch(name)}
    kept |= added | _named(model, names) | (set(seen.tolist()) & names.keys())
    if level == LETTERS:
        letters = {letter for number in kept & set(seen.tolist()) for letter in plain.get(number, "")}
        kept |= {number for number, name in plain.items() if letters.issuperset(name)}
    if model["type"] == "BPE":
        kept |= _parts(model, kept, names)
    pad = read_json(folder / "config.json").get("pad_token_id")
    if isinstance(pad, int) and pad < LOW:
        kept |= set(range(pad + 1)) & names.keys()
    return np.asarray(sorted(kept), dtype=np.int64)


def write_tokenizer(folder: Path, kept: NDArray[np.int64]) -> None:
    """Cut the tokenizer of a plain Transformers folder, in place; tokens are numbered anew in their order.

    Args:
        folder: holds `tokenizer.json`, `tokenizer_config.json` and `config.json`.
        kept: numbers of the tokens that stay, rising.
    """
    new = {int(old): number for number, old in enumerate(kept)}
    path = folder / "tokenizer.json"
    tokenizer = read_json(path)
    model = tokenizer["model"]
    model["vocab"] = _cut(model["vocab"], new)
    if "merges" in model:
        model["merges"] = [
            one for one in model["merges"] if {*_pair(one), "".join(_pair(one))} <= model["vocab"].keys()
        ]
    if model.get("unk_id") is not None:
        model["unk_id"] = new[model["unk_id"]]
    for one in tokenizer["added_tokens"]:
        one["id"] = new[one["id"]]
    if tokenizer.get("padding"):
        tokenizer["padding"]["pad_id"] = new[tokenizer["padding"]["pad_id"]]
    _renumber_step(tokenizer.get("post_processor"), new)
    write_bytes_atomic(path, json.dumps(tokenizer, ensure_ascii=False, separators=(",", ":")).encode())
    _renumber_settings(folder, new)
    for pattern in _OTHER_FILES:
        for other in folder.glob(pattern):
            other.unlink()


def with_tokens(model: TaskModel, kept: NDArray[np.int64]) -> TaskModel:
    """Return a copy of a model whose table of embeddings has the rows of some tokens, in their order.

    Args:
        model: that `refusal` does not refuse.
        kept: numbers of the tokens.
    """
    student = copy.deepcopy(model)
    backbone: Any = student.backbone
    old = backbone.get_input_embeddings()
    table = nn.Embedding(len(kept), old.embedding_dim, device="meta")
    table.weight = nn.Parameter(old.weight.detach()[torch.from_numpy(kept)].clone())
    if old.padding_idx is not None and old.padding_idx in kept:
        table.padding_idx = int(np.searchsorted(kept, old.padding_idx))
    backbone.set_input_embeddings(table)
    backbone.config.vocab_size = len(kept)
    return student


def _names(tokenizer: Mapping[str, Any]) -> dict[int, str]:
    """Return every token by its number."""
    vocabulary = tokenizer["model"]["vocab"]
    pairs: Iterable[tuple[int, str]]
    if isinstance(vocabulary, list):  # unigram: pieces with their scores
        pairs = ((number, piece) for number, (piece, _) in enumerate(vocabulary))
    else:
        pairs = ((int(number), token) for token, number in vocabulary.items())
    return {**dict(pairs), **{int(one["id"]): one["content"] for one in tokenizer["added_tokens"]}}


def _named(model: Mapping[str, Any], names: Mapping[int, str]) -> set[int]:
    """Return the number of the token for what is unknown."""
    unknown = model.get("unk_id")
    return {number for number, name in names.items() if number == unknown or name == model.get("unk_token")}


def _parts(model: Mapping[str, Any], kept: set[int], names: Mapping[int, str]) -> set[int]:
    """Return the numbers of all tokens that some tokens are merged of, step by step."""
    made_of: dict[str, list[str]] = {}
    for one in model["merges"]:
        made_of.setdefault("".join(_pair(one)), []).extend(_pair(one))
    found: set[str] = set()
    open_ends = [names[number] for number in kept]
    while open_ends:
        token = open_ends.pop()
        if token not in found:
            found.add(token)
            open_ends.extend(made_of.get(token, ()))
    return {int(model["vocab"][token]) for token in found if token in model["vocab"]}


def _pair(merge: str | Sequence[str]) -> Sequence[str]:
    return merge.split(" ") if isinstance(merge, str) else merge


def _cut(vocabulary: Any, new: Mapping[int, int]) -> Any:
    if isinstance(vocabulary, list):
        return [piece for number, piece in enumerate(vocabulary) if number in new]
    return {token: new[number] for token, number in vocabulary.items() if number in new}


def _renumber_step(step: dict[str, Any] | None, new: Mapping[int, int]) -> None:
    """Give the tokens that a tokenizer puts around a text their new numbers, in place."""
    if step is None:
        return
    for part in step.get("processors", ()):
        _renumber_step(part, new)
    for key in ("sep", "cls"):
        if key in step:
            step[key] = [step[key][0], new[step[key][1]]]
    for one in step.get("special_tokens", {}).values():
        one["ids"] = [new[number] for number in one["ids"]]


def _renumber_settings(folder: Path, new: Mapping[int, int]) -> None:
    path = folder / "tokenizer_config.json"
    if path.exists():
        settings = read_json(path)
        if "added_tokens_decoder" in settings:
            decoder = settings["added_tokens_decoder"].items()
            settings["added_tokens_decoder"] = {str(new[int(old)]): one for old, one in decoder if int(old) in new}
        write_json_atomic(path, settings)
    path = folder / "config.json"
    config = read_json(path)
    for key, value in config.items():
        if key.endswith("_token_id") and isinstance(value, int):
            config[key] = new.get(value)
        elif key.endswith("_token_id") and isinstance(value, list):
            config[key] = [new[one] for one in value if one in new]
    write_json_atomic(path, {**config, "vocab_size": len(new)})
