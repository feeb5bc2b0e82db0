"""Text classification: one label out of several for a text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from luthier.data.features import FeatureBlock, Field
from luthier.data.text import TextEncoder
from luthier.errors import DataError
from luthier.metrics.calibration import fit_temperature, softmax
from luthier.tasks.base import Calibration, CellError, Declared, HeadSpec, Role, Targets


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


class TextClassification:
    """One label out of several for a text.

    The label map is ordered: as `data.labels` says, else numbers by value and texts alphabetically.
    """

    name: ClassVar[str] = "text-classification"
    roles: ClassVar[tuple[Role, ...]] = (Role("text"), Role("label", target=True))
    objective: ClassVar[str] = "classification"
    evaluation: ClassVar[str] = "classification"
    headline: ClassVar[str] = "accuracy"

    def __init__(self, settings: None = None) -> None:
        assert settings is None, "text-classification has no settings"

    def input_cell(self, role: str, value: Any) -> str:
        """Return a text cell; it must be text with something other than white space."""
        if value is None:
            raise CellError("is absent")
        if not isinstance(value, str):
            raise CellError(f"must be text; got {type(value).__name__} {value!r}")
        if not value.strip():
            raise CellError("is empty")
        return value

    def target_cell(self, value: Any) -> str:
        """Return a label as text: `true` and `false` for booleans, digits for whole numbers."""
        if value is None or value == "":
            raise CellError("is absent")
        return label_text(value)

    def fit_targets(self, counts: Mapping[str, int], declared: Declared) -> Targets:
        """Return `{labels, values}`: the ordered label names, and which cell stands for which."""
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
                fix="Check data.columns.label and the data.",
            )
        return {"labels": labels, "values": values}

    def output_labels(self, targets: Targets) -> list[str]:
        """Return the label map."""
        return list(targets["labels"])

    def target_number(self, cell: str, targets: Targets) -> int | None:
        """Return a label's place in the label map; None for a label that training did not have."""
        name = targets["values"].get(cell)
        return None if name is None else targets["labels"].index(name)

    def fields(self, encoder: TextEncoder) -> dict[str, Field]:
        """Return the padding of `input_ids`."""
        return {"input_ids": Field(pad=encoder.pad_id, mask="attention_mask")}

    def encode(
        self,
        columns: Mapping[str, Sequence[Any]],
        rows: NDArray[np.int64],
        encoder: TextEncoder,
        target: NDArray[np.int64] | None,
    ) -> FeatureBlock:
        """Return one feature per row: `input_ids`, and `full_length` and `unknown` for the check."""
        encoded = encoder.encode(columns["text"])
        number = len(encoded)
        scalar: dict[str, NDArray[Any]] = {
            "full_length": np.fromiter((item.full_length for item in encoded), np.int32, number),
            "unknown": np.fromiter((item.unknown for item in encoded), np.int32, number),
        }
        if target is not None:
            scalar["label"] = target
        return FeatureBlock(
            group=rows,
            cost={"encoder_tokens": np.fromiter((len(item.ids) for item in encoded), np.int64, number)},
            ragged={"input_ids": [item.ids for item in encoded]},
            scalar=scalar,
        )

    def decoding(self, encoder: TextEncoder) -> None:
        """Return nothing: one pass of the model gives the answer."""
        return

    def head(self, targets: Targets) -> HeadSpec:
        """Return a classification head with one output per label."""
        return HeadSpec("classification", {"outputs": len(targets["labels"])})

    def decode(
        self, outputs: Mapping[str, NDArray[np.float64]], targets: Targets, calibration: Calibration
    ) -> list[ClassPrediction]:
        """Return the most probable label of each row and the probability of all, from `logits` (N, C)."""
        labels = targets["labels"]
        probability = softmax(outputs["logits"] / calibration.get("temperature", 1.0))
        best = probability.argmax(axis=1)
        return [
            ClassPrediction(labels[top], float(row[top]), dict(zip(labels, map(float, row), strict=True)))
            for top, row in zip(best, probability, strict=True)
        ]

    def calibrate(self, outputs: Mapping[str, NDArray[np.float64]], target: NDArray[np.int64]) -> Calibration:
        """Return the temperature that minimises validation log loss (Guo et al. 2017)."""
        return {"temperature": fit_temperature(outputs["logits"], target)}


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
