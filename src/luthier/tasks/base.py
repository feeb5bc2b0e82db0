"""The contract of a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from luthier.data.features import FeatureBlock, Field
from luthier.data.text import TextEncoder

Targets = dict[str, Any]
Calibration = dict[str, float]
Declared = Sequence[str | int | bool] | Mapping[Any, str] | None


@dataclass(frozen=True)
class Role:
    """A column that a task reads.

    Attributes:
        name: the key under `data.columns`.
        target: whether it is what is predicted (absent when predicting).
        required: whether training needs it.
    """

    name: str
    target: bool = False
    required: bool = True


@dataclass(frozen=True)
class HeadSpec:
    """A head by the name of its kind in `models.heads.HEADS`, and its settings (JSON-like)."""

    kind: str
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Decoding:
    """How a text is made token by token.

    Attributes:
        max_new_tokens: of an answer, the end token included.
        max_length: of prompt and answer together.
        end_id: the token that ends an answer.
        temperature: 0 takes the likeliest token.
        top_p: draws are from the likeliest tokens that hold this share together.
        seed: of the draws.
    """

    max_new_tokens: int
    max_length: int
    end_id: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 13


class CellError(Exception):
    """A cell cannot be what its role needs; the message says why. The reader of the data adds the place."""


class Prediction(Protocol):
    """What a task answers for one input."""

    def as_dict(self) -> dict[str, Any]:
        """Return the answer as JSON-like values: what HTTP sends and what golden examples keep."""

    def as_columns(self) -> dict[str, Any]:
        """Return the answer as flat cells: what a table of predictions holds."""


class Task(Protocol):
    """What is predicted, from which columns, and how.

    Attributes:
        name: the name in a project file.
        roles: the columns it reads.
        objective: name in `objectives.OBJECTIVES`.
        evaluation: name in `evaluation.EVALUATIONS`.
        headline: name in `metrics.METRICS` of the metric that stands for the others.
    """

    name: ClassVar[str]
    roles: ClassVar[tuple[Role, ...]]
    objective: ClassVar[str]
    evaluation: ClassVar[str]
    headline: ClassVar[str]

    def __init__(self, settings: Any = None) -> None:
        """Take the task's settings: an instance of its settings class, or None where it has none."""

    def input_cell(self, role: str, value: Any) -> Any:
        """Return an input cell as the task reads it.

        Raises:
            CellError: it cannot be one (absent, empty, of another type).
        """

    def target_cell(self, value: Any) -> str:
        """Return a target cell in its canonical text.

        Raises:
            CellError: it cannot be one.
        """

    def fit_targets(self, counts: Mapping[str, int], declared: Declared) -> Targets:
        """Return what decoding needs, from the target cells seen in training and the user's `data.labels`.

        Raises:
            DataError: there is nothing to learn, or the declared labels and the data disagree.
        """

    def output_labels(self, targets: Targets) -> list[str]:
        """Return a name for each output of the head; empty where outputs have no names."""

    def target_number(self, cell: str, targets: Targets) -> int | None:
        """Return the number that stands for a target in arrays; None for a target that training did not have.

        Where targets are not classes (`output_labels` is empty), every target has the number 0.
        """

    def fields(self, encoder: TextEncoder) -> dict[str, Field]:
        """Return how ragged fields are padded."""

    def encode(
        self,
        columns: Mapping[str, Sequence[Any]],
        rows: NDArray[np.int64],
        encoder: TextEncoder,
        target: NDArray[np.int64] | None,
    ) -> FeatureBlock:
        """Return the features of some rows.

        Args:
            columns: `{role: cells}` of the inputs, as `input_cell` returned them; unless predicting, those of the
                target too, as `target_cell` returned them.
            rows: (R,) the rows' numbers; a feature's group is its row's number.
            encoder: the tokenizer with its length limit.
            target: (R,) from `target_number`, or None when predicting.
        """

    def decoding(self, encoder: TextEncoder) -> Decoding | None:
        """Return how answers are made token by token; None where one pass of the model gives them."""

    def head(self, targets: Targets) -> HeadSpec:
        """Return the head that the task needs."""

    def decode(
        self, outputs: Mapping[str, NDArray[np.float64]], targets: Targets, calibration: Calibration
    ) -> Sequence[Prediction]:
        """Return one prediction per group from the named outputs of the groups' features.

        Args:
            outputs: `{name: (N, ...)}` ordered by group, and `group`: (N,) itself; what was written
                token by token has `text` too.
            targets: from `fit_targets`.
            calibration: from `calibrate`.
        """

    def calibrate(self, outputs: Mapping[str, NDArray[np.float64]], target: NDArray[np.int64]) -> Calibration:
        """Return numbers fitted on validation outputs that `decode` uses."""
