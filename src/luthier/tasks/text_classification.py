"""Text classification: one label out of several for a text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from luthier.data.features import FeatureBlock
from luthier.data.text import TextEncoder
from luthier.metrics.calibration import fit_temperature
from luthier.tasks.base import BaseTask, Calibration, Declared, HeadSpec, Role, Scored, Targets, Truth
from luthier.tasks.encoding import text_block
from luthier.tasks.labels import ClassPrediction, class_predictions, fit_labels, label_cell, label_number


class TextClassification(BaseTask):
    """One label out of several for a text.

    The label map is ordered: as `data.labels` says, else numbers by value and texts alphabetically.
    """

    name: ClassVar[str] = "text-classification"
    roles: ClassVar[tuple[Role, ...]] = (Role("text"), Role("label", target=True))
    objective: ClassVar[str] = "classification"
    evaluation: ClassVar[str] = "classification"
    headline: ClassVar[str] = "accuracy"
    problem_type: ClassVar[str | None] = "single_label_classification"

    def target_cell(self, value: Any) -> str:
        """Return a label as text: `true` and `false` for booleans, digits for whole numbers."""
        return label_cell(value)

    def fit_targets(self, counts: Mapping[str, int], declared: Declared) -> Targets:
        """Return `{labels, values}`: the ordered label names, and which cell stands for which."""
        return fit_labels(counts, declared)

    def output_labels(self, targets: Targets) -> list[str]:
        """Return the label map."""
        return list(targets["labels"])

    def target_number(self, cell: str, targets: Targets) -> int | None:
        """Return a label's place in the label map; None for a label that training did not have."""
        return label_number(cell, targets)

    def encode(
        self,
        columns: Mapping[str, Sequence[Any]],
        rows: NDArray[np.int64],
        encoder: TextEncoder,
        target: NDArray[np.int64] | None,
        targets: Targets,
    ) -> FeatureBlock:
        """Return one feature per row: `input_ids`, and `full_length` and `unknown` for the check."""
        scalar = {} if target is None else {"label": target}
        return text_block(rows, encoder.encode(columns["text"]), encoder, scalar)

    def head(self, targets: Targets) -> HeadSpec:
        """Return a classification head with one output per label."""
        return HeadSpec("classification", {"outputs": len(targets["labels"])})

    def decode(self, scored: Scored, targets: Targets, calibration: Calibration) -> list[ClassPrediction]:
        """Return the most probable label of each row and the probability of all, from `logits` (N, C)."""
        return class_predictions(scored.outputs["logits"], targets["labels"], calibration)

    def calibrate(self, scored: Scored, truth: Truth, targets: Targets) -> Calibration:
        """Return the temperature that minimises validation log loss (Guo et al. 2017)."""
        return {"temperature": fit_temperature(scored.outputs["logits"], truth.number)}
