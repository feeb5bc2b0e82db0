"""One batch trained down and written like a finished training, without the other stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from luthier.artifacts.bundle import BundleManifest
from luthier.inference.predictor import Predictor
from luthier.pipeline.evaluating import trained_manifest
from luthier.pipeline.prepared import Prepared
from luthier.pipeline.run import open_project
from luthier.pipeline.training import TrainJob, _write_model, choose, forward
from luthier.training.events import StepDone

STEPS = 16
FEW = (
    "train.dropout=0.0",
    "train.precision=fp32",
    "train.weight_decay=0.0",
    "train.batch_tokens=512",
    "data.limit=80",
)


@dataclass(frozen=True)
class Learned:
    """What one batch taught.

    Attributes:
        prepared: the inputs.
        losses: of each step.
        outputs: of the trained modules, for the test rows.
        manifest: of what was written.
        predictor: that was read back.
    """

    prepared: Prepared
    losses: list[float]
    outputs: dict[str, Any]
    manifest: BundleManifest
    predictor: Predictor


def learn(project: Path, overrides: Sequence[str], folder: Path) -> Learned:
    """Train on the first batch for some steps, write the model to a folder and read it back."""
    _, prepared = open_project(project, [*FEW, *overrides])
    job = TrainJob(prepared, choose(prepared))
    assembled = job.assemble()
    fit = job.fit(assembled, batches=[prepared.order(0)[0]] * STEPS)
    losses = [event.loss for event in fit if isinstance(event, StepDone)]
    outputs = forward(fit.model, *prepared.part("test"), precision="fp32")
    _write_model(job, replace(assembled, model=fit.model), fit.method, folder)
    manifest = trained_manifest(folder)
    return Learned(prepared, losses, outputs, manifest, Predictor(folder, manifest))


def flat(values: Any) -> Any:
    """Return an output of all rows end to end."""
    return np.concatenate([np.ravel(row).astype(float) for row in values])
