"""What is personal is found, what only looks like it is not, and hostile text costs no more than its length."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.data import personal
from luthier.data.personal import KINDS, Span, find, spans, suspects

# Numbers published as examples: by card companies, the IBAN registry, GB 11643, and telephone authorities for drama.
PERSONAL = [
    ("write to jane.doe+film@mail.co.uk.", {"email": 1}),
    ("邮箱:zhang_san@qq.com,谢谢", {"email": 1}),
    ("ａｂｃ＠ｓｉｎａ．ｃｏｍ", {"email": 1}),
    ("a@b.io; c@d-e.org", {"email": 2}),
    ("call +44 20 7946 0958 now", {"phone": 1}),
    ("+1 (202) 555-0123", {"phone": 1}),
    ("+8613812345678", {"phone": 1}),
    ("手机13812345678,晚上打", {"phone": 1}),
    ("138-1234-5678 或 139 8765 4321", {"phone": 2}),
    ("86-13812345678", {"phone": 1}),
    ("电话:１３８１２３４５６７８", {"phone": 1}),
    ("总机010-62781234", {"phone": 1}),
    ("(212) 555-0198 or 212.555.0198 or 212-555-0198", {"phone": 3}),
    ("card 4111 1111 1111 1111, thanks", {"credit_card": 1}),
    ("5555555555554444 exp 12/27", {"credit_card": 1}),
    ("3782-822463-10005", {"credit_card": 1}),
    ("6011111111111117", {"credit_card": 1}),
    ("银行卡6222020000000000000", {"credit_card": 1}),
    ("pay to GB82 WEST 1234 5698 7654 32 today", {"iban": 1}),
    ("DE89370400440532013000 MAX", {"iban": 1}),
    ("FR14 2004 1010 0505 0001 3M02 606.", {"iban": 1}),
    ("NO9386011117947", {"iban": 1}),
    ("身份证11010519491231002X", {"resident_id": 1}),
    ("440524188001010014", {"resident_id": 1}),
    ("SSN 219-09-9999", {"social_security": 1}),
    ("from 8.8.8.8 and 93.184.216.34.", {"ip_address": 2}),
    ("jane@mail.com, 219-09-9999, +44 20 7946 0958", {"email": 1, "social_security": 1, "phone": 1}),
]

HARMLESS = [
    "",
    "A 1999 film, 8.5/10, 2h 15m; see you @ the movies at 7:30",
    "It cost $1,234,567.89 and 100,000,000 people saw it in 2001-2003",
    "@critic #film 10/10",
    "user@localhost and me@example.com and you@mail.test",  # reserved for examples
    "pi is 3.14159265358979323846",
    "4111 1111 1111 1112",  # Luhn fails
    "1234567812345670",  # Luhn holds, no issuer begins with 1
    "GB82 WEST 1234 5698 7654 33",  # mod 97 fails
    "GB82 WEST 1234 5698",  # too short for the country
    "ZZ82 WEST 1234 5698 7654 32",  # no such country
    "110105194912310021",  # the last character must be X
    "110105194913310022",  # no thirteenth month
    "000-12-3456 666-12-3456 900-12-3456 123-00-4567 123-45-0000",
    "192.168.0.1 10.1.2.3 127.0.0.1 256.1.1.1 1.2.3 1.2.3.4.5",
    "version 4.12.0.1 and 固件 2.3.4.5",
    "12812345678 is not mobile, nor 138123456789, nor x13812345678, nor 0.13812345678",
    "ISBN 978-3-16-148410-0",
    "2024-01-15 12:30:45.123456",
    "1700000000000 ms since 1970",
    "1+2+3+4+5+6+7+8",
    "call 911",
]


@pytest.mark.parametrize(("text", "expected"), PERSONAL)
def test_finds(text, expected):
    assert find(text) == expected


@pytest.mark.parametrize("text", HARMLESS)
def test_leaves_alone(text):
    assert find(text) == {}


def test_every_kind_is_tried():
    assert {kind for _, found in PERSONAL for kind in found} == set(KINDS)


def test_spans_point_at_the_text_itself():
    text = "Ｍａｉｌ jane@mail.com, card 4111 1111 1111 1111."
    found = spans(text)
    assert [text[span.start : span.end] for span in found] == ["jane@mail.com", "4111 1111 1111 1111"]
    assert found[0] == Span("email", 5, 18)


def test_many_texts_at_once():
    found = suspects(iter(["nothing", "a@b.com c@d.com", "a@b.com +44 20 7946 0958", "still nothing"]))
    assert found.rows.tolist() == [False, True, True, False]
    assert found.texts == {"email": 2, "phone": 1}
    assert found.finds == {"email": 3, "phone": 1}


def test_no_texts():
    assert suspects([]).rows.tolist() == []


@pytest.mark.parametrize("digits", [15, 16, 18])
def test_random_numbers_seldom_pass_for_something(digits):
    rng = random.Random(0)
    texts = [f"order {''.join(rng.choices('0123456789', k=digits))} is late" for _ in range(2000)]
    assert suspects(texts).rows.mean() < 0.08


HOSTILE = [
    "a", "a.", "a@", "a@a.", "a-", "@", ".", "1", "1 ", "1-", "1.", "+1", "+", "(2", "12 ", "1234 ", "1234-", "4111 ",
    "GB82", "GB82 ", "DE", "A1B2 ", "A", "6222", "11010519", "0 - ", "255.", "1.1.1.", "１", "a@b.com ", "8.8.8.8 ",
    "010-", "138 ", "13812345678 ", "4111 1111 1111 1111 ", "GB82 WEST 1234 5698 7654 32 ", "%+-", "@a-", "a@-",
    "a@a-a.",
]  # fmt: skip


@pytest.mark.timeout(60)
@pytest.mark.parametrize("piece", HOSTILE)
def test_hostile_text_takes_linear_time(piece):
    """Some tenths of a second; were any pattern quadratic in these 200,000 characters, hours."""
    count = 200_000 // len(piece)
    found = find(piece * count)
    assert sum(found.values()) <= count


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="019aAX@.+-() \0é１中", max_size=60))
def test_spans_never_overlap_and_never_fail(text):
    found = spans(text)
    assert sum(find(text).values()) == len(found)
    for one, other in pairwise(found):
        assert one.end <= other.start
    for span in found:
        assert 0 <= span.start < span.end <= len(text)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="0123456789@.+-() GBDEa\0é", max_size=50), st.sampled_from([text for text, _ in PERSONAL]))
def test_the_quick_look_hides_nothing(noise, text):
    """What the patterns alone would find in a text, the whole finds too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(personal, "_PROMISING", personal._WORTH_A_LOOK)
        expected = spans(noise + text)
    assert spans(noise + text) == expected
