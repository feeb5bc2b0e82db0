"""What the synthetic samples and the tagged newspaper hold."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from luthier.errors import SampleError
from luthier.samples.synthetic_questions import UNANSWERABLE, make_questions
from luthier.samples.synthetic_relations import NONE, SENTENCES, TYPES, make_relations
from luthier.samples.tagged_sentences import document, names_in, read_words


def test_relations_are_different_and_their_entities_stand_in_the_text() -> None:
    rows = make_relations(400, 7)
    assert rows == make_relations(400, 7)
    assert rows != make_relations(400, 8)
    assert len({(row["text"], row["head"]) for row in rows}) == 400
    assert {row["relation"] for row in rows} == {*SENTENCES, NONE}
    first = Counter()
    for row in rows:
        head, tail = json.loads(row["head"]), json.loads(row["tail"])
        for one in (head, tail):
            name = row["text"][one["start"] : one["end"]]
            assert name == name.strip()
            assert name[0].isupper()
        assert head["end"] <= tail["start"] or tail["end"] <= head["start"]
        assert row["relation"] == NONE or TYPES[row["relation"]] == (head["label"], tail["label"])
        first[head["start"] < tail["start"]] += 1
    assert min(first.values()) > 100  # direction matters


def test_questions_have_their_answer_where_it_is_said_to_be() -> None:
    rows = make_questions(400, 7)
    assert rows == make_questions(400, 7)
    assert len({(row["question"], row["context"]) for row in rows}) == 400
    empty = 0
    for row in rows:
        answers = json.loads(row["answers"])
        empty += not answers
        for one in answers:
            assert row["context"][one["start"] : one["start"] + len(one["text"])] == one["text"]
    assert 0.5 * UNANSWERABLE < empty / 400 < 1.5 * UNANSWERABLE


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("总书记/n 江/nr 泽民/nr 在/p 北京/ns", [("江泽民", "PER"), ("北京", "LOC")]),
        ("贾/nr 永/nr 黄/nr 秋生/nr", [("贾永", "PER"), ("黄秋生", "PER")]),
        ("欧阳/nr 海/nr 、/w 陈/nr 方/nr 安生/nr", [("欧阳海", "PER"), ("陈方安生", "PER")]),
        ("马克思/nr 恩格斯/nr 郭/nr", [("马克思", "PER"), ("恩格斯", "PER"), ("郭", "PER")]),
        ("河北/ns 张家口/ns 新华社/nt", [("河北", "LOC"), ("张家口", "LOC"), ("新华社", "ORG")]),
        ("１９９８年/t //w 好/a", []),
    ],
)
def test_names_are_read_off_tagged_words(line: str, names: list[tuple[str, str]]) -> None:
    words = read_words(line, 1)
    text = "".join(word for word, _ in words)
    assert [(text[start:end], label) for start, end, label in names_in(words)] == names


def test_a_document_is_lines_of_sentences() -> None:
    text, spans = document([read_words("江/nr 泽民/nr 好/a", 1), read_words("在/p 北京/ns", 2)])
    assert text == "江泽民好\n在北京"
    assert [(text[start:end], label) for start, end, label in spans] == [("江泽民", "PER"), ("北京", "LOC")]


def test_a_word_without_a_tag_is_refused_with_its_line() -> None:
    with pytest.raises(SampleError, match=r"199801\.txt:7"):
        read_words("北京/ns 好", 7)
