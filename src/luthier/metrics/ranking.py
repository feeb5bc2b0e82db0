r"""How well what is relevant stands at the top of a ranking.

A query has one relevant candidate or more, each with a gain above 0. With their ranks \(r_1 < r_2 < \dots\), counted
from 1, and gains \(g_i\):

- recall at k: the share of them with \(r_i \le k\);
- reciprocal rank: \(1 / r_1\), whose mean over queries is MRR;
- average precision: the mean of \(i / r_i\), whose mean over queries is MAP;
- nDCG at k: \(\sum_{r_i \le k} g_i / \log_2 (1 + r_i)\) over the largest value that it can take.

Every metric is a mean over queries. Deviation: nDCG takes the gain as it is, not \(2^g - 1\); for gains of 0 and 1 they
are the same.

References: Jaervelin and Kekaelaeinen 2002, Cumulated gain-based evaluation of IR techniques; Manning, Raghavan and
Schuetze 2008, Introduction to Information Retrieval, chapter 8.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from luthier.metrics.classification import value_of
from luthier.metrics.scores import FloatArray, IntArray
from luthier.metrics.weighted import Statistic, row_mean

Hits = Sequence[tuple[int, float]]  # (rank, gain) of each relevant candidate


@dataclass(frozen=True, eq=False)
class RankingScores:
    """Where the relevant candidates of each query stand.

    Attributes:
        query: (N,) a number that names the query.
        rank: (N, M) ranks of its relevant candidates from 1, rising; 0 fills up.
        gain: (N, M) how relevant each is, above 0; 0 fills up.
        candidates: (N,) how many candidates were ranked.
        loss: (N,) mean over the relevant of the negative log of their share in the softmax of all scores, in nats; NaN
            where scores are not on such a scale.
    """

    query: IntArray
    rank: IntArray
    gain: FloatArray
    candidates: IntArray
    loss: FloatArray

    @property
    def rows(self) -> int:
        """The number of queries, N."""
        return len(self.query)

    @property
    def target(self) -> IntArray:
        """(N,) what must be equal for two models to be compared query by query: the queries."""
        return self.query

    def take(self, rows: npt.ArrayLike) -> RankingScores:
        """Return the scores of some queries, by index or by mask, in that order."""
        chosen = np.asarray(rows)
        parts = (self.query, self.rank, self.gain, self.candidates, self.loss)
        return RankingScores(*(part[chosen] for part in parts))


def ranking_scores(
    query: IntArray, hits: Sequence[Hits], candidates: IntArray, loss: FloatArray
) -> tuple[RankingScores, IntArray]:
    """Return the scores of queries that are spread over rows, and the first row of each.

    Args:
        query: (R,) the query of each row.
        hits: R rows' relevant candidates; one that two rows of a query share counts once.
        candidates: (R,) how many candidates the row's query has.
        loss: (R,) see `RankingScores`; a query has the mean of its rows.

    Returns:
        Scores of the N queries with a relevant candidate, in the order of their first rows (N,).
    """
    rows: dict[int, list[int]] = {}
    for row, name in enumerate(query.tolist()):
        rows.setdefault(name, []).append(row)
    found = {name: dict(hit for row in own for hit in hits[row]) for name, own in rows.items()}
    kept = [name for name, ranks in found.items() if ranks]
    width = max((len(found[name]) for name in kept), default=0)
    rank, gain = np.zeros((len(kept), width), np.int64), np.zeros((len(kept), width))
    for place, name in enumerate(kept):
        for column, one in enumerate(sorted(found[name])):
            rank[place, column], gain[place, column] = one, found[name][one]
    first = np.asarray([rows[name][0] for name in kept], np.int64)
    mean = np.asarray([loss[rows[name]].mean() for name in kept], np.float64)
    return RankingScores(np.asarray(kept, np.int64), rank, gain, candidates[first], mean), first


def ranks_of(scores: npt.ArrayLike, relevant: IntArray, ties: IntArray) -> IntArray:
    """Return the ranks of some candidates among all, from 1.

    Args:
        scores: (C,) of all candidates, higher is better.
        relevant: (M,) places of those asked for.
        ties: (C,) different numbers; of candidates with equal scores the one with the lowest stands first.
    """
    order = np.lexsort((ties, -np.asarray(scores, np.float64)))
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(1, len(order) + 1)
    return rank[relevant]


def softmax_loss(scores: npt.ArrayLike, relevant: IntArray) -> float:
    """Return the mean over some candidates of the negative log of their share in the softmax of all scores (C,)."""
    values = np.asarray(scores, np.float64)
    high = values.max()
    return float(high + np.log(np.exp(values - high).sum()) - values[relevant].mean())


def recall_values(scores: RankingScores, *, k: int) -> FloatArray:
    """Return (N,) the share of the relevant candidates among the first k; NaN where there are no more than k."""
    there = scores.rank > 0
    found: FloatArray = ((scores.rank <= k) & there).sum(axis=1) / there.sum(axis=1)
    return np.where(scores.candidates > k, found, np.nan)


def reciprocal_rank_values(scores: RankingScores) -> FloatArray:
    """Return (N,) one over the rank of the first relevant candidate."""
    found: FloatArray = 1.0 / scores.rank[:, 0]
    return found


def average_precision_values(scores: RankingScores) -> FloatArray:
    """Return (N,) the mean over the relevant candidates of the precision at their ranks."""
    there = scores.rank > 0
    precision = np.arange(1, scores.rank.shape[1] + 1) / np.maximum(scores.rank, 1)
    found: FloatArray = (precision * there).sum(axis=1) / there.sum(axis=1)
    return found


def ndcg_values(scores: RankingScores, *, k: int) -> FloatArray:
    """Return (N,) the discounted gain among the first k over the largest possible one."""
    there = (scores.rank > 0) & (scores.rank <= k)
    got = (scores.gain / np.log2(1.0 + np.maximum(scores.rank, 1)) * there).sum(axis=1)
    best = -np.sort(-scores.gain, axis=1)[:, :k]
    ideal = (best / np.log2(np.arange(2, best.shape[1] + 2))).sum(axis=1)
    found: FloatArray = got / ideal
    return found


def loss_values(scores: RankingScores) -> FloatArray:
    """Return (N,) the losses."""
    return scores.loss


def _statistic(values: Callable[[RankingScores], FloatArray], scores: RankingScores) -> Statistic:
    """Return the mean over the queries; undefined where one of them is."""
    found = values(scores) if scores.rows else np.empty(0)
    if np.isnan(found).any():
        return lambda weights: np.full(weights.shape[1], np.nan)
    return row_mean(found)


def _value(values: Callable[[RankingScores], FloatArray], scores: RankingScores) -> float | None:
    return value_of(_statistic(values, scores), scores.rows)


VALUES: dict[str, Callable[[RankingScores], FloatArray]] = {
    "mrr": reciprocal_rank_values,
    "ndcg_at_10": partial(ndcg_values, k=10),
    "map": average_precision_values,
    "recall_at_1": partial(recall_values, k=1),
    "recall_at_5": partial(recall_values, k=5),
    "recall_at_10": partial(recall_values, k=10),
    "ranking_loss": loss_values,
}
"""Name of a metric → its value for each query."""

STATISTICS: dict[str, Callable[[RankingScores], Statistic]] = {
    name: partial(_statistic, values) for name, values in VALUES.items()
}
FUNCTIONS: dict[str, Callable[[RankingScores], float | None]] = {
    name: partial(_value, values) for name, values in VALUES.items()
}
