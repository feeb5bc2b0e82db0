"""The stages in order. Each is skipped when its inputs' fingerprint has not changed.

After training, stages talk only through the artifacts on disk: train leaves a model folder, evaluate an evaluation,
bundle a bundle.
"""

from __future__ import annotations

from luthier.pipeline.events import RunEvent, StageDone, StageSkipped, StageStarted
from luthier.pipeline.names import known_names
from luthier.pipeline.run import check, run

__all__ = ["RunEvent", "StageDone", "StageSkipped", "StageStarted", "check", "known_names", "run"]
