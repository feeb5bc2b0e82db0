"""Batches by cost budget."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.data.batches import pad, padding_share, pieces, plan_epoch, sorted_batches

LENGTHS = np.random.default_rng(0).gamma(4.0, 7.0, 4000).astype(np.int64) + 4


def plan(epoch: int = 0, seed: int = 1, fingerprint: str = "d", window: int = 50) -> list[np.ndarray]:
    return plan_epoch(LENGTHS, budget=1024, window=window, fingerprint=fingerprint, seed=seed, epoch=epoch)


def test_every_row_is_in_exactly_one_batch_within_budget() -> None:
    batches = plan()
    assert sorted(np.concatenate(batches)) == list(range(len(LENGTHS)))
    assert all(len(batch) * LENGTHS[batch].max() <= 1024 for batch in batches)


def test_the_plan_is_a_pure_function_of_data_seed_and_epoch() -> None:
    def same(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
        return len(a) == len(b) and all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))

    assert same(plan(), plan())
    assert not same(plan(), plan(epoch=1))
    assert not same(plan(), plan(seed=2))
    assert not same(plan(), plan(fingerprint="e"))


def test_windows_trade_padding_against_randomness() -> None:
    assert padding_share(plan(window=50), LENGTHS) < 0.05
    assert padding_share(plan(window=1), LENGTHS) > padding_share(plan(window=50), LENGTHS)


def test_batches_mix_rows_from_everywhere() -> None:
    spread = [np.ptp(batch) for batch in plan() if len(batch) > 10]
    assert np.median(spread) > len(LENGTHS) / 2


def test_a_row_over_budget_is_a_batch_alone() -> None:
    batches = plan_epoch(np.array([5, 2000, 5]), budget=100, window=1, fingerprint="d", seed=0, epoch=0)
    assert [list(batch) for batch in batches if 1 in batch] == [[1]]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 200), max_size=80), st.integers(1, 300))
def test_sorted_batches_hold_every_row_once(costs: list[int], budget: int) -> None:
    cost = np.array(costs, dtype=np.int64)
    batches = sorted_batches(cost, budget)
    assert sorted(np.concatenate([np.empty(0, int), *batches]).tolist()) == list(range(len(cost)))
    assert all(len(b) == 1 or len(b) * cost[b].max() <= budget for b in batches)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 200), max_size=40), st.integers(1, 9))
def test_pieces_hold_every_row_once_in_order(costs: list[int], number: int) -> None:
    cost = np.array(costs, dtype=np.int64)
    parts = pieces(np.arange(len(cost)), cost, number)
    assert len(parts) == number
    assert np.concatenate(parts).tolist() == list(range(len(cost)))
    assert all(len(part) for part in parts) or len(cost) < number


def test_pieces_have_about_equal_cost() -> None:
    cost = np.full(64, 10)
    assert [len(part) for part in pieces(np.arange(64), cost, 4)] == [16, 16, 16, 16]


def test_padding_is_on_the_right_and_masked() -> None:
    values, mask = pad([np.array([7, 8]), np.array([9])], value=3)
    assert values.tolist() == [[7, 8], [9, 3]]
    assert mask.tolist() == [[1, 1], [1, 0]]


def test_no_rows_make_no_batches() -> None:
    assert plan_epoch(np.empty(0, np.int64), budget=10, window=1, fingerprint="", seed=0, epoch=0) == []
    assert padding_share([], LENGTHS) == pytest.approx(0)
