"""Question answering, extractive: the part of a context that answers a question, or that there is none."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from luthier.data.features import FeatureBlock, Field
from luthier.data.text import TextEncoder, Window
from luthier.metrics.calibration import softmax
from luthier.metrics.extraction import best_f1
from luthier.tasks.base import BaseTask, Calibration, CellError, HeadSpec, Role, Scored, Targets, Truth, token_fields
from luthier.tasks.entities import json_text, parsed, shown
from luthier.tasks.windows import window_block

THRESHOLD = "no_answer_threshold"


def _about(sentence: str) -> dict[str, str]:
    return {"description": sentence}


@dataclass(frozen=True)
class AnswerSettings:
    """How long contexts are read, and which answers are looked for."""

    stride: Annotated[int, Ge(0)] = field(
        default=64,
        metadata=_about(
            "Tokens that two neighbouring windows of a long context share; an answer in them is seen whole."
        ),
    )
    max_answer_tokens: Annotated[int, Ge(1)] = field(default=30, metadata=_about("Longer answers are not looked for."))
    best: Annotated[int, Ge(1)] = field(default=5, metadata=_about("How many answers are listed, the likeliest first."))


@dataclass(frozen=True)
class Candidate:
    """A possible answer; `text` is None, and start and end -1, where it says that there is no answer."""

    text: str | None
    start: int
    end: int
    score: float


@dataclass(frozen=True)
class Answer:
    """The answer to one question.

    Attributes:
        answer: a part of the context; None where the context does not answer.
        start: of the answer in the context, in characters; -1 without one.
        end: one past its last character; -1 without one.
        score: its probability among the listed ones.
        best: the likeliest answers, `answer` among them.
    """

    answer: str | None
    start: int
    end: int
    score: float
    best: tuple[Candidate, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the answer as JSON-like values."""
        return {**self.as_columns(), "best": [dict(vars(one)) for one in self.best]}

    def as_columns(self) -> dict[str, Any]:
        """Return the answer as flat cells."""
        return {"answer": self.answer, "start": self.start, "end": self.end, "score": self.score}


