"""Text to token ids, with the `tokenizers` library alone, so that prediction needs neither torch nor Transformers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier.errors import ModelError


@dataclass(frozen=True)
class Encoded:
    """A text as token ids.

    Attributes:
        ids: (T,) token ids, special ones included, at most the length limit.
        full_length: tokens that the text has without the limit, special ones included.
        unknown: how many of `ids` are the unknown token.
        types: (T,) token types: 0 in the first text of a pair, 1 in the second; some tokenizers have more.
    """

    ids: NDArray[np.int32]
    full_length: int
    unknown: int
    types: NDArray[np.int32]


@dataclass(frozen=True)
class Window:
    """A part of a text, or of a pair whose first text is whole in every part.

    Attributes:
        ids: (T,) token ids, special ones included.
        types: (T,) token types.
        spans: (T, 2) start and end of each token in the text that is cut (the second one of a pair), in characters; in
            a text of words, in characters of the token's word. (-1, -1) for any other token.
        words: (T,) number of each token's word, where the text came as words; -1 for any other token.
        full_length: tokens that the whole text has, special ones included.
        unknown: how many of `ids` are the unknown token.
    """

    ids: NDArray[np.int32]
    types: NDArray[np.int32]
    spans: NDArray[np.int32]
    words: NDArray[np.int32]
    full_length: int
    unknown: int


class TextEncoder:
    """Encodes texts with a folder's `tokenizer.json`.

    Args:
        folder: holds `tokenizer.json`, and `tokenizer_config.json` that names the padding token.
        max_length: longest sequence in tokens, special ones included.
        truncation_side: which end of a longer text is cut off: `right` or `left`.

    Raises:
        ModelError: there is no readable `tokenizer.json`.
    """

    def __init__(self, folder: Path, *, max_length: int, truncation_side: str = "right") -> None:
        from tokenizers import Tokenizer

        path = folder / "tokenizer.json"
        self.folder = folder
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises a bare Exception for every cause
            raise ModelError(f"cannot be read as a tokenizer: {error}.", where=str(path)) from None
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_length, direction=truncation_side)
        self.max_length = max_length
        self.truncation_side = truncation_side
        self.special_tokens = int(self._tokenizer.num_special_tokens_to_add(False))
        self.pair_special_tokens = int(self._tokenizer.num_special_tokens_to_add(True))
        self._numbers: dict[str, int | None] = {}
        self.pad_id = self.token_id("pad_token") or 0
        self.pad_type_id = _pad_type_id(folder)
        self.unknown_id = self.token_id("unk_token")
        self.end_id = self.token_id("eos_token")

    def encode(self, texts: Sequence[str] | Sequence[tuple[str, str]]) -> list[Encoded]:
        """Encode texts, or pairs of texts, in their order; of a pair that is too long the longer text is cut first."""
        encoded = self._tokenizer.encode_batch(list(texts))
        return [self._encoded(item, text) for item, text in zip(encoded, texts, strict=True)]

    @cached_property
    def single_types(self) -> bool:
        """Whether this tokenizer gives a single text other token types than 0."""
        return any(self._tokenizer.encode("a").type_ids)

    def windows(
        self, texts: Sequence[Any], *, stride: int, firsts: Sequence[str] | None = None, words: bool = False
    ) -> list[list[Window]]:
        """Return each text in overlapping parts within the length limit; nothing of it is lost.

        Args:
            texts: that are cut; with `words` each is a list of words.
            stride: tokens that two neighbours share; less than what the limit leaves for the text.
            firsts: texts that stand whole before each part, or None.
            words: whether texts come as words.

        Raises:
            ModelError: a first text leaves no room for its second one.
        """
        tokenizer = self._striding(stride, firsts is not None)
        given = list(texts) if firsts is None else list(zip(firsts, texts, strict=True))
        try:
            encoded = tokenizer.encode_batch(given, is_pretokenized=words)
        except Exception as error:  # the library raises a bare Exception where the first text alone is too long
            raise ModelError(
                f"cannot cut texts to {self.max_length} tokens with a stride of {stride}: {error}.",
                fix="Raise model.max_length, lower the stride, or shorten the first texts.",
            ) from None
        own = 0 if firsts is None else 1
        return [self._cut(item, own, words) for item in encoded]

    def _striding(self, stride: int, pair: bool) -> Any:
        """Return a copy of the tokenizer that cuts into overlapping parts."""
        from tokenizers import Tokenizer

        found = Tokenizer.from_str(self._tokenizer.to_str())
        found.enable_truncation(self.max_length, stride=stride, strategy="only_second" if pair else "longest_first")
        return found

    def _cut(self, item: Any, own: int, words: bool) -> list[Window]:
        parts = [item, *item.overflowing]
        placed = [_placed(part, own, words) for part in parts]
        seen: set[tuple[int, int, int]] = set()
        for _, spans, numbers in placed:
            seen.update(
                (int(word), int(start), int(end))
                for (start, end), word in zip(spans.tolist(), numbers.tolist(), strict=True)
                if start >= 0
            )
        shared = sum(1 for sequence in item.sequence_ids if sequence != own)
        full = shared + len(seen)
        return [
            Window(ids, np.asarray(part.type_ids, np.int32), spans, numbers, full, self._unknown(ids))
            for part, (ids, spans, numbers) in zip(parts, placed, strict=True)
        ]

    def _unknown(self, ids: NDArray[np.int32]) -> int:
        return 0 if self.unknown_id is None else int((ids == self.unknown_id).sum())

    @cached_property
    def _whole(self) -> Any:
        """The tokenizer without a limit."""
        from tokenizers import Tokenizer

        whole = Tokenizer.from_str(self._tokenizer.to_str())
        whole.no_truncation()
        return whole

    def ids(self, texts: Sequence[str], *, special: bool = False) -> list[NDArray[np.int32]]:
        """Return the token ids of texts without a limit.

        Args:
            texts: any number.
            special: whether to add the tokens that this tokenizer puts around a text.
        """
        encoded = self._whole.encode_batch(list(texts), add_special_tokens=special)
        return [np.asarray(item.ids, dtype=np.int32) for item in encoded]

    def shortened(self, text: str, tokens: int, *, side: str | None = None) -> str:
        """Return what is left of a text within some tokens; a character whose tokens do not all fit goes whole.

        Args:
            text: any.
            tokens: that may stay.
            side: which end is cut off; default the truncation side.
        """
        offsets = self._whole.encode(text, add_special_tokens=False).offsets
        if len(offsets) <= tokens:
            return text
        left = (self.truncation_side if side is None else side) == "left"
        place = len(offsets) - tokens if left else tokens  # the first token behind the cut
        while 0 < place < len(offsets) and offsets[place][0] < offsets[place - 1][1]:
            place += 1 if left else -1
        if left:
            return text[offsets[place][0] :] if place < len(offsets) else ""
        return text[: offsets[place - 1][1]] if place > 0 else ""

    def text(self, ids: Sequence[int] | NDArray[np.integer[Any]]) -> str:
        """Return the text of token ids, special tokens left out."""
        return str(self._tokenizer.decode([int(one) for one in ids], skip_special_tokens=True))

    def written(self, ids: Sequence[int] | NDArray[np.integer[Any]]) -> str:
        """Return the text of token ids, special tokens among them: what a person looks at."""
        return str(self._tokenizer.decode([int(one) for one in ids], skip_special_tokens=False))

    def token(self, number: int) -> str:
        """Return the token that has a number."""
        return str(self._tokenizer.id_to_token(number))

    @cached_property
    def chat_template(self) -> str | None:
        """The Jinja template that comes with the tokenizer; None where it has none."""
        path = self.folder / "chat_template.jinja"
        if path.exists():
            return path.read_text(encoding="utf-8")
        path = self.folder / "tokenizer_config.json"
        found = json.loads(path.read_text(encoding="utf-8")).get("chat_template") if path.exists() else None
        return found if isinstance(found, str) else None

    def token_id(self, kind: str) -> int | None:
        """Return a special token's number, such as that of `bos_token`; None where there is none."""
        if kind not in self._numbers:
            self._numbers[kind] = _token_id(self._tokenizer, self.folder, kind)
        return self._numbers[kind]

    def special_token(self, kind: str) -> str:
        """Return a special token's text, such as that of `bos_token`; empty where there is none."""
        number = self.token_id(kind)
        return "" if number is None else self.token(number)

    def _encoded(self, item: Any, text: Any) -> Encoded:
        ids = np.asarray(item.ids, dtype=np.int32)
        full = len(ids)
        if item.overflowing and isinstance(text, str):
            full += sum(len(rest.ids) - self.special_tokens for rest in item.overflowing)
        elif item.overflowing:
            full = len(self._whole.encode(*text).ids)
        return Encoded(ids, full, self._unknown(ids), np.asarray(item.type_ids, dtype=np.int32))


