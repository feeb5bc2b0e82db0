"""The most that a machine can do: floating-point operations per second of a large matrix product."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

SHAPE = (4096, 1024, 1024)
BURSTS = 5
REPEATS = 15


def best_median(call: Callable[[], Any], *, bursts: int = BURSTS, repeats: int = REPEATS) -> float:
    """Return the seconds of a call: the median of a burst, the best of several bursts; one call warms up."""
    call()
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
    """Return FLOP/s of a 4096 x 1024 x 1024 matrix product on a CPU, the better of both layouts of the second matrix.

    Args:
        precision: `bf16` or `fp32`.
        bursts: see `best_median`.
        repeats: see `best_median`.
    """
    rows, inner, columns = SHAPE
    dtype = {"bf16": torch.bfloat16, "fp32": torch.float32}[precision]
    draw = torch.Generator().manual_seed(0)
    left = torch.randn(rows, inner, generator=draw).to(dtype)
    right = torch.randn(inner, columns, generator=draw).to(dtype)
    weight = right.t().contiguous()
    seconds = min(
        best_median(lambda: torch.mm(left, right), bursts=bursts, repeats=repeats),
        best_median(lambda: torch.nn.functional.linear(left, weight), bursts=bursts, repeats=repeats),
    )
    return 2.0 * rows * inner * columns / seconds
