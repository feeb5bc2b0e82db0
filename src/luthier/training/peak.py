"""The most that a machine can do: operations per second of a large matrix product."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

SHAPE = (4096, 1024, 1024)
BURSTS = 5
REPEATS = 15
SLOW = 1.0


def best_median(call: Callable[[], Any], *, bursts: int = BURSTS, repeats: int = REPEATS) -> float:
    """Return the seconds of a call: the median of a burst, the best of several bursts; one call warms up.

    A call of more than `SLOW` seconds, such as int8 without instructions for it, is made three times in all.
    """
    start = time.perf_counter()
    call()
    if time.perf_counter() - start > SLOW:
        bursts, repeats = 1, min(2, repeats)
    medians = []
    for _ in range(bursts):
        times = []
        for _ in range(repeats):
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
        medians.append(statistics.median(times))
    return min(medians)


def peak(precision: str, *, bursts: int = BURSTS, repeats: int = REPEATS) -> float:
    """Return the operations per second of a 4096 x 1024 x 1024 matrix product on a CPU.

    Args:
        precision: `bf16` or `fp32`, the better of both layouts of the second matrix; or `int8`, with sums in int32.
        bursts: see `best_median`.
        repeats: see `best_median`.
    """
    rows, inner, columns = SHAPE
    draw = torch.Generator().manual_seed(0)
    left, right = torch.randn(rows, inner, generator=draw), torch.randn(inner, columns, generator=draw)
    calls: list[Callable[[], torch.Tensor]]
    if precision == "int8":
        whole, other = ((30 * one).round().clamp(-127, 127).to(torch.int8) for one in (left, right))
        calls = [lambda: torch._int_mm(whole, other)]
    else:
        dtype = {"bf16": torch.bfloat16, "fp32": torch.float32}[precision]
        left, right = left.to(dtype), right.to(dtype)
        weight = right.t().contiguous()
        calls = [lambda: torch.mm(left, right), lambda: torch.nn.functional.linear(left, weight)]
    seconds = min(best_median(call, bursts=bursts, repeats=repeats) for call in calls)
    return 2.0 * rows * inner * columns / seconds
