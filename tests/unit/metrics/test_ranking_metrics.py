"""Metrics of rankings against scikit-learn and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import label_ranking_average_precision_score, ndcg_score

from luthier.metrics.intervals import bootstrap, paired_bootstrap
from luthier.metrics.ranking import FUNCTIONS, RankingScores, ranking_scores, ranks_of, softmax_loss
from luthier.metrics.registry import METRICS, metrics_about

CANDIDATES = 30


def drawn(queries: int = 50, seed: int = 0) -> tuple[np.ndarray, np.ndarray, RankingScores]:
    """Return scores and gains (Q, C), and what our functions make of them."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(queries, CANDIDATES))
    gains = np.where(rng.random((queries, CANDIDATES)) < 0.1, rng.integers(1, 4, (queries, CANDIDATES)), 0.0)
    gains[np.arange(queries), rng.integers(0, CANDIDATES, queries)] = 1.0
    ties = np.arange(CANDIDATES)
    hits, loss = [], []
    for row, gain in zip(scores, gains, strict=True):
        relevant = np.flatnonzero(gain)
        ranks = ranks_of(row, relevant, ties)
        hits.append([(int(rank), float(gain[one])) for rank, one in zip(ranks, relevant, strict=True)])
        loss.append(softmax_loss(row, relevant))
    found, first = ranking_scores(np.arange(queries), hits, np.full(queries, CANDIDATES), np.asarray(loss))
    assert np.array_equal(first, np.arange(queries))
    return scores, gains, found


def test_ndcg_and_map_are_those_of_scikit_learn() -> None:
    scores, gains, found = drawn()
    assert FUNCTIONS["ndcg_at_10"](found) == pytest.approx(ndcg_score(gains, scores, k=10), abs=1e-12)
    expected = label_ranking_average_precision_score((gains > 0).astype(int), scores)
    assert FUNCTIONS["map"](found) == pytest.approx(expected, abs=1e-12)


def test_the_others_by_plain_counting() -> None:
    scores, gains, found = drawn()
    reciprocal, recall, loss = [], {1: [], 5: [], 10: []}, []
    for row, gain in zip(scores, gains, strict=True):
        order = sorted(range(CANDIDATES), key=lambda place: -row[place])
        ranks = [order.index(place) + 1 for place in range(CANDIDATES) if gain[place] > 0]
        reciprocal.append(1 / min(ranks))
        for k, values in recall.items():
            values.append(sum(rank <= k for rank in ranks) / len(ranks))
        share = np.exp(row) / np.exp(row).sum()
        loss.append(-np.log(share[gain > 0]).mean())
    assert FUNCTIONS["mrr"](found) == pytest.approx(np.mean(reciprocal))
    for k, values in recall.items():
        assert FUNCTIONS[f"recall_at_{k}"](found) == pytest.approx(np.mean(values))
    assert FUNCTIONS["ranking_loss"](found) == pytest.approx(np.mean(loss))


def test_a_better_ranking_looks_better() -> None:
    _, _, worse = drawn()
    better = RankingScores(worse.query, np.maximum(1, worse.rank // 2), worse.gain, worse.candidates, worse.loss / 2)
    better.rank[worse.rank == 0] = 0
    for metric in metrics_about("ranking"):
        gain = metric.function(better) - metric.function(worse)
        assert (gain > 0) == metric.greater_is_better, metric.name


def test_rows_of_one_query_are_one_ranking() -> None:
    hits = [[(3, 1.0)], [(1, 1.0)], [(4, 1.0)], [(3, 1.0)], []]
    found, first = ranking_scores(
        np.array([7, 8, 7, 7, 9]), hits, np.full(5, 6), np.array([1.0, 2.0, 3.0, 1.0, np.nan])
    )
    assert found.query.tolist() == [7, 8]  # a query without a relevant candidate says nothing
    assert found.rank.tolist() == [[3, 4], [1, 0]]
    assert first.tolist() == [0, 1]
    assert FUNCTIONS["mrr"](found) == pytest.approx((1 / 3 + 1) / 2)
    assert FUNCTIONS["map"](found) == pytest.approx(((1 / 3 + 2 / 4) / 2 + 1) / 2)


def test_equal_scores_are_ordered_by_the_ties_alone() -> None:
    assert ranks_of([1.0, 1.0, 2.0, 1.0], np.arange(4), np.array([2, 0, 1, 3])).tolist() == [3, 2, 1, 4]


def test_recall_among_too_few_candidates_is_undefined() -> None:
    found, _ = ranking_scores(np.arange(2), [[(1, 1.0)], [(2, 1.0)]], np.array([8, 8]), np.full(2, np.nan))
    assert FUNCTIONS["recall_at_5"](found) == 1.0
    assert FUNCTIONS["recall_at_10"](found) is None
    assert FUNCTIONS["ranking_loss"](found) is None
    nobody, _ = ranking_scores(np.arange(1), [[]], np.array([8]), np.array([np.nan]))
    assert all(function(nobody) is None for function in FUNCTIONS.values())


def test_intervals_resample_queries() -> None:
    _, _, scores = drawn()
    intervals = bootstrap(scores, metrics_about("ranking"), resamples=200)
    for metric in metrics_about("ranking"):
        low, high = intervals[metric.name]
        assert low < metric.function(scores) < high
        fast = metric.statistic(scores)(np.eye(scores.rows)[:, :3])
        slow = [metric.function(scores.take([row])) for row in range(3)]
        assert np.allclose(fast, slow)
    assert paired_bootstrap(scores, scores, METRICS["mrr"], resamples=50).difference == 0.0
