from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest

from luthier.serving.batching import Batcher
from luthier.serving.refusals import RefusedError


class Scorer:
    """Answers each row with itself; waits for `gate` first, so that a test decides what queues meanwhile."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.threads: set[int] = set()
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, rows: Sequence[Any]) -> list[int]:
        self.calls.append([row["n"] for row in rows])
        self.threads.add(threading.get_ident())
        assert self.gate.wait(20)
        if any(row["n"] < 0 for row in rows):
            raise ValueError("a text that must not be logged")
        return [row["n"] for row in rows]


def rows(*numbers: int) -> list[dict[str, int]]:
    return [{"n": number} for number in numbers]


def batcher_of(scorer: Scorer, **settings: Any) -> Batcher:
    return Batcher(scorer, **{"window_ms": 1.0, "max_batch_rows": 8, "max_queue_rows": 100, **settings})


async def busy(batcher: Batcher, scorer: Scorer) -> asyncio.Task[list[Any]]:
    """Close the gate and return a request that is being scored behind it."""
    scorer.gate.clear()
    first = asyncio.create_task(batcher.submit(rows(0)))
    while not scorer.calls or scorer.calls[-1] != [0]:
        await asyncio.sleep(0.001)
    return first


def test_rows_that_wait_together_are_scored_together_and_come_back_to_their_owner() -> None:
    async def go() -> None:
        scorer, sizes = Scorer(), []
        batcher = batcher_of(scorer, on_batch=sizes.append)
        batcher.start()
        first = await busy(batcher, scorer)
        requests = [asyncio.create_task(batcher.submit(rows(10 * i, 10 * i + 1))) for i in range(1, 6)]
        await asyncio.sleep(0.01)
        assert batcher.waiting == 10
        scorer.gate.set()
        assert await asyncio.gather(first, *requests) == [[0], *([10 * i, 10 * i + 1] for i in range(1, 6))]
        assert scorer.calls == [[0], [10, 11, 20, 21, 30, 31, 40, 41], [50, 51]]
        assert sizes == [1, 8, 2]
        assert batcher.waiting == 0
        assert len(scorer.threads) == 1
        await batcher.drain(5)

    asyncio.run(go())


def test_a_request_longer_than_a_batch_is_cut_and_put_together_again() -> None:
    async def go() -> None:
        scorer = Scorer()
        batcher = batcher_of(scorer, max_batch_rows=4)
        batcher.start()
        long, short = await asyncio.gather(batcher.submit(rows(*range(10))), batcher.submit(rows(99)))
        assert (long, short) == (list(range(10)), [99])
        assert scorer.calls == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 99]]
        await batcher.drain(5)

    asyncio.run(go())


def test_the_window_gathers_rows_that_come_one_after_the_other() -> None:
    async def go() -> None:
        scorer = Scorer()
        batcher = batcher_of(scorer, window_ms=200)
        batcher.start()
        first = asyncio.create_task(batcher.submit(rows(1)))
        await asyncio.sleep(0.02)
        assert scorer.calls == []  # the window is open
        assert await batcher.submit(rows(2)) == [2]
        assert await first == [1]
        assert scorer.calls == [[1, 2]]
        await batcher.drain(5)

    asyncio.run(go())


def test_a_full_batch_does_not_wait_for_the_window() -> None:
    async def go() -> None:
        scorer = Scorer()
        batcher = batcher_of(scorer, window_ms=60_000, max_batch_rows=2)
        batcher.start()
        assert await asyncio.wait_for(batcher.submit(rows(1, 2)), 10) == [1, 2]
        await batcher.drain(5)

    asyncio.run(go())


def test_the_queue_is_bounded_and_says_when_to_come_back() -> None:
    async def go() -> None:
        scorer = Scorer()
        batcher = batcher_of(scorer, max_queue_rows=3)
        batcher.start()
        first = await busy(batcher, scorer)
        waiting = asyncio.create_task(batcher.submit(rows(1, 2, 3)))
        await asyncio.sleep(0.01)
        with pytest.raises(RefusedError) as caught:
            await batcher.submit(rows(4))
        assert (caught.value.status, caught.value.code) == (429, "overloaded")
        assert int(caught.value.headers()["retry-after"]) >= 1
        assert batcher.waiting == 3
        scorer.gate.set()
        assert await asyncio.gather(first, waiting) == [[0], [1, 2, 3]]
        assert [4] not in scorer.calls
        await batcher.drain(5)

    asyncio.run(go())


def test_rows_of_a_cancelled_request_are_not_scored() -> None:
    async def go() -> None:
        scorer = Scorer()
        batcher = batcher_of(scorer)
        batcher.start()
        first = await busy(batcher, scorer)
        leaves = asyncio.create_task(batcher.submit(rows(1, 2)))
        stays = asyncio.create_task(batcher.submit(rows(3)))
        await asyncio.sleep(0.01)
        leaves.cancel()
        await asyncio.sleep(0)
        assert batcher.waiting == 1
        scorer.gate.set()
        assert await asyncio.gather(first, stays) == [[0], [3]]
        assert scorer.calls == [[0], [3]]
        await batcher.drain(5)

    asyncio.run(go())


def test_a_cancelled_request_that_is_half_scored_gives_up_the_rest() -> None:
    async def go() -> None:
        scorer = Scorer()
        batcher = batcher_of(scorer, max_batch_rows=2)
        batcher.start()
        scorer.gate.clear()
        long = asyncio.create_task(batcher.submit(rows(1, 2, 3, 4, 5, 6)))
        while not scorer.calls:
            await asyncio.sleep(0.001)
        long.cancel()
        await asyncio.sleep(0.01)
        assert batcher.waiting == 0
        scorer.gate.set()
        assert await batcher.submit(rows(7)) == [7]
        assert scorer.calls == [[1, 2], [7]]
        await batcher.drain(5)

    asyncio.run(go())


def test_rows_that_break_a_batch_fail_their_own_request_alone(caplog: pytest.LogCaptureFixture) -> None:
    async def go() -> None:
        scorer = Scorer()
        batcher = batcher_of(scorer)
        batcher.start()
        first = await busy(batcher, scorer)
        found = [asyncio.create_task(batcher.submit(rows(*one))) for one in ([1], [2, -1], [3])]
        await asyncio.sleep(0.01)
        scorer.gate.set()
        answers = await asyncio.gather(first, *found, return_exceptions=True)
        assert [answers[0], answers[1], answers[3]] == [[0], [1], [3]]
        assert isinstance(answers[2], RefusedError)
        assert (answers[2].status, answers[2].message) == (500, "These rows could not be scored.")
        assert await batcher.submit(rows(4)) == [4]
        await batcher.drain(5)

    asyncio.run(go())
    assert "ValueError" in caplog.text
    assert "must not be logged" not in caplog.text


def test_too_few_answers_are_an_error_and_not_a_shift() -> None:
    async def go() -> None:
        batcher = Batcher(lambda given: [], window_ms=0, max_batch_rows=8, max_queue_rows=8)
        batcher.start()
        with pytest.raises(RefusedError) as caught:
            await batcher.submit(rows(1))
        assert caught.value.status == 500
        await batcher.drain(5)

    asyncio.run(go())


def test_draining_answers_what_waits_and_lets_nothing_more_in() -> None:
    async def go() -> None:
        scorer = Scorer()
        batcher = batcher_of(scorer, window_ms=60_000)
        batcher.start()
        scorer.gate.clear()
        waiting = [asyncio.create_task(batcher.submit(rows(i))) for i in range(20)]
        await asyncio.sleep(0.01)
        draining = asyncio.create_task(batcher.drain(30))
        await asyncio.sleep(0.01)
        with pytest.raises(RefusedError) as caught:
            await batcher.submit(rows(99))
        assert caught.value.status == 503
        scorer.gate.set()
        await draining
        assert await asyncio.gather(*waiting) == [[i] for i in range(20)]

    asyncio.run(go())


def test_draining_gives_up_after_its_time_and_tells_everyone() -> None:
    async def go() -> None:
        scorer = Scorer()
        batcher = batcher_of(scorer, max_batch_rows=1)
        batcher.start()
        first = await busy(batcher, scorer)
        second = asyncio.create_task(batcher.submit(rows(1)))
        await asyncio.sleep(0.01)
        begun = time.monotonic()
        await batcher.drain(0.05)
        assert time.monotonic() - begun < 10
        for answer in await asyncio.gather(first, second, return_exceptions=True):
            assert isinstance(answer, RefusedError)
            assert answer.status == 503
        scorer.gate.set()

    asyncio.run(go())


def test_before_the_start_nothing_is_let_in() -> None:
    async def go() -> None:
        with pytest.raises(RefusedError) as caught:
            await batcher_of(Scorer()).submit(rows(1))
        assert caught.value.status == 503

    asyncio.run(go())
