"""The evaluation of rankings: passages found among all (retrieval), or put in order (reranking)."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from luthier.artifacts.evaluation import Baseline, EvalReport, RankedBlock, RankedExample
from luthier.evaluation.evidence import Evidence, SplitEvidence
from luthier.evaluation.lexical import LEXICAL
from luthier.evaluation.measuring import beside, defined, measured, report_of, validated
from luthier.evaluation.slices import slices
from luthier.metrics.ranking import Hits, RankingScores, ranking_scores, ranks_of, softmax_loss
from luthier.metrics.resampling import generator
from luthier.metrics.scores import RowScores
from luthier.tasks.base import Prediction, Scored, Truth
from luthier.tasks.embedding import POSITIVE, TEXT
from luthier.tasks.reranking import listed

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
COSINE_SCALE = 20.0  # of cosines in the ranking loss, as in the usual training loss
LEAST_SCORE = 0.5  # from which a scored pair belongs together
QUERIES_AT_ONCE = 256


@dataclass(frozen=True)
class RankedRows:
    """What a split's rows say about their queries.

    Attributes:
        query: (R,) the query of each row.
        hits: R lists of (rank, gain) of the relevant candidates.
        candidates: (R,) how many were ranked.
        loss: (R,) see `RankingScores`.
        best: (R,) where the candidate at the top stands: a row of the split for retrieval, a scored feature for
            reranking.
    """

    query: IntArray
    hits: Sequence[Hits]
    candidates: IntArray
    loss: FloatArray
    best: IntArray

    def scores(self) -> tuple[RankingScores, IntArray]:
        """Return the scores of the queries, and the first row of each."""
        return ranking_scores(self.query, self.hits, self.candidates, self.loss)


class RankingEvaluation(ABC):
    """Judges where the relevant candidates of each query stand. Queries are what is resampled."""

    loss: ClassVar[str] = "ranking_loss"
    baselines: ClassVar[tuple[str, ...]]

    @abstractmethod
    def ranked(self, scored: Scored, outputs: Mapping[str, NDArray[Any]]) -> RankedRows:
        """Return what a model's outputs for a split's features make of its rows."""

    @abstractmethod
    def simple(self, name: str, evidence: Evidence) -> RankedRows:
        """Return what a baseline makes of the test rows."""

    @abstractmethod
    def texts(self, split: SplitEvidence, row: int, best: int) -> tuple[str, str]:
        """Return the right passage of a row, and the one that stands at the top."""

    def validate(
        self, scored: Scored, truth: Truth, predictions: Callable[[], Sequence[Prediction]], metrics: Sequence[str]
    ) -> dict[str, float]:
        """Return metrics of validation rows, in the order asked; an undefined one is left out."""
        scores, _ = self.ranked(scored, scored.outputs).scores()
        return validated(scores, "ranking", metrics)

    def report(self, evidence: Evidence) -> EvalReport:
        """Return the whole evaluation on the test split."""
        rows = self.ranked(evidence.test.scored, evidence.test.outputs)
        scores, first = rows.scores()
        return report_of(
            evidence,
            scores.rows,
            metrics=measured(scores, defined(scores, "ranking"), evidence),
            baselines=[self._against(name, scores, evidence) for name in evidence.baselines],
            slices=slices(scores, [], replace(evidence, test=_rows_of(evidence.test, first))),
            blocks=[self._worst(rows, scores, first, evidence)],
        )

    def predictions(self, evidence: Evidence) -> dict[str, Any]:
        """Return each test row's query, the ranks and gains of its relevant candidates, and how many were ranked."""
        rows = self.ranked(evidence.test.scored, evidence.test.outputs)
        return {
            "query": rows.query,
            "hits": [json.dumps(list(map(list, hits))) for hits in rows.hits],
            "candidates": rows.candidates,
        }

    def scores(self, columns: Mapping[str, NDArray[Any]]) -> RowScores:
        """Return the scores of rows that `predictions` wrote."""
        hits = [[(int(rank), float(gain)) for rank, gain in json.loads(text)] for text in columns["hits"]]
        query, candidates = (columns[name].astype(np.int64) for name in ("query", "candidates"))
        return ranking_scores(query, hits, candidates, np.full(len(query), np.nan))[0]

    def _against(self, name: str, scores: RankingScores, evidence: Evidence) -> Baseline:
        """Return a baseline with how far the model is ahead of it, query by query."""
        simple, _ = self.simple(name, evidence).scores()
        return beside(name, simple, scores, defined(simple, "ranking"), evidence)

    def _worst(self, rows: RankedRows, scores: RankingScores, first: IntArray, evidence: Evidence) -> RankedBlock:
        """Return the queries whose right passage stands lowest."""
        split = evidence.test
        wrong = np.flatnonzero(scores.rank[:, 0] > 1) if scores.rows else np.empty(0, np.int64)
        order = wrong[np.argsort(-scores.rank[wrong, 0], kind="stable")][: evidence.mistakes]
        shown = []
        for place in order:
            row = int(first[place])
            right, top = self.texts(split, row, int(rows.best[row]))
            shown.append(
                RankedExample(
                    place=split.place(row),
                    query=str(split.cells(evidence.inputs[0], np.asarray([row]))[0]),
                    right=right,
                    top=top,
                    rank=int(scores.rank[place, 0]),
                    candidates=int(scores.candidates[place]),
                )
            )
        return RankedBlock(split=split.name, total=len(wrong), rows=shown)


