"""The rows of the first training batch as a person reads them, with what is learnt marked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from luthier.pipeline.prepared import Prepared
from luthier.tasks.base import Segment


@dataclass(frozen=True)
class ShownFeature:
    """A feature of a batch.

    Attributes:
        place: where its row stands in its source.
        segments: what the model reads, in its order, with what is learnt marked.
        target: the row's target cell.
        tokens: that the feature costs.
    """

    place: str
    segments: Sequence[Segment]
    target: str
    tokens: int

    def as_dict(self) -> dict[str, Any]:
        """Return JSON-like values."""
        parts = [{"text": one.text, "learnt": one.learnt} for one in self.segments]
        return {"place": self.place, "segments": parts, "target": self.target, "tokens": self.tokens}


def first_batch(prepared: Prepared) -> list[ShownFeature]:
    """Return the features of the first batch of the first epoch."""
    features, _ = prepared.part("train")
    dataset, task = prepared.dataset, prepared.task
    rows = dataset.rows("train")
    target = next(dataset.columns[role.name] for role in task.roles if role.target)
    found = []
    for index in prepared.order(0)[0].tolist():
        number = features.group[index : index + 1]
        found.append(
            ShownFeature(
                place=rows.place(int(number[0])),
                segments=task.segments({name: features.row(name, index) for name in features.fields}, prepared.encoder),
                target=task.target_cell(rows.column(target, number)[0]),
                tokens=int(features.total_cost[index]),
            )
        )
    return found
