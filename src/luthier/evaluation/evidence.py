"""What an evaluation is made from. A kind of evaluation maps this to an `EvalReport`; nothing here runs a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier.tasks.base import Prediction, Scored, Truth

Outputs = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class SplitEvidence:
    """One split's rows and what the model put out for them.

    Attributes:
        name: `train`, `validation` or `test`.
        scored: outputs of the rows' features and their inputs; a split that was not scored (train) has no outputs.
        truth: what is true of each row.
        predict: returns what the task makes of the outputs, one prediction per row.
        tokens: (N,) length of each row before the limit.
        cells: returns a column's cells (as Python objects) for some positions, or for all with None.
        place: returns where a position's row stands in its source, such as `reviews.csv:17`.
        answer: returns what the predictor answers (as `Prediction.as_dict`) to the rows at some positions.
    """

    name: str
    scored: Scored
    truth: Truth
    predict: Callable[[], Sequence[Prediction]]
    tokens: NDArray[np.int64]
    cells: Callable[[str, NDArray[np.int64] | None], list[Any]]
    place: Callable[[int], str]
    answer: Callable[[NDArray[np.int64]], list[dict[str, Any]]]

    @property
    def outputs(self) -> Outputs:
        """Named model outputs, (N, ...) each: a row for each feature."""
        return self.scored.outputs

    @property
    def target(self) -> NDArray[np.int64]:
        """(N,) class numbers; zeros where targets are not classes."""
        return self.truth.number


@dataclass(frozen=True)
class Evidence:
    """All that an evaluation looks at.

    Attributes:
        task: name of the task.
        headline: name of the metric that stands for the others.
        labels: a name for each class; empty where targets are not classes.
        targets: what the task fitted on the training targets.
        calibration: fitted on validation, such as `{"temperature": 1.3}`.
        inputs: names of the input columns.
        target: name of the target column.
        train: rows only, for baselines.
        validation: rows and outputs.
        test: rows and outputs.
        weights_sha256: of the weights that gave the outputs.
        confidence: of intervals.
        resamples: of the bootstrap.
        seed: of the bootstrap's draws.
        slices: columns to slice by.
        mistakes: how many to list.
        bins: of the reliability diagram.
        answers: how many test rows to generate answers for, where that is asked.
        baselines: names in the evaluation's `baselines`.
        custom: the user's own metrics by name, from answers and true texts to a number.
        untuned: returns what the pretrained model, before any training, puts out for the test rows.
    """

    task: str
    headline: str
    labels: Sequence[str]
    targets: Mapping[str, Any]
    calibration: Mapping[str, float]
    inputs: Sequence[str]
    target: str
    train: SplitEvidence
    validation: SplitEvidence
    test: SplitEvidence
    weights_sha256: str
    confidence: float
    resamples: int
    seed: int
    slices: Sequence[str]
    mistakes: int
    bins: int
    answers: int
    baselines: Sequence[str]
    custom: Mapping[str, Callable[[Sequence[str], Sequence[str]], float]]
    untuned: Callable[[], Outputs]


def texts_of(split: SplitEvidence, evidence: Evidence) -> list[str] | list[tuple[str, ...]]:
    """Return each row's text, or its texts where it has several."""
    columns = [[str(cell) for cell in split.cells(name, None)] for name in evidence.inputs]
    return columns[0] if len(columns) == 1 else list(zip(*columns, strict=True))
