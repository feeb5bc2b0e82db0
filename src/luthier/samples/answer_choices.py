"""`sample:support-pairs` and `sample:support-candidates`: questions with right and wrong answers.

Wrong answers are drawn, so they must not tell the splits apart: a model that has seen an answer as the right one in
training would know it as a wrong one in the test. Hence blocks: pairs that share a conversation, a question or an
answer are in one, and wrong answers come from the same block.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.samples.conversations import Pair, provenance, read_pairs
from luthier.samples.tables import write_arrow

LEAST_PAIRS = 20  # of a block, so that enough wrong answers are at hand
WRONG = 7  # candidates beside the right one
SEED = 13


@dataclass(frozen=True)
class Choice:
    """A question with its answer and wrong ones, the best stand-ins first.

    Attributes:
        pair: question and right answer.
        wrong: answers of other questions of the block.
        block: its name.
    """

    pair: Pair
    wrong: tuple[str, ...]
    block: str


def build_support_pairs(archive: Path, folder: Path, scratch: Path) -> dict[str, Any]:
    """Write every question with its answer, and again with a wrong one."""
    found = choices(read_pairs(archive, scratch)[0], 1)
    rows = [(one, answer, match) for one in found for answer, match in ((one.pair.answer, "yes"), (one.wrong[0], "no"))]
    columns = {
        "question": [one.pair.question for one, _, _ in rows],
        "answer": [answer for _, answer, _ in rows],
        "match": [match for _, _, match in rows],
        "category": [one.pair.category for one, _, _ in rows],
        "block": [one.block for one, _, _ in rows],
    }
    write_arrow(folder / "data.arrow", columns, metadata=provenance(archive))
    return {"rows": len(rows), "labels": {"no": len(found), "yes": len(found)}, "blocks": len(set(columns["block"]))}


def build_support_candidates(archive: Path, folder: Path, scratch: Path) -> dict[str, Any]:
    """Write every question with its answer among wrong ones."""
    found = choices(read_pairs(archive, scratch)[0], WRONG)
    listed = [_shuffled(one) for one in found]
    columns = {
        "question": [one.pair.question for one in found],
        "answer": [one.pair.answer for one in found],
        "negative": [one.wrong[0] for one in found],
        "candidates": [json.dumps(texts, ensure_ascii=False) for texts in listed],
        "right": [str(texts.index(one.pair.answer)) for one, texts in zip(found, listed, strict=True)],
        "category": [one.pair.category for one in found],
        "block": [one.block for one in found],
    }
    write_arrow(folder / "data.arrow", columns, metadata=provenance(archive))
    return {"rows": len(found), "candidates": 1 + WRONG, "blocks": len(set(columns["block"]))}


def choices(pairs: Sequence[Pair], wrong: int) -> list[Choice]:
    """Return the different English pairs with so many wrong answers each."""
    english = [pair for pair in pairs if pair.language == "en"]
    kept = list({(_plain(pair.question), _plain(pair.answer)): pair for pair in reversed(english)}.values())[::-1]
    known: dict[str, set[str]] = defaultdict(set)
    for pair in kept:
        known[_plain(pair.question)].add(_plain(pair.answer))
    found = []
    for number, block in enumerate(blocks(kept)):
        answers = {_plain(pair.answer): pair for pair in reversed(block)}
        for pair in block:
            others = [one for text, one in answers.items() if text not in known[_plain(pair.question)]]
            others.sort(key=lambda one: (one.category != pair.category, _draw(pair.question, one.answer)))
            found.append(Choice(pair, tuple(one.answer for one in others[:wrong]), f"block-{number:03d}"))
    return found


def blocks(pairs: Sequence[Pair]) -> list[list[Pair]]:
    """Return pairs in blocks of at least `LEAST_PAIRS`; what shares a conversation, question or answer is in one."""
    found: list[list[Pair]] = [[]]
    for part in sorted(_connected(pairs), key=lambda part: part[0].category):
        if len(found[-1]) >= LEAST_PAIRS:
            found.append([])
        found[-1] += part
    if len(found) > 1 and len(found[-1]) < LEAST_PAIRS:
        last = found.pop()
        found[-1] += last
    return found


def _connected(pairs: Sequence[Pair]) -> list[list[Pair]]:
    """Return the connected parts, in the order of their first pairs."""
    root = list(range(len(pairs)))

    def top(place: int) -> int:
        while root[place] != place:
            root[place] = root[root[place]]
            place = root[place]
        return place

    seen: dict[tuple[str, str], int] = {}
    for place, pair in enumerate(pairs):
        keys = (("conversation", pair.conversation), ("text", _plain(pair.question)), ("text", _plain(pair.answer)))
        for key in keys:
            one, other = sorted((top(seen.setdefault(key, place)), top(place)))
            root[other] = one
    parts: dict[int, list[Pair]] = defaultdict(list)
    for place, pair in enumerate(pairs):
        parts[top(place)].append(pair)
    return list(parts.values())


def _plain(text: str) -> str:
    """Return a text without what case and spaces make different."""
    return " ".join(text.lower().split())


def _shuffled(choice: Choice) -> list[str]:
    """Return the right answer among the wrong ones; its place has nothing to do with how the others were drawn."""
    texts = (choice.pair.answer, *choice.wrong)
    return sorted(texts, key=lambda text: _draw(choice.pair.question, text, "place"))


def _draw(question: str, answer: str, purpose: str = "wrong") -> str:
    """Return what orders answers to a question by chance, the same for ever."""
    return hashlib.sha256(json.dumps([SEED, purpose, question, answer]).encode()).hexdigest()