class RetrievalEvaluation(RankingEvaluation):
    """Judges `embedding` (N, H): every text looks for its positives among all different positives of the split."""

    baselines: ClassVar[tuple[str, ...]] = ("untuned", *LEXICAL)

    def ranked(self, scored: Scored, outputs: Mapping[str, NDArray[Any]]) -> RankedRows:
        """Return what vectors make of the rows; nearness is the cosine."""
        vectors = np.asarray(outputs["embedding"], np.float64)
        vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        part = np.asarray(scored.features.scalar["part"])[scored.index]
        pairs = Pairs.of(scored)
        return pairs.ranked(vectors[part == TEXT], vectors[part == POSITIVE][pairs.first], scale=COSINE_SCALE)

    def simple(self, name: str, evidence: Evidence) -> RankedRows:
        """Return the ranking by the untrained encoder, or by shared words."""
        if name == "untuned":
            return self.ranked(evidence.test.scored, evidence.untuned())
        pairs = Pairs.of(evidence.test.scored)
        asked, answers = ([str(text) for text in side] for side in _sides(evidence.test))
        train = [str(text) for side in _sides(evidence.train) for text in side]
        return pairs.ranked(*LEXICAL[name](train, asked, [answers[row] for row in pairs.first]), scale=None)

    def texts(self, split: SplitEvidence, row: int, best: int) -> tuple[str, str]:
        """Return a row's positive, and the passage that stands at the top."""
        return split.truth.cells[row], split.truth.cells[best]


@dataclass(frozen=True)
class Pairs:
    """The texts of a split's rows and their positives.

    Attributes:
        query: (R,) keys of the texts.
        passage: (R,) the place of each row's positive among the different ones.
        first: (P,) the first row that has each different positive.
        gain: (R,) 1 where text and positive belong together.
    """

    query: IntArray
    passage: IntArray
    first: IntArray
    gain: FloatArray

    @classmethod
    def of(cls, scored: Scored) -> Pairs:
        """Return what the features of a split say."""
        scalar = {name: np.asarray(values)[scored.index] for name, values in scored.features.scalar.items()}
        text, positive = scalar["part"] == TEXT, scalar["part"] == POSITIVE
        _, first, passage = np.unique(scalar["key"][positive], return_index=True, return_inverse=True)
        gain = np.ones(int(text.sum()))
        if "score" in scalar:
            gain = (scalar["score"][text] >= LEAST_SCORE).astype(np.float64)
        return cls(scalar["key"][text], passage.astype(np.int64), first.astype(np.int64), gain)

    def ranked(self, queries: Any, passages: Any, *, scale: float | None) -> RankedRows:
        """Return the rows' ranks when passages are ordered by their products with the query.

        Args:
            queries: (R, V), dense or sparse.
            passages: (P, V), likewise.
            scale: of the products in the ranking loss; None where they are not on a scale.
        """
        ties = _ties(len(self.first))
        hits: list[Hits] = []
        loss, best = np.full(len(self.query), np.nan), np.zeros(len(self.query), np.int64)
        for start in range(0, len(self.query), QUERIES_AT_ONCE):
            products = queries[start : start + QUERIES_AT_ONCE] @ passages.T
            block = products.toarray() if hasattr(products, "toarray") else products
            for row, scores in enumerate(block, start=start):
                own = self.passage[row : row + 1]
                hits.append([(int(ranks_of(scores, own, ties)[0]), 1.0)] if self.gain[row] else [])
                best[row] = self.first[np.lexsort((ties, -scores))[0]]
                if scale is not None:
                    loss[row] = softmax_loss(scale * scores, own)
        return RankedRows(self.query, hits, np.full(len(self.query), len(self.first)), loss, best)


