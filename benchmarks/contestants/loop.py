"""Luthier's own loop, built by the same code as `luthier run`, checkpoints included."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from contestants.job import Job, Measured, Meter, non_embedding
from luthier.artifacts.files import home
from luthier.models.assembly import TaskModel
from luthier.pipeline.prepared import Prepared
from luthier.pipeline.run import open_project
from luthier.pipeline.training import TrainJob, choose, engine, forward
from luthier.training.events import Event, Finished, Saved, StepDone, Validated
from luthier.training.loop import Fit


def run(job: Job) -> Measured:
    """Train and measure; short of the end, the clock stops at a checkpoint, so that their cost is not left out."""
    head = ["method=head", "train.dropout=0.0"] if job.frozen else []
    _, prepared = open_project(job.project, [f"seed={job.seed}", "train.device=cpu", *head, *job.overrides])
    train = TrainJob(prepared, choose(prepared))
    assembled = train.assemble()
    prepared.part("train")
    meter = Meter(job)
    with engine(train.choices), no_kept_states():
        if job.frozen:  # computing the states counts
            meter.start()
        fit = train.fit(assembled, folder=Path(job.folder))
        _train(meter, fit, prepared)
    with fit.whole():
        parameters = non_embedding(assembled.model)
    return meter.measured(parameters, *(_score(prepared, assembled.model, job.split) if job.whole else ()))


def _train(meter: Meter, fit: Fit, prepared: Prepared) -> None:
    cost = prepared.part("train")[0].total_cost
    batches = (batch for epoch in range(fit.numbers.epochs) for batch in prepared.order(epoch))
    enough = False
    meter.start()
    mark, cpu_mark = time.perf_counter(), time.process_time()
    for event in fit:
        if isinstance(event, StepDone):
            batch = next(batches)
            meter.batch(len(batch), int(cost[batch].sum()), len(batch) * int(cost[batch].max()))
            enough = meter.step()
        elif isinstance(event, Saved):
            meter.extend()
        elif isinstance(event, Validated):
            meter.skip(time.perf_counter() - mark, time.process_time() - cpu_mark)
        if _over(event, enough):
            return
        mark, cpu_mark = time.perf_counter(), time.process_time()


@contextmanager
def no_kept_states() -> Iterator[None]:
    """Put the states of frozen layers that earlier runs kept out of reach."""
    kept = home() / "cache" / "states"
    with tempfile.TemporaryDirectory(dir=home()) as aside:
        if kept.exists():
            kept.rename(Path(aside) / "states")
        try:
            yield
        finally:
            shutil.rmtree(kept, ignore_errors=True)
            if (Path(aside) / "states").exists():
                (Path(aside) / "states").rename(kept)


def _over(event: Event, enough: bool) -> bool:
    return isinstance(event, Finished) or (enough and isinstance(event, Saved))


def _score(prepared: Prepared, model: TaskModel, split: str) -> tuple[int, int]:
    """Return (rightly labelled, all) over a split's rows, in fp32."""
    features, index = prepared.part(split)
    label = prepared.dataset.target(split)
    answer = forward(model, features, index, precision="fp32")["logits"].argmax(axis=1)
    return int(np.sum(answer == label)), len(label)
