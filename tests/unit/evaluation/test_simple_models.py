"""The heuristics that trained models of parts of texts are compared with."""

from __future__ import annotations

from luthier.evaluation.known_names import KnownNames
from luthier.evaluation.word_overlap import overlap_answer
from luthier.tasks.entities import Document, Span


def test_names_are_looked_up_longest_first_with_their_usual_label() -> None:
    text = "北京大学在北京"
    known = KnownNames(
        [
            (Document(text), [Span(0, 4, "ORG"), Span(5, 7, "LOC")]),
            (Document("北京队赢"), [Span(0, 2, "ORG")]),
            (Document("北京好"), [Span(0, 2, "LOC")]),
        ]
    )
    assert known.find(Document("去北京大学，不去北京")) == [Span(1, 5, "ORG"), Span(8, 10, "LOC")]


def test_a_name_is_not_found_inside_a_word() -> None:
    known = KnownNames([(Document("Ada of York"), [Span(0, 3, "PER"), Span(7, 11, "LOC")])])
    assert known.find(Document("Adamant Ada in Yorkshire, York")) == [Span(8, 11, "PER"), Span(26, 30, "LOC")]
    assert KnownNames([]).find(Document("Ada")) == []


def test_the_overlap_answers_with_what_the_question_lacks() -> None:
    context = "Gulls flew. The hull of the Aurora is dark red. The Falcon sailed."
    assert overlap_answer("What colour is the hull of the Aurora?", context) == "dark red"
    assert overlap_answer("北京在哪里？", "天气好。北京在华北。") == "华"
    assert overlap_answer("word", "word") == ""