class QuestionAnswering(BaseTask):
    """The part of a context that answers a question.

    A row is one feature per window of the context, the question whole in each. The head scores each token as start and
    as end of the answer; the first token stands for "not in this window". Where training has questions without an
    answer, the score of "no answer" (the lowest over the windows) must lead the best answer by a threshold fitted on
    validation.

    References: Rajpurkar et al. 2018, Know What You Don't Know; Devlin et al. 2019, section 4.3.
    """

    name: ClassVar[str] = "question-answering"
    settings: ClassVar[type] = AnswerSettings
    roles: ClassVar[tuple[Role, ...]] = (Role("question"), Role("context"), Role("answers", target=True))
    objective: ClassVar[str] = "span"
    evaluation: ClassVar[str] = "extraction"
    headline: ClassVar[str] = "answer_f1"
    windows: ClassVar[bool] = True

    options: AnswerSettings

    def target_cell(self, value: Any) -> str:
        """Return JSON text of a list of answers, `{text, start}` each with start -1 where it was not given.

        Null, an empty text and an empty list say that there is no answer.
        """
        found = parsed(value)
        if isinstance(found, Mapping) and isinstance(found.get("text"), list):  # as SQuAD is kept in tables
            texts, starts = found["text"], found.get("answer_start", [])
            if len(texts) != len(starts):
                raise CellError(f"must have as many starts as texts; got {len(starts)} for {len(texts)}")
            found = [{"text": text, "start": start} for text, start in zip(texts, starts, strict=True)]
        items = [] if found is None or found == "" else found if isinstance(found, list) else [found]
        return json_text([_answer(one) for one in items])

    def check_row(self, inputs: Mapping[str, Any], target: str | None) -> None:
        """Refuse an answer that is not in the context, or not where it is said to be."""
        for one in json.loads(target) if target is not None else []:
            place(one, inputs["context"])

    def check_fit(self, inputs: Mapping[str, Any], encoder: TextEncoder) -> None:
        """Refuse a question that leaves no room for its context."""
        question, room = inputs["question"], encoder.max_length - encoder.pair_special_tokens
        if 4 * len(question) + self.options.stride < room:  # a character has at most four tokens
            return
        left = room - len(encoder.ids([question])[0])
        if left <= self.options.stride:
            text = (
                f"is too long: it leaves {max(0, left)} tokens for the context, and the stride is {self.options.stride}"
            )
            raise CellError(text, "question")

    def fit_targets(self, counts: Mapping[str, int], declared: Any) -> Targets:
        """Return `{unanswerable}`: whether training has questions without an answer."""
        super().fit_targets(counts, declared)
        return {"unanswerable": "[]" in counts}

    def fields(self, encoder: TextEncoder) -> dict[str, Field]:
        """Return the padding; `allowed` is 1 on the tokens that may begin or end an answer."""
        return {
            **token_fields(encoder, types=True),
            "allowed": Field(pad=0),
            "place_starts": Field(pad=-1, batch=False),
            "place_ends": Field(pad=-1, batch=False),
        }

    def encode(
        self,
        columns: Mapping[str, Sequence[Any]],
        rows: NDArray[np.int64],
        encoder: TextEncoder,
        target: NDArray[np.int64] | None,
        targets: Targets,
    ) -> FeatureBlock:
        """Return a feature per window: `input_ids`, the place of each token, and `start` and `end` (N,)."""
        contexts = columns["context"]
        windows = encoder.windows(contexts, stride=self.options.stride, firsts=columns["question"])
        lists: dict[str, list[NDArray[np.int32]]] = {"allowed": [], "place_starts": [], "place_ends": []}
        found: list[tuple[int, int]] = []
        for row, parts in enumerate(windows):
            answers = [] if target is None else json.loads(columns["answers"][row])
            span = place(answers[0], contexts[row]) if answers else None
            for part in parts:
                starts, ends = _trimmed(part, contexts[row])
                allowed = (starts >= 0).astype(np.int32)
                allowed[0] = 1
                for name, values in zip(lists, (allowed, starts, ends), strict=True):
                    lists[name].append(values)
                found.append(_tokens_of(span, starts, ends))
        scalar = {} if target is None else {"start": _column(found, 0), "end": _column(found, 1)}
        return window_block(rows, windows, types=True, ragged=lists, scalar=scalar)

    def head(self, targets: Targets) -> HeadSpec:
        """Return a head with two outputs for each token."""
        return HeadSpec("span", {})

    def decode(self, scored: Scored, targets: Targets, calibration: Calibration) -> list[Answer]:
        """Return the answer to each question, from `logits` (N,) of (T, 2) each."""
        return [
            self._answer(cells["context"], candidates, null, targets, calibration)
            for cells, (candidates, null) in zip(scored.inputs, self._candidates(scored), strict=True)
        ]

    def calibrate(self, scored: Scored, truth: Truth, targets: Targets) -> Calibration:
        """Return the lead over the best answer from which "no answer" wins, with the best mean F1."""
        if not targets["unanswerable"]:
            return {}
        leads, gains = [], []
        for cells, cell, (candidates, null) in zip(scored.inputs, truth.cells, self._candidates(scored), strict=True):
            texts = [one["text"] for one in json.loads(cell)]
            best = candidates[0] if candidates else None
            answered = best_f1(cells["context"][best[0] : best[1]], texts) if best else 0.0
            leads.append(null - (best[2] if best else -np.inf))
            gains.append(best_f1("", texts) - answered)  # what saying "no answer" would add
        return {THRESHOLD: best_threshold(np.asarray(leads), np.asarray(gains))}

    def _candidates(self, scored: Scored) -> Iterator[tuple[list[tuple[int, int, float]], float]]:
        """Yield each row's best (start, end, score), the best first, and its score of "no answer"."""
        features = scored.features
        for group in scored.groups():
            found: dict[tuple[int, int], float] = {}
            null = np.inf
            for position in group:
                feature = int(scored.index[position])
                logits = scored.outputs["logits"][position]
                null = min(null, float(logits[0].sum()))
                starts, ends = features.row("place_starts", feature), features.row("place_ends", feature)
                for one in best_spans(logits, starts >= 0, self.options.max_answer_tokens, self.options.best):
                    key = (int(starts[one[0]]), int(ends[one[1]]))
                    found[key] = max(one[2], found.get(key, -np.inf))
            ordered = sorted(((*key, score) for key, score in found.items()), key=lambda one: (-one[2], one[0], one[1]))
            yield ordered[: self.options.best], null

    def _answer(
        self,
        context: str,
        candidates: Sequence[tuple[int, int, float]],
        null: float,
        targets: Targets,
        calibration: Calibration,
    ) -> Answer:
        silent = targets["unanswerable"] or not candidates
        bar = null - calibration.get(THRESHOLD, 0.0)
        scores = [score for *_, score in candidates] + ([bar] if silent else [])
        share = softmax(np.asarray([scores]))[0]
        listed = [
            Candidate(context[start:end], start, end, float(p))
            for (start, end, _), p in zip(candidates, share, strict=False)
        ]
        if silent:
            listed.append(Candidate(None, -1, -1, float(share[-1])))
        listed.sort(key=lambda one: -one.score)
        top = listed[0]
        return Answer(top.text, top.start, top.end, top.score, tuple(listed[: self.options.best]))

    def probe(self, text: str) -> dict[str, Any]:
        """Return the text as a context, and a question about it."""
        return {"question": "What is said here?", "context": text}

    def plain_texts(self, inputs: Mapping[str, Any]) -> None:
        """Return nothing: contexts are cut into windows."""
        return