class RerankingEvaluation(RankingEvaluation):
    """Judges `logits` (N, 1): the passages of a query in the order of their scores.

    Rows that share a query are one ranking, so that rows of one passage each are judged like lists.
    """

    baselines: ClassVar[tuple[str, ...]] = tuple(LEXICAL)

    def ranked(self, scored: Scored, outputs: Mapping[str, NDArray[Any]]) -> RankedRows:
        """Return what scores make of the rows."""
        return _reranked(scored, np.asarray(outputs["logits"], np.float64)[:, 0], with_loss=True)

    def simple(self, name: str, evidence: Evidence) -> RankedRows:
        """Return the ranking of the same candidates by shared words."""
        scored = evidence.test.scored
        lists = [listed(row["passages"]) for row in scored.inputs]
        flat = [text for texts in lists for text in texts]
        different = list(dict.fromkeys(flat))
        place = {text: number for number, text in enumerate(different)}
        train = [text for row in evidence.train.scored.inputs for text in (row["query"], *listed(row["passages"]))]
        asked, answers = LEXICAL[name](train, [row["query"] for row in scored.inputs], different)
        rows = np.repeat(np.arange(len(lists)), [len(texts) for texts in lists])
        scores = asked[rows].multiply(answers[[place[text] for text in flat]]).sum(axis=1)
        return _reranked(scored, np.asarray(scores, np.float64).ravel(), with_loss=False)

    def texts(self, split: SplitEvidence, row: int, best: int) -> tuple[str, str]:
        """Return the most relevant passage of a row's query, and the one that stands at the top."""
        scalar = split.scored.features.scalar
        index = split.scored.index
        same = np.flatnonzero(np.asarray(scalar["query"])[index] == np.asarray(scalar["query"])[index][best])
        right = int(same[np.asarray(scalar["relevance"])[index][same].argmax()])
        return self._passage(split, right), self._passage(split, best)

    def _passage(self, split: SplitEvidence, position: int) -> str:
        """Return the passage of a feature."""
        rows = split.scored.groups()
        row = int(np.searchsorted([own[-1] for own in rows], position))
        return listed(split.scored.inputs[row]["passages"])[position - int(rows[row][0])]


def _reranked(scored: Scored, scores: FloatArray, *, with_loss: bool) -> RankedRows:
    """Return rows' ranks from a score for each feature (N,); what one query has in several rows is ranked together."""
    query = np.asarray(scored.features.scalar["query"])[scored.index]
    gain = np.asarray(scored.features.scalar["relevance"])[scored.index]
    ties = _ties(len(scores))
    rank = np.zeros(len(scores), np.int64)
    size, top, loss = np.zeros(len(scores), np.int64), np.zeros(len(scores), np.int64), np.full(len(scores), np.nan)
    order = np.argsort(query, kind="stable")
    for own in np.split(order, np.flatnonzero(np.diff(query[order])) + 1):
        rank[own] = ranks_of(scores[own], np.arange(len(own)), ties[own])
        size[own], top[own] = len(own), own[rank[own].argmin()]
        relevant = np.flatnonzero(gain[own] > 0)
        if with_loss and len(relevant):
            loss[own] = softmax_loss(scores[own], relevant)
    groups = scored.groups()
    first = np.asarray([own[0] for own in groups], np.int64)
    hits = [[(int(rank[one]), float(gain[one])) for one in own if gain[one] > 0] for own in groups]
    return RankedRows(query[first], hits, size[first], loss[first], top[first])


def _ties(candidates: int) -> IntArray:
    """Return (C,) different numbers that decide between equal scores without regard to the candidates' order."""
    draws = generator(0, "ties").random_raw(candidates) if candidates else np.empty(0, np.uint64)
    return np.argsort(np.argsort(np.asarray(draws)))


def _sides(split: SplitEvidence) -> tuple[list[Any], list[Any]]:
    """Return the texts of a split's rows, and their positives."""
    return [row["text"] for row in split.scored.inputs], list(split.truth.cells[:])


def _rows_of(split: SplitEvidence, rows: IntArray) -> SplitEvidence:
    """Return a split in which some of its rows stand for all, for slices."""

    def cells(column: str, positions: IntArray | None) -> list[Any]:
        return split.cells(column, rows if positions is None else rows[positions])

    return replace(split, tokens=split.tokens[rows], cells=cells)
