"""Questions with right and wrong answers: what is drawn, and what must never be."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from luthier.samples import answer_choices
from luthier.samples.answer_choices import LEAST_PAIRS, WRONG, blocks, choices
from luthier.samples.build import BUILDERS
from luthier.samples.conversations import Pair


def pair(number: int, *, question: str = "", answer: str = "", category: str = "ai", conversation: str = "") -> Pair:
    return Pair(
        question or f"Question {number}?",
        answer or f"Answer {number}.",
        category,
        "en",
        conversation or f"en/{category}/{number}",
    )


def test_wrong_answers_come_from_the_block_and_are_wrong() -> None:
    pairs = [pair(number, category="ai" if number < 60 else "food") for number in range(90)]
    pairs += [
        pair(90, question="Question 3?", answer="Also right."),
        pair(91, question="question  3?", answer="ANSWER 3."),
    ]
    found = choices(pairs, WRONG)
    assert len(found) == 91  # the last one is the fourth one again
    block_of = {choice.pair.answer: choice.block for choice in found}
    for choice in found:
        assert len(set(choice.wrong)) == WRONG
        assert choice.pair.answer not in choice.wrong
        assert {block_of[text] for text in choice.wrong} == {choice.block}
    asked = [choice for choice in found if choice.pair.question == "Question 3?"]
    assert len(asked) == 2
    assert not any({"Answer 3.", "Also right."} & set(choice.wrong) for choice in asked)
    assert choices(pairs, WRONG) == found


def test_answers_of_the_same_category_come_first() -> None:
    pairs = [pair(number, category="ai" if number < 10 else "food") for number in range(25)]
    (one, *_), category = choices(pairs, 9), {p.answer: p.category for p in pairs}
    assert {category[text] for text in one.wrong} == {"ai"}
    assert [category[text] for text in choices(pairs, 11)[0].wrong] == ["ai"] * 9 + ["food"] * 2


def test_what_shares_a_text_or_a_conversation_is_in_one_block() -> None:
    pairs = [pair(number) for number in range(3 * LEAST_PAIRS)]
    pairs += [
        pair(900, answer="Answer 0."),
        pair(901, question="Question 41?"),
        pair(902, conversation="en/ai/59", question="answer 900. "),
    ]
    found = blocks(pairs)
    assert sum(map(len, found)) == len(pairs)
    assert all(len(block) >= LEAST_PAIRS for block in found)
    assert len(found) > 1
    place: dict[str, set[int]] = defaultdict(set)
    for number, block in enumerate(found):
        for one in block:
            for key in (one.conversation, one.question.lower().strip(), one.answer.lower()):
                place[key].add(number)
    assert all(len(numbers) == 1 for numbers in place.values())


@pytest.fixture
def archive(make_zip: Any) -> bytes:
    turns = "".join(f"- - Question {number}?\n  - Answer {number}.\n" for number in range(30))
    root = "chatterbot_corpus/data"
    return make_zip(
        {
            f"{root}/english/ai.yml": f"categories: [ai]\nconversations:\n{turns}".encode(),
            f"{root}/chinese/ai.yml": "categories: [AI]\nconversations:\n- - 你好\n  - 嗨\n".encode(),
        }
    )


def built(name: str, archive: bytes, tmp_path: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    folder = tmp_path / name
    folder.mkdir()
    (tmp_path / f"{name}.zip").write_bytes(archive)
    (tmp_path / f"{name}-scratch").mkdir()
    facts = BUILDERS[name](tmp_path / f"{name}.zip", folder, tmp_path / f"{name}-scratch")
    with pa.memory_map(str(folder / "data.arrow")) as source:
        return pa.ipc.open_file(source).read_all().to_pylist(), facts


def test_support_pairs(archive: bytes, tmp_path: Path) -> None:
    rows, facts = built("support-pairs", archive, tmp_path)
    assert facts == {"rows": 60, "labels": {"no": 30, "yes": 30}, "blocks": 1}
    for row in rows:
        right = row["question"].replace("Question", "Answer").replace("?", ".") == row["answer"]
        assert right == (row["match"] == "yes")
    assert list(rows[0]) == ["question", "answer", "match", "category", "block"]


def test_support_candidates(archive: bytes, tmp_path: Path) -> None:
    rows, facts = built("support-candidates", archive, tmp_path)
    assert facts == {"rows": 30, "candidates": 8, "blocks": 1}
    places = set()
    for row in rows:
        candidates = json.loads(row["candidates"])
        assert len(set(candidates)) == 8
        assert candidates[int(row["right"])] == row["answer"]
        assert row["negative"] in candidates
        assert row["negative"] != row["answer"]
        places.add(row["right"])
    assert len(places) > 4, "the right answer's place must not give it away"


def test_another_seed_draws_others(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [pair(number) for number in range(30)]
    before = choices(pairs, WRONG)
    monkeypatch.setattr(answer_choices, "SEED", 14)
    assert choices(pairs, WRONG) != before
