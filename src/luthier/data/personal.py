"""Suspected personal data in texts: how many, of what kind, in which rows; never the data itself.

A find needs a shape and, where the kind has one, a valid checksum, so that ordinary prose raises no alarm.

Covered: e-mail addresses; phone numbers written internationally (+...), Chinese mobile numbers and landlines with a
dash, North American numbers with dashes or dots; payment cards (Luhn); bank accounts (IBAN, ISO 7064 mod 97); Chinese
resident identity numbers (GB 11643 checksum, region, date of birth); public IPv4 addresses; the shape of a US social
security number.
Not covered: names, postal addresses, dates of birth, plates, other countries' identity numbers, IPv6, numbers in words
or broken up on purpose. No find is no proof that there is none.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date
from ipaddress import ip_address

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Span:
    """Where in a text something of a kind was found, `text[start:end]`."""

    kind: str
    start: int
    end: int


@dataclass(frozen=True)
class Suspects:
    """What was found in many texts.

    Attributes:
        rows: (N,) whether anything was found in the text.
        texts: by kind, in how many texts.
        finds: by kind, how often.
    """

    rows: NDArray[np.bool_]
    texts: dict[str, int]
    finds: dict[str, int]


def find(text: str) -> dict[str, int]:
    """Count the suspected personal data in one text, by kind; kinds without a find are left out."""
    return dict(Counter(span.kind for span in spans(text)))


def suspects(texts: Iterable[str]) -> Suspects:
    """Count the suspected personal data in many texts, in one pass and flat memory."""
    rows, in_texts, finds = [], Counter[str](), Counter[str]()
    for text in texts:
        found = find(text)
        rows.append(bool(found))
        in_texts.update(found.keys())
        finds.update(found)
    return Suspects(np.array(rows, dtype=bool), dict(in_texts), dict(finds))


def spans(text: str) -> list[Span]:
    """Return where suspected personal data stand in a text, in order; no two overlap.

    Time is linear in the length of the text: every repetition in a pattern is bounded, and none is ambiguous.
    """
    if not _WORTH_A_LOOK.search(text):
        return []
    plain = text if text.isascii() else text.translate(_PLAIN)
    if not _PROMISING.search(plain):
        return []
    found: list[Span] = []
    for kind, pattern, holds in _KINDS:
        of_kind: list[Span] = []
        for match in pattern.finditer(plain):
            end = holds(plain, match) if not of_kind or match.start() >= of_kind[-1].end else 0
            if end:
                of_kind.append(Span(kind, match.start(), end))
        plain = _without(plain, of_kind)
        found += of_kind
    return sorted(found, key=lambda span: span.start)


def _without(text: str, found: list[Span]) -> str:
    """Blank out what was found: a number that is one thing is not another as well."""
    if not found:
        return text
    parts, end = [], 0
    for span in found:
        parts += [text[end : span.start], "\0" * (span.end - span.start)]
        end = span.end
    return "".join([*parts, text[end:]])


_WORTH_A_LOOK = re.compile("[@0-9＠０-９]")
# Every kind implies one of these: an at sign, eight digits close together, dots between digits, the head of an IBAN.
_PROMISING = re.compile(r"@|(?:[0-9][ ./()-]{0,2}){8}|[0-9]\.[0-9]{1,3}\.[0-9]|[A-Z]{2}[0-9]{2} ?[A-Z0-9]{4}")

# One character for one, so that places stay: full-width forms, dashes, and the spaces of typesetters.
_PLAIN = {0xFF01 + offset: 0x21 + offset for offset in range(94)}
_PLAIN |= dict.fromkeys([0x2010, 0x2011, 0x2012, 0x2013, 0x2212], ord("-"))
_PLAIN |= dict.fromkeys([0xA0, 0x2009, 0x202F, 0x3000], ord(" "))


def _shape(_: str, match: re.Match[str]) -> int:
    """Return the end of a match whose shape is enough."""
    return match.end()


_RESERVED = re.compile(r"@(?:.*\.)?(?:example\.(?:com|net|org)|example|test|invalid|localhost)$", re.IGNORECASE)


def _email(_: str, match: re.Match[str]) -> int:
    """Leave out addresses under the names that RFC 2606 keeps for examples."""
    return 0 if _RESERVED.search(match.group()) else match.end()


def _digits(match: re.Match[str]) -> list[int]:
    return [int(letter) for letter in match.group() if letter.isdigit()]


def _card(_: str, match: re.Match[str]) -> int:
    """Check Luhn's sum: every second digit from the right doubled, its digits added."""
    digits = _digits(match)[::-1]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[1::2]]
    return match.end() if (sum(digits[::2]) + sum(doubled)) % 10 == 0 else 0


_RESIDENT_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_RESIDENT_REGIONS = frozenset(
    [*range(11, 16), *range(21, 24), *range(31, 38), *range(41, 47), *range(50, 55), *range(61, 66), 71, 81, 82, 83]
)


