"""Learning-rate schedules: a factor for each step."""

from __future__ import annotations

import math

SCHEDULES = ("linear", "cosine", "constant")


def factor(schedule: str, step: int, *, total: int, warmup: float) -> float:
    """Return what the learning rate is multiplied by at a step.

    It rises in equal parts over `round(total * warmup)` steps, then falls to zero along a line or half a cosine, or
    stays. Beyond the total, which a continued run with fewer epochs may reach, it is zero.

    Args:
        schedule: `linear`, `cosine` or `constant`.
        step: counted from 0.
        total: steps of the run.
        warmup: share of the steps, in [0, 1).
    """
    rising = round(total * warmup)
    if step < rising:
        return (step + 1) / (rising + 1)
    if schedule == "constant":
        return 1.0
    done = min(1.0, (step - rising) / max(1, total - rising))
    return 1.0 - done if schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))
