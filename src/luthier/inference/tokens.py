"""What makes text token by token, and the tokens that it makes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.integer[Any]]


class Generator(Protocol):
    """Runs a language model token by token. What it remembers of a batch is its own affair."""

    def prefill(self, prompts: Sequence[Ids]) -> tuple[NDArray[np.float32], Any]:
        """Read prompts; return the next token's logits (B, V) and what is remembered."""

    def step(self, state: Any, tokens: Ids) -> tuple[NDArray[np.float32], Any]:
        """Read one more token per row, (B,); return the next token's logits (B, V) and what is remembered."""

    def keep(self, state: Any, rows: NDArray[np.int64]) -> Any:
        """Return what is remembered of some rows of the batch, in this order; a row may come several times."""


@dataclass(frozen=True)
class Token:
    """One token of an answer.

    Attributes:
        id: its number.
        logprob: of it, before temperature.
        last: whether the answer is complete.
        ended: whether it is the end token.
    """

    id: int
    logprob: float
    last: bool
    ended: bool
