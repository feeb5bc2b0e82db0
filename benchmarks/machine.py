"""What a machine is and the most that it can do: `python benchmarks/machine.py` prints both as JSON."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

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
    """Return FLOP/s of a 4096 x 1024 x 1024 matrix product, the better of both layouts of the second matrix.

    Args:
        precision: `bf16` or `fp32`.
        bursts: see `best_median`.
        repeats: see `best_median`.
    """
    import torch

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


def describe() -> dict[str, Any]:
    """Return the machine and the versions of what was compared."""
    from importlib.metadata import PackageNotFoundError, version

    from luthier.training.hardware import describe as hardware

    found = hardware()
    for package in ("accelerate", "datasets", "numpy", "luthier"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def main(threads: str) -> None:
    """Print the peaks in FLOP/s at a number of threads, and the machine."""
    import torch

    torch.set_num_threads(int(threads))
    print(json.dumps({"bf16": peak("bf16"), "fp32": peak("fp32"), "machine": describe()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