def _placed(part: Any, own: int, words: bool) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """Return ids, spans and word numbers of an encoding's tokens; -1 outside of the text that is cut."""
    inside = np.fromiter((one == own for one in part.sequence_ids), bool, len(part.ids))
    spans = np.asarray(part.offsets, np.int32).reshape(-1, 2)
    spans[~inside] = -1
    numbers = np.full(len(part.ids), -1, np.int32)
    if words:
        found = np.asarray([-1 if one is None else one for one in part.word_ids], np.int32)
        numbers[inside] = found[inside]
    return np.asarray(part.ids, np.int32), spans, numbers


def _pad_type_id(folder: Path) -> int:
    """Return the token type of padding; the model never reads it."""
    path = folder / "tokenizer_config.json"
    found = json.loads(path.read_text(encoding="utf-8")).get("pad_token_type_id") if path.exists() else None
    return found if isinstance(found, int) else 0


def _token_id(tokenizer: Any, folder: Path, kind: str) -> int | None:
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        path = folder / name
        if not path.exists():
            continue
        token = json.loads(path.read_text(encoding="utf-8")).get(kind)
        text = token.get("content") if isinstance(token, dict) else token
        if text is not None and (found := tokenizer.token_to_id(text)) is not None:
            return int(found)
    return None
