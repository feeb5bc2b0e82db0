"""Encoded texts as features: what tasks that read whole texts share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier.data.features import FeatureBlock
from luthier.data.text import Encoded, TextEncoder


def text_block(
    rows: NDArray[np.int64],
    encoded: Sequence[Encoded],
    encoder: TextEncoder,
    scalar: Mapping[str, NDArray[Any]],
    ragged: Mapping[str, Sequence[NDArray[np.int32]]] | None = None,
    *,
    types: bool = False,
) -> FeatureBlock:
    """Return one feature per encoded text.

    Args:
        rows: (N,) group of each, rising.
        encoded: N texts, or pairs.
        encoder: that they came from.
        scalar: further `{field: (N,)}`; `full_length`, that of the row's longest text, and `unknown`, which the check
            reads, are added.
        ragged: further ragged fields.
        types: whether token types are a field, as in `token_fields`.
    """
    number = len(encoded)
    known: dict[str, NDArray[Any]] = {
        "full_length": _longest(rows, np.fromiter((item.full_length for item in encoded), np.int32, number)),
        "unknown": np.fromiter((item.unknown for item in encoded), np.int32, number),
    }
    lists: dict[str, Sequence[NDArray[np.int32]]] = {"input_ids": [item.ids for item in encoded]}
    if types or encoder.single_types:
        lists["token_type_ids"] = [item.types for item in encoded]
    return FeatureBlock(
        group=rows,
        cost={"encoder_tokens": np.fromiter((len(item.ids) for item in encoded), np.int64, number)},
        ragged={**lists, **(ragged or {})},
        scalar={**known, **scalar},
    )


def _longest(rows: NDArray[np.int64], lengths: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return for each feature the largest of its row's lengths."""
    if not len(rows):
        return lengths
    first = np.flatnonzero(np.diff(rows, prepend=rows[0] - 1))
    sizes = np.diff(first, append=len(rows))
    found: NDArray[np.int32] = np.repeat(np.maximum.reduceat(lengths, first), sizes)
    return found
