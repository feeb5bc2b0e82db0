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
    """

    ids: NDArray[np.int32]
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
        self.pad_id = _token_id(self._tokenizer, folder, "pad_token") or 0
        self.unknown_id = _token_id(self._tokenizer, folder, "unk_token")
        self.end_id = _token_id(self._tokenizer, folder, "eos_token")

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """Encode texts, in their order."""
        return [self._encoded(item) for item in self._tokenizer.encode_batch(list(texts))]

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

    def shortened(self, text: str, tokens: int) -> str:
        """Return what is left of a text within some tokens; the truncation side is cut off."""
        offsets = self._whole.encode(text, add_special_tokens=False).offsets
        if len(offsets) <= tokens:
            return text
        if tokens <= 0:
            return ""
        return text[offsets[-tokens][0] :] if self.truncation_side == "left" else text[: offsets[tokens - 1][1]]

    def text(self, ids: Sequence[int] | NDArray[np.integer[Any]]) -> str:
        """Return the text of token ids, special tokens left out."""
        return str(self._tokenizer.decode([int(one) for one in ids], skip_special_tokens=True))

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

    def special_token(self, kind: str) -> str:
        """Return a special token's text, such as that of `bos_token`; empty where there is none."""
        number = _token_id(self._tokenizer, self.folder, kind)
        return "" if number is None else self.token(number)

    def _encoded(self, item: Any) -> Encoded:
        ids = np.asarray(item.ids, dtype=np.int32)
        full = len(ids) + sum(len(rest.ids) - self.special_tokens for rest in item.overflowing)
        unknown = 0 if self.unknown_id is None else int((ids == self.unknown_id).sum())
        return Encoded(ids, full, unknown)


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
