"""Text to token ids, with the `tokenizers` library alone, so that prediction needs neither torch nor Transformers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
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

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """Encode texts, in their order."""
        return [self._encoded(item) for item in self._tokenizer.encode_batch(list(texts))]

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
