"""Scripts against the names in the Unicode database; broken texts are seen, whole ones in many languages are not."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.data import scripts
from luthier.data.scripts import SCRIPTS, is_mojibake, profile, script_of, unseen

SENTENCES = [
    "Voilà, c’était « très bien » à l’été… déjà ! L’ÉTÉ, « café\u00a0»",
    "Er sagte: „Das macht Spaß” – GROẞ, MASS, Maß… ÄÖÜ äöü",
    "Él preguntó: ¿dónde está el niño? ¡ESPAÑA! 1.ª y 2.º",
    "A irmã disse: não há pão na praça. AMANHÃ… «Irmã»",
    "Příliš žluťoučký kůň úpěl ďábelské ódy. Pojď blíž… „kříž”",
    "Zażółć gęślą jaźń, łódź",
    "HYVÄ… hyvää päivää, Å är ett ord",
    "Işık, ağaç, çocuk, ŞEKER",
    "Türkçe, română: îți mulțumesc, română",
    "Η ζωή είναι ωραία",
    "Это очень хороший фильм",
    "שלום עולם",
    "هذا فيلم جيد جدا",
    "यह बहुत अच्छी फिल्म है",
    "หนังเรื่องนี้ดีมาก",
    "这部电影真好看,强烈推荐!",
    "この映画はとても面白かったです。",
    "이 영화는 정말 재미있었어요",
    "Great film 😀 “really” — 5°C, ½ price, 2×½ cup, µm, ®, naïve façade",
]
FAMILIAR = ["cafÃ©", "donâ€™t", "Â£5", "a\u00c2\u00a0b", "ä¸­æ–‡", "ðŸ˜€", "Ð¤Ð¸Ð»ÑŒÐ¼", "ï»¿text", "ï¿½"]


@pytest.mark.parametrize("text", SENTENCES)
def test_whole_texts_are_not_mojibake(text):
    assert not is_mojibake(text)


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
@pytest.mark.parametrize("text", SENTENCES)
def test_texts_read_in_the_wrong_encoding_are(text, encoding):
    """Bytes that Windows-1252 leaves undefined come out as the control characters of Latin-1, as browsers do it."""
    garbled = "".join(
        bytes([byte]).decode(encoding, "ignore") or bytes([byte]).decode("latin-1") for byte in text.encode()
    )
    assert is_mojibake(garbled)


@pytest.mark.parametrize(
    "text", ["cafÃ©", "donâ€™t", "Â£5", "a\u00c2\u00a0b", "ä¸­æ–‡", "ðŸ˜€", "Ð¤Ð¸Ð»ÑŒÐ¼", "ï»¿text", "ï¿½"]
)
def test_familiar_mojibake(text):
    assert is_mojibake(text)


def test_ascii_is_never_mojibake():
    assert not is_mojibake("plain " * 10)


_WORDS = {script.upper(): script for script in SCRIPTS} | {"CJK": "Han"}


def test_letters_have_the_script_of_their_name():
    """Wherever the name of a letter begins with a script of ours, the table says that script, or leaves it open."""
    compared, left_open = 0, 0
    for point in range(0x110000):
        letter = chr(point)
        word = unicodedata.name(letter, "").split(" ")[0]
        if not letter.isalpha() or word not in _WORDS:
            continue
        compared += 1
        got = script_of(letter)
        left_open += got == "Other"
        assert got in (_WORDS[word], "Other"), f"{point:X}"
    assert compared > 90_000
    assert left_open < 300  # mathematical and phonetic letters of other planes


def test_letters_are_never_common():
    assert not [c for c in map(chr, range(0x3000)) if c.isalpha() and script_of(c) == "Common"]
    assert {script_of(c) for c in "0123456789 .,!?-()'\"\n\t\r。,!°€×½"} == {"Common"}


def test_profile_counts_letters_and_rows():
    found = profile(["Hello 123", "你好 ok", "привет", "", "!!!"])
    assert found.rows == 5
    assert found.letters == {"Latin": 7, "Han": 2, "Cyrillic": 6}
    assert found.rows_with == {"Latin": 2, "Han": 1, "Cyrillic": 1}
    assert found.rows_mainly == {"Latin": 2, "Cyrillic": 1}
    assert found.signs == {}
    assert next(iter(found.shares().items())) == ("Latin", pytest.approx(7 / 15))


def test_warning_signs_name_their_rows():
    texts = ["fine\ttab\r\nlines\x0b"[:-1], "a\ufffdb", "bell\x07", "\ue000", "cafÃ©", "\x85 next line", "\ufffd\ufffd"]
    found = profile(texts)
    assert found.signs == {"replacement": 2, "control": 1, "private use": 1, "mojibake": 1}
    assert found.sign_rows == {"replacement": [1, 6], "control": [2], "private use": [3], "mojibake": [4]}


def test_only_the_first_rows_are_named(monkeypatch):
    monkeypatch.setattr(scripts, "TEXTS_AT_ONCE", 3)
    found = profile(["ok", "\ufffd"] * 10)
    assert found.signs == {"replacement": 10}
    assert found.sign_rows == {"replacement": [1, 3, 5, 7, 9]}


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(max_size=10), max_size=10), st.integers(1, 4))
def test_blocks_do_not_matter(texts, size):
    whole = profile(texts)
    before = scripts.TEXTS_AT_ONCE
    scripts.TEXTS_AT_ONCE = size
    try:
        assert profile(iter(texts)) == whole
    finally:
        scripts.TEXTS_AT_ONCE = before
    assert sum(whole.letters.values()) == sum(script_of(c) in SCRIPTS for text in texts for c in text)


def test_scripts_that_training_lacks():
    training, test = profile(["good", "bad", "αlpha"]), profile(["good", "好", "不好 bad", "β"])
    assert unseen(training, test) == {"Han": 2}
    assert unseen(training, training) == {}


def test_no_texts():
    assert profile([]).shares() == {}


def test_a_lone_surrogate_is_survived():
    assert profile(["\ud800"]).rows == 1
