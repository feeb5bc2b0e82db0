"""Making text token by token: what a generator is, and the loop over it.

A draw depends on the seed and the prompt's own tokens alone, so a prompt has one answer whatever stands beside it in a
batch, and `predict` and HTTP agree. Covered: greedy choice, sampling by temperature and nucleus (Holtzman et al. 2020),
and beams (`inference.beams`). Not covered: penalties of repetition, several answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier.data.batches import cut
from luthier.data.draws import generator as draws_for
from luthier.inference.beams import beam_search
from luthier.inference.tokens import Generator, Ids, Token
from luthier.tasks.base import Decoding

ROWS_AT_ONCE = 64
COMPACT_BELOW = 0.5  # share of a batch's rows that are still being written


class _Writer:
    """One row's answer as it grows."""

    def __init__(self, prompt: Ids, decoding: Decoding) -> None:
        self.decoding = decoding
        self.limit = decoding.limit(len(prompt))
        self.tokens: list[Token] = []
        text = ",".join(map(str, prompt.tolist()))
        self.draws = draws_for(decoding.seed, "generate", text) if decoding.temperature > 0 else None

    def write(self, logits: NDArray[np.float32], best: int, norm: float) -> Token:
        """Choose the next token.

        Args:
            logits: (V,) of it.
            best: the likeliest.
            norm: the logarithm of the sum of the exponentials of the logits.
        """
        chosen = best if self.draws is None else self._drawn(logits.astype(np.float64), float(self.draws.random()))
        logprob = float(logits[chosen]) - norm
        ended = chosen == self.decoding.end_id
        token = Token(chosen, logprob, ended or len(self.tokens) + 1 >= self.limit, ended)
        self.tokens.append(token)
        return token

    def _drawn(self, scores: NDArray[np.float64], draw: float) -> int:
        scaled = scores / self.decoding.temperature
        order = np.argsort(-scaled, kind="stable")
        share = np.exp(scaled[order] - scaled[order[0]])
        total = np.cumsum(share)
        kept = int(np.searchsorted(total, self.decoding.top_p * total[-1], side="left")) + 1
        place = int(np.searchsorted(total[:kept], draw * total[min(kept, len(total)) - 1], side="right"))
        return int(order[min(place, kept - 1)])


def stream(generator: Generator, prompt: Ids, decoding: Decoding) -> Iterator[Token]:
    """Yield the tokens of one answer as they are made; with beams, when it is complete."""
    if decoding.num_beams > 1:
        yield from beam_search(generator, [prompt], decoding)[0]
        return
    writer = _Writer(prompt, decoding)
    logits, state = generator.prefill([prompt])
    while True:
        best, norm = _summary(logits)
        token = writer.write(logits[0], int(best[0]), float(norm[0]))
        yield token
        if token.last:
            return
        logits, state = generator.step(state, np.asarray([token.id]))


def generate(generator: Generator, prompts: Sequence[Ids], decoding: Decoding, *, budget: int) -> list[list[Token]]:
    """Return the answers' tokens, in the order of the prompts.

    Args:
        generator: runs the model.
        prompts: token ids, any number.
        decoding: how answers are made.
        budget: rows x longest prompt and answer of a batch.
    """
    cost = np.asarray([len(prompt) + decoding.max_new_tokens for prompt in prompts], np.int64) * decoding.num_beams
    found: list[list[Token]] = [[] for _ in prompts]
    write = beam_search if decoding.num_beams > 1 else _generate_batch
    for batch in cut(np.argsort(cost, kind="stable"), cost, budget):
        for start in range(0, len(batch), ROWS_AT_ONCE):
            rows = batch[start : start + ROWS_AT_ONCE]
            answers = write(generator, [prompts[row] for row in rows], decoding)
            for row, answer in zip(rows, answers, strict=True):
                found[row] = answer
    return found


def _generate_batch(generator: Generator, prompts: Sequence[Ids], decoding: Decoding) -> list[list[Token]]:
    writers = [_Writer(prompt, decoding) for prompt in prompts]
    logits, state = generator.prefill(prompts)
    rows = np.arange(len(prompts))  # the writers that the state's rows belong to
    open_rows = np.ones(len(prompts), bool)
    while True:
        tokens = np.full(len(rows), decoding.end_id, np.int64)
        best, norm = _summary(logits)
        for place in np.flatnonzero(open_rows):
            token = writers[rows[place]].write(logits[place], int(best[place]), float(norm[place]))
            tokens[place], open_rows[place] = token.id, not token.last
        if not open_rows.any():
            return [writer.tokens for writer in writers]
        if open_rows.mean() < COMPACT_BELOW:
            kept = np.flatnonzero(open_rows)
            state = generator.keep(state, kept)
            rows, tokens, open_rows = rows[kept], tokens[kept], open_rows[kept]
        logits, state = generator.step(state, tokens)


def _summary(logits: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return each row's likeliest token and the logarithm of the sum of its exponentials, (B,) each."""
    best = logits.argmax(axis=1)
    top = logits[np.arange(len(logits)), best].astype(np.float64)
    total = np.exp(logits - top[:, None].astype(np.float32)).sum(axis=1, dtype=np.float64)
    return best, top + np.log(total)


def as_outputs(answers: Sequence[Sequence[Token]], decoding: Decoding) -> dict[str, Any]:
    """Return answers as named arrays: `tokens` and `logprob` (N, K), padded with -1 and 0; `length`, `ended` (N,)."""
    shape = (len(answers), decoding.max_new_tokens)
    tokens, logprob = np.full(shape, -1, np.int64), np.zeros(shape)
    for row, answer in enumerate(answers):
        tokens[row, : len(answer)] = [token.id for token in answer]
        logprob[row, : len(answer)] = [token.logprob for token in answer]
    return {
        "tokens": tokens,
        "logprob": logprob,
        "length": np.asarray([len(answer) for answer in answers], np.int64),
        "ended": np.asarray([bool(answer and answer[-1].ended) for answer in answers]),
    }
