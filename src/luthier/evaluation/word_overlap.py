"""A heuristic that answers questions without a model: what a trained one must beat to be worth its keep."""

from __future__ import annotations

import re

from luthier.tasks.entities import units_of

_SENTENCE = re.compile(r"[^.!?\u3002\uff01\uff1f\n]+[.!?\u3002\uff01\uff1f\n]*")
LONGEST = 6  # units of an answer


def overlap_answer(question: str, context: str) -> str:
    """Return the longest run of words that the question lacks, in the sentence that shares most words with it.

    Words are compared in lower case; in Chinese they are characters. Of equal sentences and runs the first counts. A
    run is cut after six words.
    """
    asked = {question[start:end].lower() for start, end in units_of(question)}
    best, most = "", -1
    for found in _SENTENCE.finditer(context):
        words = {found[0][start:end].lower() for start, end in units_of(found[0])}
        if len(words & asked) > most:
            best, most = found[0], len(words & asked)
    return _longest_run(best, asked)


def _longest_run(sentence: str, asked: set[str]) -> str:
    runs: list[list[tuple[int, int]]] = [[]]
    for start, end in units_of(sentence):
        word = sentence[start:end].lower()
        if word in asked or not word[0].isalnum():
            runs.append([])
        else:
            runs[-1].append((start, end))
    longest = max(runs, key=len)[:LONGEST]
    return sentence[longest[0][0] : longest[-1][1]] if longest else ""
