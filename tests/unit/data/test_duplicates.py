"""Exact and near duplicates against brute force over Python sets, planted copies, and crowds."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.data import duplicates
from luthier.data.duplicates import exact_key, first_of_equals, loose_form, near_duplicates

LETTERS = np.array(list("abcdefghijklmnopqrstuvwxyz     "))
HAN = np.array([chr(point) for point in range(0x4E00, 0x4E00 + 400)])


def random_text(rng: np.random.Generator, length: int, alphabet: np.ndarray = LETTERS) -> str:
    return "".join(rng.choice(alphabet, size=length))


def edited(rng: np.random.Generator, text: str, edits: int, alphabet: np.ndarray = LETTERS) -> str:
    letters = list(text)
    for place in rng.integers(len(letters), size=edits):
        letters[place] = str(rng.choice(alphabet))
    return "".join(letters)


def shingles(text: str) -> set[str]:
    """The definition, in plain Python."""
    form = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return {form[start : start + 5] for start in range(max(1, len(form) - 4))}


def jaccard(one: str, other: str) -> float:
    a, b = shingles(one), shingles(other)
    return len(a & b) / len(a | b)


def planted(alphabet: np.ndarray, length: int, seed: int = 0) -> list[str]:
    """150 originals, each with a copy that has 0 to 7 letters changed."""
    rng = np.random.default_rng(seed)
    originals = [random_text(rng, length, alphabet) for _ in range(150)]
    return originals + [edited(rng, text, place % 8, alphabet) for place, text in enumerate(originals)]


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7, 0.9])
@pytest.mark.parametrize(("alphabet", "length"), [(LETTERS, 150), (HAN, 150)], ids=["latin", "han"])
def test_finds_what_brute_force_finds(alphabet, length, threshold):
    texts = planted(alphabet, length)
    found = near_duplicates(texts, threshold)
    sets, forms = [shingles(text) for text in texts], [loose_form(text) for text in texts]
    expected = {
        (low, high): len(sets[low] & sets[high]) / len(sets[low] | sets[high])
        for low in range(len(texts))
        for high in range(low + 1, len(texts))
        if forms[low] != forms[high]
    }
    expected = {pair: value for pair, value in expected.items() if value >= threshold}
    got = dict(zip(map(tuple, found.pairs.tolist()), found.similarity.tolist(), strict=True))
    assert len(expected) > 10
    assert set(got) <= set(expected)
    assert len(got) >= 0.99 * len(expected)
    assert got == {pair: pytest.approx(expected[pair]) for pair in got}


def test_pairs_have_the_lower_row_first_and_groups_their_lowest_row():
    rng = np.random.default_rng(1)
    base = random_text(rng, 300)
    found = near_duplicates([random_text(rng, 300), base + "!", random_text(rng, 300), base, base + "?"])
    assert found.pairs.tolist() == [[1, 3], [1, 4], [3, 4]]
    assert found.group.tolist() == [0, 1, 2, 1, 1]
    assert [group.tolist() for group in found.groups()] == [[1, 3, 4]]


def test_case_width_and_spacing_do_not_matter():
    found = near_duplicates(["A fine film", "another thing altogether", "a  FINE\tfilm\n", "Ａ fine ｆilm"])
    assert found.group.tolist() == [0, 1, 0, 0]
    assert len(found.pairs) == 0  # one loose form, so there is nothing to compare


def test_short_texts_are_compared_whole():
    found = near_duplicates(["好", "坏", "好", "ok", "no", "", " ", "好看"])
    assert found.group.tolist() == [0, 1, 0, 3, 4, 5, 5, 7]


def test_chinese_sentences():
    texts = [
        "这家酒店的服务非常好,房间干净,位置也很方便,下次还会再来住的。",
        "我昨天买的手机屏幕坏了,客服一直不回复,非常失望,再也不会买了。",
        "这家酒店的服务非常好,房间干净,位置也很方便,下次还会再来住的!",
    ]
    found = near_duplicates(texts, 0.9)
    assert found.pairs.tolist() == [[0, 2]]
    assert found.similarity[0] == pytest.approx(jaccard(texts[0], texts[2]))


def test_only_the_beginning_of_a_long_text_is_compared():
    rng = np.random.default_rng(2)
    opening, one, other = (random_text(rng, 500) for _ in range(3))
    assert len(near_duplicates([opening + one, opening + other]).pairs) == 0
    assert len(near_duplicates([opening + one, opening + other], max_characters=500).groups()) == 1


def test_a_threshold_of_one_wants_equal_sets():
    found = near_duplicates(["abcde" * 10, "abcde" * 20, "abcde" * 10 + "x"], threshold=1.0)
    assert found.pairs.tolist() == [[0, 1]]
    assert found.similarity.tolist() == [1.0]


def test_a_crowd_is_one_group_at_bounded_cost(monkeypatch):
    """1,500 near copies are a million pairs; only some are looked at, and still nobody is left out."""
    rng = np.random.default_rng(3)
    base = random_text(rng, 400)
    texts = [f"{base}{number:04d}" for number in range(1500)] + [random_text(rng, 400) for _ in range(50)]
    looked_at = []
    true_jaccard = duplicates._jaccard
    monkeypatch.setattr(duplicates, "_jaccard", lambda f, p: looked_at.append(len(p)) or true_jaccard(f, p))
    found = near_duplicates(texts)
    assert found.crowds > 0
    assert looked_at[0] < 40 * len(texts)
    assert [len(group) for group in found.groups()] == [1500]
    assert found.group[1500:].tolist() == list(range(1500, 1550))


def test_many_equal_texts_cost_nothing():
    found = near_duplicates(["the same text again and again"] * 50_000)
    assert len(found.pairs) == 0
    assert (found.group == 0).all()


def test_order_of_rows_does_not_change_the_groups():
    texts = planted(LETTERS, 120, seed=4)
    order = np.random.default_rng(5).permutation(len(texts))
    straight = {frozenset(group.tolist()) for group in near_duplicates(texts, 0.7).groups()}
    shuffled = near_duplicates([texts[row] for row in order], 0.7).groups()
    assert straight == {frozenset(order[group].tolist()) for group in shuffled}


def test_work_in_blocks_is_the_work_at_once(monkeypatch):
    texts = planted(LETTERS, 120, seed=6)
    before = near_duplicates(texts, 0.5)
    monkeypatch.setattr(duplicates, "CHARACTERS_AT_ONCE", 500)
    after = near_duplicates(texts, 0.5)
    assert (before.pairs == after.pairs).all()
    assert before.similarity == pytest.approx(after.similarity)


def test_is_the_same_every_time():
    texts = planted(LETTERS, 120, seed=7)
    one, other = near_duplicates(texts), near_duplicates(list(texts))
    assert (one.pairs == other.pairs).all()
    assert (one.group == other.group).all()


@pytest.mark.parametrize("texts", [[], ["alone"], ["", ""], ["\0", "\ud800"]])
def test_very_few_rows(texts):
    found = near_duplicates(texts)
    assert found.pairs.shape == (0, 2)
    assert len(found.group) == len(texts)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=12), max_size=8), st.sampled_from([0.2, 0.5, 0.9, 1.0]))
def test_whatever_is_found_is_true(texts, threshold):
    found = near_duplicates(texts, threshold)
    for (low, high), similarity in zip(found.pairs.tolist(), found.similarity, strict=True):
        assert low < high
        assert similarity >= threshold
        # A form of NULs cannot be told from the padding of a shorter one; nothing else may differ.
        if not any("\0" in text for text in texts):
            assert similarity == pytest.approx(jaccard(texts[low], texts[high]))
    for row, first in enumerate(found.group.tolist()):
        assert first <= row
        assert found.group[first] == first
    for one in range(len(texts)):
        for other in range(one):
            if loose_form(texts[one]) == loose_form(texts[other]):
                assert found.group[one] == found.group[other]


def test_composed_and_decomposed_are_equal_and_case_is_not():
    assert exact_key("caf\u00e9") == exact_key("cafe\u0301")
    assert exact_key("cafe") != exact_key("Cafe")
    assert exact_key("a") != exact_key("a ")
    assert len(exact_key("")) == 16
    assert exact_key("\ud800") != exact_key("?")


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(["a", "b", "A", "é", "e\u0301", "", "好"])))
def test_first_of_equals_is_a_dictionary(texts):
    seen: dict[str, int] = {}
    expected = [seen.setdefault(unicodedata.normalize("NFC", text), row) for row, text in enumerate(texts)]
    assert first_of_equals(iter(texts)).tolist() == expected


def test_loose_form():
    assert loose_form("  Ｈello\u3000STRASSE straße\n") == "hello strasse strasse"
