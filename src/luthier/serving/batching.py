"""The batching window: rows of several requests are scored together, by one thread, and their answers handed back.

One asyncio task gathers rows in the order in which they came; one worker thread scores. While a batch is scored the
next one gathers, so under load batches fill by themselves and the window is never waited for.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from luthier.serving.refusals import RefusedError

Cells = Mapping[str, Any]
Score = Callable[[Sequence[Cells]], Sequence[Any]]
SMOOTHING = 0.2  # weight of the newest batch in the estimate of seconds per row
LOG = logging.getLogger(__name__)
_STOPPED = "The server stopped before this was answered."


@dataclass(eq=False)
class _Job:
    """One request's rows.

    Attributes:
        rows: to score.
        arrived: on the monotonic clock.
        done: gets the answers, or the refusal.
        taken: how many rows are already in a batch.
        answers: of the rows scored so far.
    """

    rows: Sequence[Cells]
    arrived: float
    done: asyncio.Future[list[Any]]
    taken: int = 0
    answers: list[Any] = field(default_factory=list)


@dataclass(frozen=True)
class _Slice:
    """The part of a job that is in one batch."""

    job: _Job
    rows: Sequence[Cells]


class Batcher:
    """Scores rows of many requests in shared batches.

    Args:
        score: answers rows, in order; called in one thread of its own.
        window_ms: how long the oldest row waits for others.
        max_batch_rows: most rows per call of `score`.
        max_queue_rows: most rows that wait; the rows being scored are not counted.
        on_batch: called with the number of rows of each batch.
    """

    def __init__(
        self,
        score: Score,
        *,
        window_ms: float,
        max_batch_rows: int,
        max_queue_rows: int,
        on_batch: Callable[[int], None] = lambda rows: None,
    ) -> None:
        self._score = score
        self._window_s = window_ms / 1000
        self._max_batch = max_batch_rows
        self._max_queue = max_queue_rows
        self._on_batch = on_batch
        self._jobs: deque[_Job] = deque()
        self._waiting = 0
        self._seconds_per_row = 0.0
        self._arrival = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None
        self._thread: ThreadPoolExecutor | None = None

    @property
    def waiting(self) -> int:
        """How many rows wait to be scored."""
        return self._waiting

    def start(self) -> None:
        """Start gathering; call inside the event loop."""
        assert self._task is None, "the batcher was started twice"
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="luthier-score")
        self._task = asyncio.create_task(self._run())

    async def run_alone(self, call: Callable[[], Any]) -> Any:
        """Return what a call returns, made in the scoring thread and so never beside a batch."""
        assert self._thread is not None, "the batcher was not started"
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    def admit(self, rows: int) -> None:
        """Check that some rows may wait now.

        Raises:
            RefusedError: 429 where too many wait already, 503 where the server is stopping or not started.
        """
        if self._closing or self._task is None or self._task.done():
            raise RefusedError(503, "stopping", "The server is starting or stopping.", retry_after_s=1)
        if self._waiting + rows > self._max_queue:
            raise RefusedError(
                429,
                "overloaded",
                f"{self._waiting} rows wait already; at most {self._max_queue} may.",
                retry_after_s=min(60.0, self._waiting * self._seconds_per_row),
            )

    async def submit(self, rows: Sequence[Cells]) -> list[Any]:
        """Return the answers of some rows, in order. When the caller is cancelled, rows that still wait are dropped.

        Raises:
            RefusedError: see `admit`; or 500 where these rows could not be scored.
        """
        if not rows:
            return []
        self.admit(len(rows))
        job = _Job(rows, time.monotonic(), asyncio.get_running_loop().create_future())
        self._jobs.append(job)
        self._waiting += len(rows)
        self._arrival.set()
        try:
            return await job.done
        finally:
            self._forget(job)

    async def drain(self, timeout_s: float) -> None:
        """Let nothing more in, answer what waits, stop the thread. What is not answered in time is refused."""
        self._closing = True
        self._arrival.set()
        if self._task is None or self._thread is None:
            return
        _, late = await asyncio.wait({self._task}, timeout=timeout_s)
        if late:
            self._task.cancel()
            await asyncio.wait({self._task})
        for job in self._jobs:
            _settle(job, RefusedError(503, "stopping", _STOPPED, retry_after_s=1))
        self._thread.shutdown(wait=not late, cancel_futures=True)

    def _forget(self, job: _Job) -> None:
        """Take a job's rows that still wait out of the queue; nothing is left to do for one that was answered."""
        if job.taken < len(job.rows):
            self._jobs.remove(job)
            self._waiting -= len(job.rows) - job.taken

    async def _run(self) -> None:
        while await self._gathered():
            batch = self._take()
            try:
                await self._answer(batch)
            except BaseException:  # the server stops, or a bug of ours: nobody may be left waiting
                for piece in batch:
                    _settle(piece.job, RefusedError(503, "stopping", _STOPPED, retry_after_s=1))
                raise

    async def _gathered(self) -> bool:
        """Wait until a batch is due; return False when nothing more will come."""
        while not self._jobs:
            if self._closing:
                return False
            self._arrival.clear()
            await self._arrival.wait()
        while self._jobs and self._waiting < self._max_batch and not self._closing:
            left = self._jobs[0].arrived + self._window_s - time.monotonic()
            if left <= 0:
                break
            self._arrival.clear()
            try:
                await asyncio.wait_for(self._arrival.wait(), left)
            except TimeoutError:
                break
        return True

    def _take(self) -> list[_Slice]:
        """Take at most a batch of rows off the queue, oldest first."""
        batch: list[_Slice] = []
        room = self._max_batch
        while room and self._jobs:
            job = self._jobs[0]
            rows = job.rows[job.taken : job.taken + room]
            batch.append(_Slice(job, rows))
            job.taken += len(rows)
            room -= len(rows)
            self._waiting -= len(rows)
            if job.taken == len(job.rows):
                self._jobs.popleft()
        return batch

    async def _answer(self, batch: Sequence[_Slice]) -> None:
        rows = [row for piece in batch for row in piece.rows]
        if not rows:
            return
        self._on_batch(len(rows))
        begun = time.monotonic()
        answers = await self._scored(rows)
        self._note_speed((time.monotonic() - begun) / len(rows))
        if answers is not None:
            start = 0
            for piece in batch:
                _hand(piece, answers[start : start + len(piece.rows)])
                start += len(piece.rows)
            return
        for piece in batch:  # one request's rows broke the batch: only that one may fail
            if not piece.job.done.done():
                _hand(piece, await self._scored(piece.rows) if len(batch) > 1 else None)

    async def _scored(self, rows: Sequence[Cells]) -> Sequence[Any] | None:
        """Return one answer per row, or None where scoring failed. The log names the failure, never a text."""
        try:
            answers: Sequence[Any] = await self.run_alone(lambda: self._score(rows))
            assert len(answers) == len(rows), f"{len(answers)} answers for {len(rows)} rows"
        except Exception as error:
            LOG.error("scoring %d rows failed: %s", len(rows), type(error).__name__)
            return None
        return answers

    def _note_speed(self, seconds: float) -> None:
        before = self._seconds_per_row or seconds
        self._seconds_per_row = before + SMOOTHING * (seconds - before)


def _hand(piece: _Slice, answers: Sequence[Any] | None) -> None:
    """Give a job the answers of one of its slices; None where they could not be scored."""
    job = piece.job
    if answers is None:
        _settle(job, RefusedError(500, "internal", "These rows could not be scored."))
        return
    job.answers.extend(answers)
    if len(job.answers) == len(job.rows) and not job.done.done():
        job.done.set_result(job.answers)


def _settle(job: _Job, error: RefusedError) -> None:
    if not job.done.done():
        job.done.set_exception(error)
