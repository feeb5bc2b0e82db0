"""Tags of words: BIO, BIOES or plain labels, read strictly, and the classes that a token classifier learns.

BIO: B- begins an entity, I- goes on in it. BIOES: E- ends one of several words, S- is one of a single word. Plain:
equal neighbours are one entity. References: Ramshaw and Marcus, 1995; Ratinov and Roth, 2009.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from luthier.tasks.base import CellError
from luthier.tasks.entities import Place, Span, overlapping

Scheme = Literal["auto", "bio", "bioes", "plain"]
Tagging = Literal["bio", "bioes"]
OUTSIDE = "O"
_PREFIXED = re.compile(r"[BIES]-.+", re.DOTALL)


def scheme_of(tags: Sequence[str]) -> Scheme:
    """Return the scheme that a row's tags are written in.

    A BIOES row with an entity has an E- or S- tag, so a row without one is BIO.

    Raises:
        CellError: some tags have a prefix and some have none.
    """
    labelled = [tag for tag in tags if tag != OUTSIDE]
    prefixed = [tag for tag in labelled if _PREFIXED.fullmatch(tag)]
    if not prefixed:
        return "plain"
    if bare := [tag for tag in labelled if not _PREFIXED.fullmatch(tag)]:
        raise CellError(f'must have B- or I- in front of every tag but O, or of none; got "{bare[0]}"')
    return "bioes" if any(tag[0] in "ES" for tag in prefixed) else "bio"


def spans_of_tags(tags: Sequence[str], words: Sequence[Place], scheme: Scheme) -> list[Span]:
    """Return the spans that tags mark.

    Args:
        tags: one per word.
        words: start and end of each word.
        scheme: how tags are written; `auto` looks at them.

    Raises:
        CellError: they break their scheme, such as I- after O; the message names word and tag.
    """
    chosen = scheme_of(tags) if scheme == "auto" else scheme
    if chosen == "plain":
        tags, chosen = _prefixed(tags), "bio"
    _check(tags, chosen)
    spans: list[Span] = []
    for tag, (start, end) in zip(tags, words, strict=True):
        if tag[0] in "BS":
            spans.append(Span(start, end, tag[2:]))
        elif tag != OUTSIDE:
            spans[-1] = Span(spans[-1].start, end, tag[2:])
    return spans


def as_bio(tags: Sequence[str], scheme: Scheme) -> list[str]:
    """Return tags of any scheme as BIO.

    Raises:
        CellError: they break their scheme.
    """
    places = [(number, number + 1) for number in range(len(tags))]
    spans = spans_of_tags(tags, places, scheme)
    return tags_of([overlapping(spans, place) for place in places], spans, "bio")


def _prefixed(tags: Sequence[str]) -> list[str]:
    """Return plain tags as BIO: equal neighbours are one entity."""
    before = [OUTSIDE, *tags]
    return [
        tag if tag == OUTSIDE else f"{'I' if tag == last else 'B'}-{tag}"
        for last, tag in zip(before, tags, strict=False)
    ]


def _check(tags: Sequence[str], scheme: Scheme) -> None:
    allowed = "BIES" if scheme == "bioes" else "BI"
    last = OUTSIDE
    for number, tag in enumerate(tags, start=1):
        if tag != OUTSIDE and (not _PREFIXED.fullmatch(tag) or tag[0] not in allowed):
            known = ", ".join(f"{one}-LABEL" for one in allowed)
            raise CellError(f'must have tags that are O or one of {known}; got "{tag}" at word {number}')
        if not follows(last, tag, scheme):
            raise CellError(_broken(last, tag, number, scheme))
        last = tag
    if not ends(last, scheme):
        raise CellError(f'has broken BIOES tags: "{last}" at the last word; an entity ends with E- or is a single S-')


def _broken(last: str, tag: str, number: int, scheme: Scheme) -> str:
    rule = f'an entity begins with "B-{tag[2:]}"' if tag[0] in "IE" else "an entity of several words ends with E-"
    after = "at the beginning" if number == 1 else f'after "{last}"'
    return f'has broken {scheme.upper()} tags: "{tag}" at word {number} {after}; {rule}'


def follows(last: str, tag: str, scheme: str) -> bool:
    """Return whether a tag may stand after another one, `O` standing for the beginning."""
    inside = last[0] in ("BI" if scheme == "bioes" else "BIES")
    goes_on = tag[0] in "IE"
    if goes_on:
        return inside and last[2:] == tag[2:]
    return not inside or scheme != "bioes"


def ends(tag: str, scheme: str) -> bool:
    """Return whether a tag may be the last one."""
    return scheme != "bioes" or tag[0] not in "BI"


def classes_of(labels: Sequence[str], tagging: Tagging) -> list[str]:
    """Return the classes that stand for labels: O, and each label with each prefix."""
    return [OUTSIDE, *(f"{prefix}-{label}" for label in labels for prefix in ("BIES" if tagging == "bioes" else "BI"))]


def tags_of(owners: Sequence[int | None], spans: Sequence[Span], tagging: Tagging) -> list[str]:
    """Return the tag of each place from which span it belongs to (None: to none)."""
    tags = []
    around = [None, *owners, None]
    for before, own, after in zip(around, owners, around[2:], strict=False):
        if own is None:
            tags.append(OUTSIDE)
            continue
        first, last = own != before, own != after
        prefix = "B" if first else "I"
        if tagging == "bioes":
            prefix = "S" if first and last else "B" if first else "E" if last else "I"
        tags.append(f"{prefix}-{spans[own].label}")
    return tags


def best_path(log_probability: NDArray[np.float64], classes: Sequence[str], tagging: Tagging) -> NDArray[np.int64]:
    r"""Return the most probable valid sequence of classes (Viterbi, 1967).

    It maximises \(\sum_t \log p_t(c_t)\) over sequences whose neighbours may stand together; transitions have no weight
    of their own.

    Args:
        log_probability: (N, C).
        classes: (C,) names from `classes_of`.
        tagging: their scheme.

    Returns:
        (N,) class numbers.
    """
    if not len(log_probability):
        return np.empty(0, np.int64)
    allowed = np.array([[follows(a, b, tagging) for b in classes] for a in classes])
    step = np.where(allowed, 0.0, -np.inf)  # (C, C): from, to
    first = np.array([0.0 if follows(OUTSIDE, name, tagging) else -np.inf for name in classes])
    last = np.array([0.0 if ends(name, tagging) else -np.inf for name in classes])
    score = first + log_probability[0]
    back = np.zeros(log_probability.shape, np.int64)
    for place in range(1, len(log_probability)):
        through = score[:, None] + step
        back[place] = through.argmax(axis=0)
        score = through.max(axis=0) + log_probability[place]
    path = [int((score + last).argmax())]
    for place in range(len(log_probability) - 1, 0, -1):
        path.append(int(back[place][path[-1]]))
    return np.asarray(path[::-1], np.int64)
