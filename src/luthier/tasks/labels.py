"""Labels: one class out of several for a row, from cells to the map and from logits to answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier.errors import DataError
from luthier.metrics.calibration import softmax
from luthier.tasks.base import Calibration, CellError, Declared, Targets


@dataclass(frozen=True)
class ClassPrediction:
    """A label with its probability, and the probability of every label.

    Attributes:
        label: the most probable label.
        probability: of that label, after calibration.
        scores: `{label: probability}`; they sum to 1.
    """

    label: str
    probability: float
    scores: dict[str, float]

    def as_dict(self) -> dict[str, Any]:
        """Return the answer as JSON-like values."""
        return {"label": self.label, "probability": self.probability, "scores": dict(self.scores)}

    def as_columns(self) -> dict[str, Any]:
        """Return the answer as flat cells: label, probability, and `score.<label>` for each label."""
        scores = {f"score.{label}": value for label, value in self.scores.items()}
        return {"label": self.label, "probability": self.probability, **scores}


def class_predictions(
    logits: NDArray[np.float64], labels: Sequence[str], calibration: Calibration
) -> list[ClassPrediction]:
    """Return the most probable label of each row and the probability of all.

    Args:
        logits: (N, C).
        labels: (C,) names.
        calibration: `temperature`, where there is one.
    """
    probability = softmax(logits / calibration.get("temperature", 1.0))
    best = probability.argmax(axis=1)
    return [
        ClassPrediction(labels[top], float(row[top]), dict(zip(labels, map(float, row), strict=True)))
        for top, row in zip(best, probability, strict=True)
    ]


def fit_labels(counts: Mapping[str, int], declared: Declared) -> Targets:
    """Return `{labels, values}` of a task whose rows have one class each.

    Args:
        counts: rows of each target cell in training.
        declared: `data.labels`.

    Raises:
        DataError: fewer than two labels, or the declared ones are not those of the data.
    """
    if declared is None:
        values = {cell: cell for cell in sorted(counts, key=_natural)}
    elif isinstance(declared, Mapping):
        values = {label_text(cell): str(name) for cell, name in declared.items()}
    else:
        values = {label_text(cell): label_text(cell) for cell in declared}
    if unknown := sorted(set(counts) - set(values)):
        raise DataError(
            f"data.labels must list every label of the training rows; {_listed(unknown)} stands in the data only.",
            fix="Add it to data.labels, or take those rows out.",
        )
    if absent := [cell for cell in values if not counts.get(cell)]:
        raise DataError(
            f"data.labels must be labels of the training rows; {_listed(absent)} has no training row.",
            fix="Take it out of data.labels, or add rows.",
        )
    labels = list(dict.fromkeys(values.values()))
    if len(labels) < 2:
        raise DataError(
            f"the training rows must have at least two labels; got {_listed(labels) if labels else 'none'}.",
            fix="Check data.columns.label and the data; the first rows, all that data.limit keeps, may have one label.",
        )
    return {"labels": labels, "values": values}


def label_number(cell: str, targets: Targets) -> int | None:
    """Return a label's place in the map of `fit_labels`; None for a label that training did not have."""
    name = targets["values"].get(cell)
    return None if name is None else targets["labels"].index(name)


def label_cell(value: Any) -> str:
    """Return a target cell as a label's text.

    Raises:
        CellError: it is absent, or neither text, a whole number nor a boolean.
    """
    if value is None or value == "":
        raise CellError("is absent")
    return label_text(value)


def label_text(value: Any) -> str:
    """Return a label's canonical text.

    Raises:
        CellError: it is neither text, a whole number nor a boolean.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, (str, int)):
        return str(value)
    raise CellError(f"must be text, a whole number or a boolean; got {type(value).__name__} {value!r}")


def _natural(cell: str) -> tuple[int, float, str]:
    try:
        return (0, float(cell), cell)
    except ValueError:
        return (1, 0.0, cell)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f'"{name}"' for name in names[:20])
    return shown if len(names) <= 20 else f"{shown} and {len(names) - 20} more"
