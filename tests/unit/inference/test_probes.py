"""The made inputs among a bundle's golden examples."""

from __future__ import annotations

from luthier.inference.goldens import probes

LIMIT = 16


def over_long(texts: list[str]) -> str:
    return dict(probes(texts, LIMIT))["made: over-long"]


def test_the_over_long_text_has_more_words_than_the_limit_in_another_order() -> None:
    texts = ["The quick brown fox", "jumps over the lazy dog"]
    words = over_long(texts).split()
    assert len(words) == 2 * LIMIT
    assert set(words) == set(" ".join(texts).split())
    assert words[: len(words) // 2] != words[len(words) // 2 :]


def test_a_sentence_without_spaces_is_more_than_one_word() -> None:
    sentence = "这部电影的节奏很好演员的表演也很自然" * 5
    text = over_long([sentence, sentence[::-1]])
    assert 2 * LIMIT < len(text) < 30 * LIMIT


def test_no_text_at_all_still_gives_probes() -> None:
    assert all(text.strip() for _, text in probes(["text"], LIMIT))
