"""Multi-label classification: any number of labels out of several for a text."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from luthier.data.features import FeatureBlock, Field
from luthier.data.text import TextEncoder
from luthier.metrics.multi_label import sigmoid
from luthier.metrics.thresholds import best_threshold
from luthier.tasks.base import BaseTask, Calibration, CellError, Declared, HeadSpec, Role, Scored, Targets, Truth
from luthier.tasks.encoding import text_block
from luthier.tasks.labels import fit_labels, label_number, label_text

CLASSES = "classes"
HALF = 0.5
NO_CLASS = -1


@dataclass(frozen=True)
class MultiLabelSettings:
    """How label sets are written, and when a label is given."""

    separator: str = field(
        default="|",
        metadata={"description": "What stands between labels in a cell that is text and no JSON list."},
    )
    thresholds: Literal["tuned", "half"] = field(
        default="tuned",
        metadata={
            "description": "A label is given above the probability with the best F1 of that label on validation, or "
            "above one half; a text may get no label."
        },
    )

    def __post_init__(self) -> None:
        """Refuse a separator that could not be seen."""
        if not self.separator:
            raise ValueError('separator must be at least one character; got "".')


@dataclass(frozen=True)
class LabelsPrediction:
    """The labels of a text, and the probability of every label.

    Attributes:
        labels: whose probability is above their threshold, in the order of the label map.
        scores: `{label: probability}`; each stands for itself.
    """

    labels: list[str]
    scores: dict[str, float]

    def as_dict(self) -> dict[str, Any]:
        """Return the answer as JSON-like values."""
        return {"labels": list(self.labels), "scores": dict(self.scores)}

    def as_columns(self) -> dict[str, Any]:
        """Return the answer as flat cells: `labels` as a JSON list, and `score.<label>` for each label."""
        scores = {f"score.{label}": value for label, value in self.scores.items()}
        return {"labels": json.dumps(self.labels, ensure_ascii=False), **scores}


class MultiLabel(BaseTask):
    """Any number of labels out of several for a text, none included.

    A cell holds a list, a JSON list, or labels with a separator between them; `[]` is a text without labels. The label
    map is ordered: as `data.labels` says, else numbers by value and texts alphabetically.
    """

    name: ClassVar[str] = "multi-label"
    roles: ClassVar[tuple[Role, ...]] = (Role("text"), Role("labels", target=True))
    settings: ClassVar[type] = MultiLabelSettings
    objective: ClassVar[str] = "multi-label"
    evaluation: ClassVar[str] = "multi-label"
    headline: ClassVar[str] = "label_macro_f1"  # thresholds are tuned for each label by itself
    problem_type: ClassVar[str | None] = "multi_label_classification"

    def target_cell(self, value: Any) -> str:
        """Return a label set as a JSON list, sorted and without doubles."""
        found = [label_text(item) for item in _items(value, self.options.separator)]
        if any(not label.strip() for label in found):
            raise CellError(f"holds an empty label: {value!r}")
        return json.dumps(sorted(set(found)), ensure_ascii=False)

    def fit_targets(self, counts: Mapping[str, int], declared: Declared) -> Targets:
        """Return `{labels, values}`: the ordered label names, and which label of the data stands for which."""
        single: Counter[str] = Counter()
        for cell, rows in counts.items():
            single.update(dict.fromkeys(json.loads(cell), rows))
        return fit_labels(single, declared)

    def plain_labels(self, targets: Targets) -> list[str]:
        """Return the label map."""
        return list(targets["labels"])

    def target_number(self, cell: str, targets: Targets) -> int | None:
        """Return 0; None for a set with a label that training did not have."""
        return None if any(label_number(label, targets) is None for label in json.loads(cell)) else 0

    def fields(self, encoder: TextEncoder) -> dict[str, Field]:
        """Return the padding of token ids and of the numbers of a text's labels."""
        return {**super().fields(encoder), CLASSES: Field(pad=NO_CLASS)}

    def encode(
        self,
        columns: Mapping[str, Sequence[Any]],
        rows: NDArray[np.int64],
        encoder: TextEncoder,
        target: NDArray[np.int64] | None,
        targets: Targets,
    ) -> FeatureBlock:
        """Return one feature per row: `input_ids`, and in `classes` the numbers of its labels."""
        cells = ["[]"] * len(rows) if target is None else columns["labels"]
        numbers = [np.flatnonzero(row).astype(np.int32) for row in label_sets(cells, targets)]
        return text_block(rows, encoder.encode(columns["text"]), encoder, {}, {CLASSES: numbers})

    def head(self, targets: Targets) -> HeadSpec:
        """Return a classification head with one output per label."""
        return HeadSpec("classification", {"outputs": len(targets["labels"])})

    def decode(self, scored: Scored, targets: Targets, calibration: Calibration) -> list[LabelsPrediction]:
        """Return each row's labels and the probability of all, from `logits` (N, C)."""
        labels = targets["labels"]
        probability = sigmoid(scored.outputs["logits"])
        given = probability > thresholds(labels, calibration)
        return [
            LabelsPrediction(
                [label for label, yes in zip(labels, chosen, strict=True) if yes],
                dict(zip(labels, map(float, row), strict=True)),
            )
            for row, chosen in zip(probability, given, strict=True)
        ]

    def calibrate(self, scored: Scored, truth: Truth, targets: Targets) -> Calibration:
        """Return `threshold.<label>` for each label: the probability above which its validation F1 is best."""
        if self.options.thresholds == "half":
            return {}
        probability = sigmoid(scored.outputs["logits"])
        true = true_sets(scored, len(targets["labels"]))
        return {
            f"threshold.{label}": best_threshold(probability[:, number], true[:, number])
            for number, label in enumerate(targets["labels"])
        }


def thresholds(labels: Sequence[str], calibration: Calibration) -> NDArray[np.float64]:
    """Return (C,) the probability above which each label is given; one half where nothing was fitted."""
    return np.asarray([calibration.get(f"threshold.{label}", HALF) for label in labels])


def label_sets(cells: Sequence[str], targets: Targets) -> NDArray[np.bool_]:
    """Return (N, C) which labels each row has, from JSON lists of labels that the map knows."""
    found = np.zeros((len(cells), len(targets["labels"])), dtype=bool)
    for row, cell in enumerate(cells):
        for label in json.loads(cell):
            number = label_number(label, targets)
            assert number is not None, f"{label} is not in the label map"
            found[row, number] = True
    return found


def true_sets(scored: Scored, classes: int) -> NDArray[np.bool_]:
    """Return (N, C) which labels each row has, as its features hold them."""
    found = np.zeros((len(scored.index), classes), dtype=bool)
    for row, feature in enumerate(scored.index):
        found[row, scored.features.row(CLASSES, int(feature))] = True
    return found


def _items(value: Any, separator: str) -> list[Any]:
    """Return the labels in a cell.

    Raises:
        CellError: it is no list of them.
    """
    if value is None or value == "":
        raise CellError("is absent; a text without labels has []")
    if isinstance(value, list | tuple):
        return list(value)
    if not isinstance(value, str):
        raise CellError(f"must be a list of labels or text; got {type(value).__name__} {value!r}")
    if not value.lstrip().startswith(("[", "{")):
        return [part.strip() for part in value.split(separator)]
    try:
        found = json.loads(value)
    except ValueError:
        raise CellError(f"begins like JSON and is none: {value!r}") from None
    if not isinstance(found, list):
        raise CellError(f"must be a JSON list of labels; got {value!r}")
    return found
