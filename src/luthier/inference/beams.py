"""Beam search: several answers to a prompt are followed at the same time, and the best finished one is taken.

A beam is an unfinished answer with the sum of its tokens' log-probabilities. Each step goes on from every beam with
every token and keeps the best as the next beams. A continuation that ends, if it is among the best, is finished: its
sum is divided by its length to the power of the length penalty. A row is done when so many answers are finished as
there are beams, and either `early_stopping` is set or no beam could be better than the worst of them at its present
length (the rule of Transformers' `generate`, which these answers equal).

Reference: Graves 2012, Sequence Transduction with Recurrent Neural Networks; the penalty is that of Wu et al. 2016
without its constant. Not covered: beams that are drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier.inference.tokens import Generator, Ids, Token
from luthier.tasks.base import Decoding

FloatArray = NDArray[np.float64]
Answer = tuple[Token, ...]


@dataclass
class _Row:
    """The beams of one prompt.

    Attributes:
        decoding: how answers are made.
        limit: most tokens of an answer.
        beams: unfinished answers, the best first; the first step has one.
        scores: (K,) of them.
        finished: (score, answer), the best first; at most as many as there are beams.
        done: whether nothing better is to come.
    """

    decoding: Decoding
    limit: int
    beams: list[Answer] = field(default_factory=lambda: [()])
    scores: FloatArray = field(default_factory=lambda: np.zeros(1))
    finished: list[tuple[float, Answer]] = field(default_factory=list)
    done: bool = False

    def step(self, logprob: FloatArray) -> tuple[list[int], list[int]]:
        """Go on from every beam; return each next beam's parent and its new token.

        Args:
            logprob: (K, V) of the next token after each beam.
        """
        width, decoding = self.decoding.num_beams, self.decoding
        total = (self.scores[:, None] + logprob).ravel()
        running: list[tuple[float, int, Answer]] = []
        for rank, place in enumerate(_best(total, 2 * width)):
            parent, token = divmod(int(place), logprob.shape[1])
            ended = token == decoding.end_id
            last = ended or len(self.beams[parent]) + 1 >= self.limit
            answer = (*self.beams[parent], Token(token, float(logprob[parent, token]), last, ended))
            if not last:
                running.append((float(total[place]), parent, answer))
            elif rank < width:
                self.finished.append((float(total[place]) / len(answer) ** decoding.length_penalty, answer))
        self.finished = sorted(self.finished, key=lambda one: -one[0])[:width]
        kept = running[:width]
        self.done = not kept or self._settled(kept[0])
        self.beams, self.scores = [one[2] for one in kept], np.asarray([one[0] for one in kept])
        return [parent for _, parent, _ in kept], [answer[-1].id for *_, answer in kept]

    def _settled(self, best: tuple[float, int, Answer]) -> bool:
        """Return whether the finished answers stay."""
        if len(self.finished) < self.decoding.num_beams:
            return False
        possible = best[0] / len(best[2]) ** self.decoding.length_penalty
        return self.decoding.early_stopping or possible <= self.finished[-1][0]


def beam_search(generator: Generator, prompts: Sequence[Ids], decoding: Decoding) -> list[list[Token]]:
    """Return each prompt's best answer.

    Args:
        generator: runs the model.
        prompts: token ids, a batch.
        decoding: with two beams or more.
    """
    every = [_Row(decoding, decoding.limit(len(prompt))) for prompt in prompts]
    logits, state = generator.prefill(prompts)
    open_rows, width = every, [1] * len(every)
    while True:
        logprob, starts = _log_softmax(logits), np.cumsum([0, *width])
        parents: list[int] = []
        tokens: list[int] = []
        for row, start, beams in zip(open_rows, starts, width, strict=False):
            found, ids = row.step(logprob[start : start + beams])
            if not row.done:
                parents += [int(start) + parent for parent in found]
                tokens += ids
        open_rows = [row for row in open_rows if not row.done]
        if not open_rows:
            return [list(row.finished[0][1]) for row in every]
        width = [len(row.beams) for row in open_rows]
        state = _kept(generator, state, parents, len(logits))
        logits, state = generator.step(state, np.asarray(tokens))


def _kept(generator: Generator, state: Any, parents: Sequence[int], rows: int) -> Any:
    """Return what is remembered of the parents, in their order."""
    return state if list(parents) == list(range(rows)) else generator.keep(state, np.asarray(parents))


def _best(scores: FloatArray, number: int) -> NDArray[np.int64]:
    """Return the places of the highest scores, the best first."""
    number = min(number, len(scores))
    found = np.argpartition(-scores, number - 1)[:number]
    return found[np.argsort(-scores[found], kind="stable")]


def _log_softmax(logits: NDArray[np.float32]) -> FloatArray:
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=1, keepdims=True)
    found: FloatArray = wide - np.log(np.exp(wide).sum(axis=1, keepdims=True))
    return found
