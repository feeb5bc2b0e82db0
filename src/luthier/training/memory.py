"""How much memory a step takes, and into how many micro-batches it must be cut to stay within a budget."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from luthier.errors import TrainingError

MOST_PARTS = 256
CLEAR, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


def resettable() -> bool:
    """Return whether this system can tell the peak of a part of a process's life."""
    return CLEAR.exists() and STATUS.exists()


def peak_of(work: Callable[[], object]) -> float:
    """Return the largest resident memory of this process while it does some work, in MiB."""
    CLEAR.write_text("5", encoding="ascii")  # sets the peak to what is resident now
    work()
    line = next(line for line in STATUS.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def fitting_parts(step: Callable[[int], object], rows: int, budget_mib: float) -> tuple[int, float]:
    """Return into how few micro-batches a step can be cut so that it stays within a budget, and its peak in MiB.

    The smallest micro-batches are tried first and doubled while they fit, so the budget is passed by one try at most.

    Args:
        step: takes the heaviest step cut into a number of micro-batches.
        rows: of that step.
        budget_mib: of the whole process.

    Raises:
        TrainingError: a row at a time takes more.
    """
    parts = 1
    while parts < min(rows, MOST_PARTS):
        parts *= 2
    fits: tuple[int, float] | None = None
    while True:
        found = peak_of(partial(step, parts))
        if found > budget_mib:
            break
        fits = (parts, found)
        if parts == 1:
            break
        parts //= 2
    if fits is None:
        raise TrainingError(
            f"train.memory_mib must be at least {found:.0f}, what a step takes in its smallest parts; "
            f"got {budget_mib:g}.",
            fix="Give more memory, a smaller model, a shorter model.max_length, or a method such as lora.",
        )
    return fits