def _answer(value: Any) -> dict[str, Any]:
    found = {"text": value} if isinstance(value, str) else value
    if not isinstance(found, Mapping) or not isinstance(found.get("text"), str) or not found["text"].strip():
        raise CellError(f"must hold answers: texts, or objects with text and start; got {shown(value)}")
    start = found.get("start", found.get("answer_start"))
    if start is not None and (isinstance(start, bool) or not isinstance(start, int)):
        raise CellError(f"must have a start that is a whole number; got {shown(value)}")
    return {"text": found["text"], "start": -1 if start is None else start}


def place(answer: Mapping[str, Any], context: str) -> tuple[int, int]:
    """Return start and end of an answer in its context; where no start is given, of its first occurrence.

    Raises:
        CellError: it is not there.
    """
    text, start = answer["text"], answer["start"]
    first = context.find(text)
    if first < 0:
        raise CellError(f"holds an answer that is not in the context: {shown(text)}. Copy it letter by letter")
    if start == -1:
        return first, first + len(text)
    if context[start : start + len(text)] != text or start < 0:
        raise CellError(f"holds an answer that is not in the context at {start}: {shown(text)} stands first at {first}")
    return start, start + len(text)


def _trimmed(window: Window, context: str) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return start and end of each token in the context, without white space; -1 for tokens that hold nothing of it."""
    starts, ends = window.spans[:, 0].copy(), window.spans[:, 1].copy()
    for number, (start, end) in enumerate(window.spans.tolist()):
        text = context[start:end] if start >= 0 else ""
        if not text.strip():
            starts[number] = ends[number] = -1
            continue
        starts[number] = end - len(text.lstrip())
        ends[number] = start + len(text.rstrip())
    return starts, ends


def _tokens_of(span: tuple[int, int] | None, starts: NDArray[np.int32], ends: NDArray[np.int32]) -> tuple[int, int]:
    """Return the first and last token of a span; (0, 0) where it does not lie whole in the window."""
    own = np.flatnonzero(starts >= 0)
    if span is None or not len(own) or starts[own[0]] > span[0] or ends[own[-1]] < span[1]:
        return 0, 0
    inside = own[(ends[own] > span[0]) & (starts[own] < span[1])]
    return (int(inside[0]), int(inside[-1])) if len(inside) else (0, 0)


def _column(pairs: Sequence[tuple[int, int]], number: int) -> NDArray[np.int64]:
    return np.asarray([pair[number] for pair in pairs], np.int64)


def best_spans(
    logits: NDArray[np.float64], allowed: NDArray[np.bool_], longest: int, number: int
) -> list[tuple[int, int, float]]:
    """Return the (first, last, score) of the best spans of tokens, the best first.

    Args:
        logits: (T, 2) of start and end.
        allowed: (T,) which tokens may begin or end one.
        longest: most tokens of a span.
        number: most spans.
    """
    own = np.flatnonzero(allowed)
    if not len(own):
        return []
    score = logits[own, 0][:, None] + logits[own, 1][None, :]
    length = own[None, :] - own[:, None] + 1
    score = np.where((length >= 1) & (length <= longest), score, -np.inf)
    order = np.argsort(-score, axis=None, kind="stable")[:number]
    firsts, lasts = np.unravel_index(order, score.shape)
    found = [(int(own[i]), int(own[j]), float(score[i, j])) for i, j in zip(firsts, lasts, strict=True)]
    return [one for one in found if np.isfinite(one[2])]


def best_threshold(leads: NDArray[np.float64], gains: NDArray[np.float64]) -> float:
    """Return the threshold t for which the gains of rows with lead > t add up to most; halfway between two leads.

    Args:
        leads: (N,) of "no answer" over the best answer.
        gains: (N,) what "no answer" adds to the row's F1.
    """
    if not len(leads):
        return 0.0
    order = np.argsort(-leads, kind="stable")
    sums = np.concatenate(([0.0], np.cumsum(gains[order])))  # by how many of the highest leads are silent
    ordered = leads[order]
    cuts = [0, *(np.flatnonzero(np.diff(ordered) < 0) + 1).tolist(), len(ordered)]
    best = max(cuts, key=lambda number: sums[number])
    above = ordered[best - 1] if best else ordered[0] + 2.0
    below = ordered[best] if best < len(ordered) else ordered[-1] - 2.0
    if not np.isfinite(above) or not np.isfinite(below):
        return float(below + 1.0) if np.isfinite(below) else 0.0
    return float((above + below) / 2)