def _resident(_: str, match: re.Match[str]) -> int:
    """Check region, date of birth and the last character (GB 11643)."""
    number = match.group().upper()
    total = sum(weight * int(digit) for weight, digit in zip(_RESIDENT_WEIGHTS, number[:17], strict=True))
    try:
        date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        return 0
    valid = int(number[:2]) in _RESIDENT_REGIONS and "10X98765432"[total % 11] == number[17]
    return match.end() if valid else 0


_IBAN_LENGTH = {
    country: length
    for length, countries in {
        15: "NO", 16: "BE", 18: "DK FI FO GL NL SD", 19: "MK SI", 20: "AT BA EE KZ LT LU XK", 21: "CH HR LI LV",
        22: "BG BH CR DE GB GE IE ME RS VA", 23: "AE GI IL IQ TL", 24: "AD CZ ES MD PK RO SA SE SK TN VG",
        25: "LY PT ST", 26: "IS TR", 27: "FR GR IT MC MR SM", 28: "AL AZ BY CY DO GT HU LB PL SV",
        29: "BR EG PS QA UA", 30: "JO KW MU", 31: "MT SC", 32: "LC",
    }.items()
    for country in countries.split()
}  # fmt: skip


def _iban(text: str, match: re.Match[str]) -> int:
    """Take as many characters as the country's accounts have, and check them modulo 97."""
    length = _IBAN_LENGTH.get(match.group(1))
    end = match.end()
    left = (length or 0) - 4
    while left > 0 and end < len(text):
        end += text[end] == " "
        if not text[end : end + 1].isalnum():
            return 0
        end, left = end + 1, left - 1
    number = text[match.start() : end].replace(" ", "")
    if length is None or left or not number.isascii() or number != number.upper() or text[end : end + 1].isalnum():
        return 0
    value = int("".join(str(int(letter, 36)) for letter in number[4:] + number[:4]))
    return end if value % 97 == 1 else 0


_VERSION = re.compile(r"(?:version|release|firmware|section|ver\.?|版本|固件)[ :：]{0,2}$", re.IGNORECASE)


def _public(text: str, match: re.Match[str]) -> int:
    """Leave out version numbers, and addresses that only mean something inside one network."""
    before = text[max(0, match.start() - 12) : match.start()]
    return 0 if _VERSION.search(before) or not ip_address(match.group()).is_global else match.end()


_EMAIL = r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![A-Za-z0-9])"
_ACCOUNT = r"(?<![A-Za-z0-9])([A-Z]{2})[0-9]{2}(?= ?[A-Z0-9]{4})"
_RESIDENT = r"(?<![A-Za-z0-9])[1-9][0-9]{5}(?:18|19|20)[0-9]{9}[0-9Xx](?![A-Za-z0-9])"
_CARD = (
    r"(?<![A-Za-z0-9])(?<![0-9][.-])(?:"
    r"(?:4[0-9]{3}|5[1-5][0-9]{2}|2[2-7][0-9]{2}|3[0568][0-9]{2}|6[0-9]{3})([ -]?)[0-9]{4}\1[0-9]{4}\1[0-9]{4}"
    r"|3[47][0-9]{2}([ -]?)[0-9]{6}\2[0-9]{5}"
    r"|62[0-9]{15,17}"
    r"|3[068][0-9]{12}"
    r")(?![A-Za-z0-9]|[.-][0-9])"
)
_PHONE = (
    r"(?<![A-Za-z0-9+])\+[1-9](?:[ ./()-]{0,2}[0-9]){7,14}(?![0-9])"
    r"|(?<![A-Za-z0-9.])(?:86[ -]?)?1[3-9][0-9]([ -]?)[0-9]{4}\1[0-9]{4}(?![A-Za-z0-9]|\.[0-9])"
    r"|(?<![A-Za-z0-9.-])0[1-9][0-9]{1,2}-[1-9][0-9]{6,7}(?![A-Za-z0-9-])"
    r"|(?<![A-Za-z0-9.-])(?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}[.-])[2-9][0-9]{2}[.-][0-9]{4}(?![A-Za-z0-9-])"
)
_SECURITY = r"(?<![A-Za-z0-9-])(?!000|666|9)[0-9]{3}-(?!00)[0-9]{2}-(?!0000)[0-9]{4}(?![A-Za-z0-9-])"
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_ADDRESS = rf"(?<![A-Za-z0-9])(?<![0-9]\.)(?:{_OCTET}\.){{3}}{_OCTET}(?![A-Za-z0-9]|\.[0-9])"

# The kind, its shape, and a check that returns where the find ends, or 0 for a false alarm. The surest come first.
_KINDS: tuple[tuple[str, re.Pattern[str], Callable[[str, re.Match[str]], int]], ...] = (
    ("email", re.compile(_EMAIL), _email),
    ("iban", re.compile(_ACCOUNT), _iban),
    ("resident_id", re.compile(_RESIDENT), _resident),
    ("credit_card", re.compile(_CARD), _card),
    ("phone", re.compile(_PHONE), _shape),
    ("social_security", re.compile(_SECURITY), _shape),
    ("ip_address", re.compile(_ADDRESS), _public),
)
KINDS = tuple(kind for kind, _, _ in _KINDS)
