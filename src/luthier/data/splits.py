"""Which rows train, which validate, which test: a pure function of each row's own text.

A row's place is the sha256 of the seed and its NFC-normalised input columns (or of its group column), read as a number
in [0, 1): below `test` it is tested, below `test + validation` validated, else trained. So equal texts never straddle,
adding rows moves none, and the order of the file does not matter.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

TRAIN, VALIDATION, TEST, DROPPED = 0, 1, 2, -1
NAMES = {TRAIN: "train", VALIDATION: "validation", TEST: "test"}
SEPARATOR = b"\x1f"


def row_key(seed: int, values: Sequence[Any]) -> int:
    """Return the first 64 bits of the sha256 of a seed and some cells."""
    digest = hashlib.sha256(str(seed).encode())
    for value in values:
        digest.update(SEPARATOR)
        digest.update(unicodedata.normalize("NFC", "" if value is None else str(value)).encode())
    return int.from_bytes(digest.digest()[:8], "big")


def assign(
    keys: NDArray[np.uint64],
    *,
    test: float,
    validation: float,
    stratify: NDArray[np.int64] | None = None,
) -> NDArray[np.int8]:
    """Assign each row to a split.

    Args:
        keys: (N,) from `row_key`.
        test: share of the rows to test on, in [0, 1).
        validation: share of the rows to validate on.
        stratify: (N,) class of each row, or None. With it the lowest keys of each class are taken, which keeps the
            shares
            exact in every class but lets added rows move others.

    Returns:
        (N,) of TRAIN, VALIDATION, TEST.
    """
    if stratify is not None:
        return _stratified(keys, test=test, validation=validation, classes=stratify)
    position = keys / np.float64(2**64)
    split = np.full(len(keys), TRAIN, dtype=np.int8)
    split[position < test + validation] = VALIDATION
    split[position < test] = TEST
    return split


def _stratified(
    keys: NDArray[np.uint64], *, test: float, validation: float, classes: NDArray[np.int64]
) -> NDArray[np.int8]:
    split = np.full(len(keys), TRAIN, dtype=np.int8)
    for value in np.unique(classes):
        unique = np.unique(keys[classes == value])  # sorted; equal texts count once, so they never straddle
        n_test, n_both = round(len(unique) * test), round(len(unique) * (test + validation))
        member = classes == value
        split[member & np.isin(keys, unique[:n_both])] = VALIDATION
        split[member & np.isin(keys, unique[:n_test])] = TEST
    return split


@dataclass(frozen=True)
class Conflicts:
    """Rows whose inputs are equal but whose targets differ: `rows` of them, over `texts` distinct inputs."""

    rows: NDArray[np.int64]
    texts: int


def find_conflicts(keys: NDArray[np.uint64], targets: NDArray[np.int64]) -> Conflicts:
    """Find rows with equal inputs and different targets.

    Args:
        keys: (N,) of the input columns (not of the group).
        targets: (N,) class numbers.
    """
    _, group = np.unique(keys, return_inverse=True)
    if len(group) == 0:
        return Conflicts(np.empty(0, np.int64), 0)
    low = np.full(group.max() + 1, np.iinfo(np.int64).max)
    high = np.full(group.max() + 1, np.iinfo(np.int64).min)
    np.minimum.at(low, group, targets)
    np.maximum.at(high, group, targets)
    differs = low != high
    return Conflicts(np.flatnonzero(differs[group]).astype(np.int64), int(differs.sum()))
