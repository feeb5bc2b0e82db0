"""BLEU and chrF of a whole set of answers, over counts that add up by rows, so that a resample is a sum.

BLEU (Papineni et al. 2002) is sacreBLEU's (Post 2018) with one reference: its tokens, its exponential smoothing, and
its figure from 0 to 100. chrF (Popović 2015) is sacreBLEU's chrF2: characters up to six in a row, white space left
out, recall twice as heavy as precision. Deviation: the reference decides row by row how a row is cut into tokens, `zh`
where it holds Han characters, else `13a`, so that a set in several languages has one figure; where all references are
in one script it is sacreBLEU's own.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from luthier.metrics.scores import FloatArray
from luthier.metrics.weighted import ratio

HAN = re.compile(r"[\u3400-\u9fff]")
ORDER = 4  # words in a row, BLEU
CHARACTERS = 6  # characters in a row, chrF
BETA = 2.0


@cache
def _bleu(tokens: str) -> Any:
    from sacrebleu.metrics.bleu import BLEU  # imported when there is something to count

    return BLEU(tokenize=tokens, effective_order=True)  # its counts, which are all that is read, are the same


def bleu_counts(answers: Sequence[str], truth: Sequence[str]) -> FloatArray:
    """Return (N, 10): words of the answer and of the truth, then matching and possible n-grams up to four."""
    found = np.zeros((len(answers), 2 + 2 * ORDER))
    for row, (answer, true) in enumerate(zip(answers, truth, strict=True)):
        one = _bleu("zh" if HAN.search(true) else "13a").sentence_score(answer, [true])
        found[row] = [one.sys_len, one.ref_len, *one.counts, *one.totals]
    return found


def bleu_of(counts: FloatArray) -> FloatArray:
    """Return BLEU of summed counts, (10, R) to (R,), from 0 to 100."""
    length, reference, right, possible = counts[0], counts[1], counts[2 : 2 + ORDER], counts[2 + ORDER :]
    missed = np.cumsum((right == 0) & (possible > 0), axis=0)  # each order without a match halves its smoothed count
    smoothed = np.where(right > 0, right, 0.5**missed)
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.where(possible > 0, smoothed / possible, 0.0)
        brevity = np.where(length < reference, np.exp(1 - ratio(reference, length, np.inf)), 1.0)
        value = 100 * brevity * np.exp(np.log(precision).mean(axis=0))
    return np.where((right.sum(axis=0) == 0) | (possible == 0).any(axis=0), 0.0, value)


def chrf_counts(answers: Sequence[str], truth: Sequence[str]) -> FloatArray:
    """Return (N, 18): for one to six characters in a row, those of the answer, of the truth, and those in both."""
    return np.asarray([_characters(a, t) for a, t in zip(answers, truth, strict=True)]).reshape(-1, 3 * CHARACTERS)


def _characters(answer: str, truth: str) -> list[float]:
    texts = ["".join(text.split()) for text in (answer, truth)]
    found: list[float] = []
    for size in range(1, CHARACTERS + 1):
        ours, theirs = (Counter(text[i : i + size] for i in range(len(text) - size + 1)) for text in texts)
        reached = ours.total() if theirs else 0  # sacreBLEU counts no guess where there is nothing to find
        found += [float(reached), float(theirs.total()), float((ours & theirs).total())]
    return found


def chrf_of(counts: FloatArray) -> FloatArray:
    """Return chrF2 of summed counts, (18, R) to (R,), from 0 to 100."""
    ours, theirs, both = counts[0::3], counts[1::3], counts[2::3]
    there = (ours > 0) & (theirs > 0)
    precision = np.where(there, ratio(both, ours, 0.0), 0.0).sum(axis=0)
    recall = np.where(there, ratio(both, theirs, 0.0), 0.0).sum(axis=0)
    orders = there.sum(axis=0).astype(np.float64)
    precision, recall = ratio(precision, orders, 0.0), ratio(recall, orders, 0.0)
    return 100 * ratio((1 + BETA**2) * precision * recall, BETA**2 * precision + recall, 0.0)
