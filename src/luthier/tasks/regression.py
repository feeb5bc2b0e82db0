"""Regression: a number for a text, or one of several levels in an order."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

import annotated_types as at
import numpy as np
from numpy.typing import NDArray

from luthier.data.features import FeatureBlock
from luthier.data.text import TextEncoder
from luthier.errors import DataError
from luthier.metrics.regression import nearest_level
from luthier.tasks.base import BaseTask, Calibration, CellError, Declared, HeadSpec, Role, Scored, Targets
from luthier.tasks.encoding import text_block


@dataclass(frozen=True)
class RegressionSettings:
    """Loss, and the levels of an ordinal scale."""

    loss: Literal["squared", "huber"] = field(
        default="squared",
        metadata={"description": "huber counts large errors by their size and not by its square: for odd values."},
    )
    huber_delta: Annotated[float, at.Gt(0)] = field(
        default=1.0,
        metadata={
            "description": "Errors above this, in standard deviations of the training values, are large for huber."
        },
    )
    levels: tuple[float, ...] = field(
        default=(),
        metadata={
            "description": "The values of an ordinal scale, rising, such as [1, 2, 3, 4, 5]: an answer then names the "
            "nearest one too, and agreement is measured as quadratic weighted kappa."
        },
    )

    def __post_init__(self) -> None:
        """Refuse a scale that is none."""
        if self.levels and (len(self.levels) < 2 or sorted(set(self.levels)) != list(self.levels)):
            raise ValueError(f"levels must be at least two rising numbers; got {list(self.levels)}.")


@dataclass(frozen=True)
class ValuePrediction:
    """A number.

    Attributes:
        value: in the unit of the training values.
        level: the nearest level, where the task has levels.
    """

    value: float
    level: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the answer as JSON-like values."""
        return {"value": self.value} if self.level is None else {"value": self.value, "level": self.level}

    def as_columns(self) -> dict[str, Any]:
        """Return the answer as flat cells."""
        return self.as_dict()


class Regression(BaseTask):
    """A number for a text.

    The model learns values less their training mean, in units of their training standard deviation; both are kept in
    the targets, and answers are in the unit of the data again.
    """

    name: ClassVar[str] = "regression"
    roles: ClassVar[tuple[Role, ...]] = (Role("text"), Role("value", target=True))
    settings: ClassVar[type] = RegressionSettings
    objective: ClassVar[str] = "regression"
    evaluation: ClassVar[str] = "regression"
    headline: ClassVar[str] = "r2"
    problem_type: ClassVar[str | None] = "regression"

    def target_cell(self, value: Any) -> str:
        """Return a finite number as the shortest text that reads back as it."""
        if value is None or value == "":
            raise CellError("is absent")
        try:
            found = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError):
            raise CellError(f"must be a number; got {value!r}") from None
        if not math.isfinite(found):
            raise CellError(f"must be a finite number; got {value!r}")
        return repr(found + 0.0)  # -0.0 becomes 0.0

    def fit_targets(self, counts: Mapping[str, int], declared: Declared) -> Targets:
        """Return `{mean, std, levels}` of the training values."""
        super().fit_targets(counts, declared)
        values = np.asarray([float(cell) for cell in counts])
        rows = np.asarray(list(counts.values()), dtype=np.float64)
        mean = float((values * rows).sum() / rows.sum()) if len(values) else 0.0
        std = float(np.sqrt((rows * (values - mean) ** 2).sum() / rows.sum())) if len(values) else 0.0
        if not std > 0:
            raise DataError(
                f"the training values must differ; got {'only ' + next(iter(counts)) if counts else 'none'}.",
                fix="Check data.columns.value and the data.",
            )
        return {"mean": mean, "std": std, "levels": list(self.options.levels)}

    def plain_labels(self, targets: Targets) -> list[str]:
        """Return the name of the one output."""
        return ["value"]

    def answer_scale(self, targets: Targets) -> float:
        """Return the standard deviation, by which outputs are multiplied."""
        return float(targets["std"])

    def encode(
        self,
        columns: Mapping[str, Sequence[Any]],
        rows: NDArray[np.int64],
        encoder: TextEncoder,
        target: NDArray[np.int64] | None,
        targets: Targets,
    ) -> FeatureBlock:
        """Return one feature per row: `input_ids`, and in training `value` in standard deviations from the mean."""
        known = {} if target is None else {"value": standardised(columns["value"], targets)}
        return text_block(rows, encoder.encode(columns["text"]), encoder, known)

    def head(self, targets: Targets) -> HeadSpec:
        """Return a classification head with one output."""
        return HeadSpec("classification", {"outputs": 1})

    def objective_settings(self, targets: Targets) -> dict[str, Any]:
        """Return the loss."""
        return {"loss": self.options.loss, "delta": self.options.huber_delta}

    def decode(self, scored: Scored, targets: Targets, calibration: Calibration) -> list[ValuePrediction]:
        """Return each row's value, from `logits` (N, 1)."""
        values = predicted_values(scored.outputs["logits"], targets)
        levels = targets["levels"]
        near = nearest_level(values, levels) if levels else None
        return [
            ValuePrediction(float(value), None if near is None else float(levels[near[row]]))
            for row, value in enumerate(values)
        ]


def standardised(cells: Sequence[str], targets: Targets) -> NDArray[np.float32]:
    """Return (N,) target cells in standard deviations from the training mean."""
    values = np.asarray([float(cell) for cell in cells])
    found: NDArray[np.float32] = ((values - targets["mean"]) / targets["std"]).astype(np.float32)
    return found


def predicted_values(logits: NDArray[np.float64], targets: Targets) -> NDArray[np.float64]:
    """Return (N,) values in the unit of the data, from `logits` (N, 1)."""
    values: NDArray[np.float64] = np.asarray(logits, np.float64)[:, 0] * targets["std"] + targets["mean"]
    return values
