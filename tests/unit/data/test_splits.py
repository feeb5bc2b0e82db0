"""Splits by hash."""

from __future__ import annotations

import hashlib
import unicodedata

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.data.splits import TEST, TRAIN, VALIDATION, assign, find_conflicts, row_key


def keys(texts: list[str], seed: int = 13) -> np.ndarray:
    return np.array([row_key(seed, [text]) for text in texts], dtype=np.uint64)


TEXTS = [f"text number {i}" for i in range(5000)]


def test_the_key_is_the_documented_hash() -> None:
    digest = hashlib.sha256(b"13\x1f" + "é".encode()).digest()
    assert row_key(13, ["e\u0301"]) == int.from_bytes(digest[:8], "big")
    assert unicodedata.normalize("NFC", "e\u0301") == "é"


def test_shares_are_about_right() -> None:
    split = assign(keys(TEXTS), test=0.2, validation=0.1)
    assert abs(np.mean(split == TEST) - 0.2) < 0.02
    assert abs(np.mean(split == VALIDATION) - 0.1) < 0.02


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=40), st.lists(st.text(max_size=5), max_size=20))
def test_equal_texts_never_straddle_and_added_rows_move_none(texts: list[str], added: list[str]) -> None:
    before = assign(keys(texts), test=0.3, validation=0.2)
    after = assign(keys([*added, *texts]), test=0.3, validation=0.2)
    assert np.array_equal(before, after[len(added) :])
    by_text: dict[str, set[int]] = {}
    for text, part in zip([*added, *texts], after.tolist(), strict=True):
        by_text.setdefault(unicodedata.normalize("NFC", text), set()).add(part)
    assert all(len(parts) == 1 for parts in by_text.values())


def test_another_seed_is_another_split() -> None:
    a, b = (assign(keys(TEXTS, seed), test=0.5, validation=0.0) for seed in (1, 2))
    assert 0.3 < np.mean(a == b) < 0.7


def test_stratified_keeps_shares_in_every_class() -> None:
    classes = np.array([0] * 4900 + [1] * 100)
    split = assign(keys(TEXTS), test=0.2, validation=0.1, stratify=classes)
    assert (split[classes == 1] == TEST).sum() == 20
    assert (split[classes == 1] == VALIDATION).sum() == 10
    assert (split[classes == 0] == TEST).sum() == 980
    assert set(np.unique(split)) == {TRAIN, VALIDATION, TEST}


def test_conflicts_are_equal_inputs_with_different_targets() -> None:
    found = find_conflicts(keys(["a", "b", "a", "c", "b"]), np.array([0, 1, 1, 0, 1]))
    assert found.rows.tolist() == [0, 2]
    assert found.texts == 1
