"""Tags of words: read strictly, turned into spans and back, and decoded into valid sequences."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.tasks.base import CellError
from luthier.tasks.entities import Span, overlapping
from luthier.tasks.tags import as_bio, best_path, classes_of, ends, follows, scheme_of, spans_of_tags, tags_of

WORDS = [(0, 3), (4, 6), (7, 11), (12, 13)]


@pytest.mark.parametrize(
    ("tags", "scheme", "spans"),
    [
        (["B-P", "I-P", "O", "B-L"], "auto", [Span(0, 6, "P"), Span(12, 13, "L")]),
        (["B-P", "B-P", "I-P", "O"], "auto", [Span(0, 3, "P"), Span(4, 11, "P")]),
        (["S-P", "B-L", "I-L", "E-L"], "auto", [Span(0, 3, "P"), Span(4, 13, "L")]),
        (["P", "P", "L", "O"], "auto", [Span(0, 6, "P"), Span(7, 11, "L")]),
        (["B-52", "B-52", "O", "O"], "plain", [Span(0, 6, "B-52")]),
        (["O", "O", "O", "O"], "auto", []),
    ],
)
def test_tags_of_every_scheme_become_spans(tags: list[str], scheme: str, spans: list[Span]) -> None:
    assert spans_of_tags(tags, WORDS, scheme) == spans  # type: ignore[arg-type]
    bio = as_bio(tags, scheme)  # type: ignore[arg-type]
    assert spans_of_tags(bio, WORDS, "bio") == spans


@pytest.mark.parametrize(
    ("tags", "scheme", "message"),
    [
        (["O", "I-P"], "auto", 'broken BIO tags: "I-P" at word 2 after "O"; an entity begins with "B-P"'),
        (["I-P", "O"], "auto", 'broken BIO tags: "I-P" at word 1 at the beginning'),
        (["B-P", "I-L"], "auto", 'broken BIO tags: "I-L" at word 2 after "B-P"; an entity begins with "B-L"'),
        (
            ["B-P", "O"],
            "bioes",
            'broken BIOES tags: "O" at word 2 after "B-P"; an entity of several words ends with E-',
        ),
        (["O", "B-P"], "bioes", 'broken BIOES tags: "B-P" at the last word'),
        (["B-P", "P"], "auto", 'or of none; got "P"'),
        (["E-P", "O"], "bio", 'one of B-LABEL, I-LABEL; got "E-P" at word 1'),
    ],
)
def test_broken_tags_are_refused_with_word_and_rule(tags: list[str], scheme: str, message: str) -> None:
    with pytest.raises(CellError) as caught:
        spans_of_tags(tags, WORDS[: len(tags)], scheme)  # type: ignore[arg-type]
    assert message in str(caught.value)


@given(st.lists(st.sampled_from(["O", "P", "L"]), min_size=1, max_size=9), st.sampled_from(["bio", "bioes"]))
def test_spans_become_tags_and_spans_again(plain: list[str], tagging: str) -> None:
    places = [(2 * i, 2 * i + 1) for i in range(len(plain))]
    spans = spans_of_tags(plain, places, "plain")
    tags = tags_of([overlapping(spans, place) for place in places], spans, tagging)  # type: ignore[arg-type]
    assert spans_of_tags(tags, places, tagging) == spans  # type: ignore[arg-type]
    if any(tag != "O" for tag in tags):
        assert scheme_of(tags) in {tagging, "bio"}


@pytest.mark.parametrize("tagging", ["bio", "bioes"])
def test_the_best_path_is_the_best_of_all_valid_ones(tagging: str) -> None:
    classes = classes_of(["P", "L"], tagging)  # type: ignore[arg-type]
    draw = np.random.default_rng(3)
    moved = 0
    for _ in range(12):
        score = draw.normal(size=(3, len(classes)))
        valid = [
            path
            for path in itertools.product(range(len(classes)), repeat=3)
            if all(follows(a, b, tagging) for a, b in itertools.pairwise(["O", *(classes[i] for i in path)]))
            and ends(classes[path[-1]], tagging)
        ]
        best = max(valid, key=lambda path: score[[0, 1, 2], list(path)].sum())
        assert best_path(score, classes, tagging).tolist() == list(best)  # type: ignore[arg-type]
        moved += list(best) != score.argmax(axis=1).tolist()
    assert moved > 2  # the constraint mattered
    assert len(best_path(np.empty((0, len(classes))), classes, tagging)) == 0  # type: ignore[arg-type]
