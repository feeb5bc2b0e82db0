"""Relation extraction: how the second of two marked parts of a text is related to the first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from luthier.data.features import FeatureBlock
from luthier.data.text import TextEncoder
from luthier.errors import DataError
from luthier.metrics.calibration import fit_temperature
from luthier.tasks.base import (
    BaseTask,
    Calibration,
    CellError,
    Declared,
    HeadSpec,
    Role,
    Scored,
    Targets,
    Truth,
    text_cell,
)
from luthier.tasks.encoding import text_block
from luthier.tasks.entities import Span, check_inside, parsed, shown, span_of, units_of
from luthier.tasks.labels import ClassPrediction, class_predictions, fit_labels, label_cell, label_number

ENTITIES = ("head", "tail")
LEFT_OUT = " \u2026 "
SLACK = 4  # tokens that joining parts may add


@dataclass(frozen=True)
class RelationSettings:
    """Which label is no relation."""

    none: str | None = field(
        default=None,
        metadata={
            "description": "The label that says that there is no relation: F1 leaves it out. Null: every label is one."
        },
    )


@dataclass(frozen=True)
class Relation(ClassPrediction):
    """A relation with its probability, and the probability of every one.

    Attributes:
        none: the label that says that there is no relation; None where every label is one.
    """

    none: str | None = None


class RelationExtraction(BaseTask):
    """The relation of two entities in a text; head and tail are not the same, so a relation has a direction.

    The model reads the text with typed markers of punctuation, which every tokenizer knows, around both entities:
    `@ * person * Ada @` around the head and `# ^ place ^ Arden #` around the tail. A text that is too long loses what
    is farthest from the entities.

    References: Zhou and Chen, 2021, An Improved Baseline for Sentence-level Relation Extraction (typed entity marker,
    punct). Deviation: the state of the first token is classified, not those of the two markers.
    """

    name: ClassVar[str] = "relation-extraction"
    settings: ClassVar[type] = RelationSettings
    roles: ClassVar[tuple[Role, ...]] = (Role("text"), Role("head"), Role("tail"), Role("label", target=True))
    objective: ClassVar[str] = "classification"
    evaluation: ClassVar[str] = "relations"
    headline: ClassVar[str] = "relation_f1"
    problem_type: ClassVar[str | None] = "single_label_classification"

    options: RelationSettings

    def input_cell(self, role: str, value: Any) -> Any:
        """Return a text, or an entity as an object with start, end and label."""
        return dict(vars(_entity(value))) if role in ENTITIES else text_cell(value)

    def target_cell(self, value: Any) -> str:
        """Return a label as text."""
        return label_cell(value)

    def check_row(self, inputs: Mapping[str, Any], target: str | None) -> None:
        """Refuse entities outside of the text, and a head and a tail that overlap."""
        head, tail = (Span(**inputs[role]) for role in ENTITIES)
        for role, span in zip(ENTITIES, (head, tail), strict=True):
            try:
                check_inside(span, inputs["text"])
            except CellError as error:
                raise CellError(str(error), role) from None
        if head.start < tail.end and tail.start < head.end:
            where = f"{head.start}..{head.end} and {tail.start}..{tail.end}"
            raise CellError(f"must not overlap the head; got {where}", "tail")

    def check_fit(self, inputs: Mapping[str, Any], encoder: TextEncoder) -> None:
        """Refuse entities that leave no room within the length limit."""
        longest = sum(inputs[role]["end"] - inputs[role]["start"] for role in ENTITIES)
        if 4 * longest < encoder.max_length // 2:  # a character has at most four tokens
            return
        _, first, _, second, _ = marked_parts(inputs)
        needed, room = _tokens(encoder, first) + _tokens(encoder, second), _room(encoder)
        if needed > room:
            role = max(ENTITIES, key=lambda name: inputs[name]["end"] - inputs[name]["start"])
            raise CellError(f"cannot be kept whole: both entities need {needed} tokens of {room}", role)

    def fit_targets(self, counts: Mapping[str, int], declared: Declared) -> Targets:
        """Return `{labels, values, none}`: the label map, and the number of the label that is no relation."""
        found, none = fit_labels(counts, declared), self.options.none
        if none is not None and none not in found["labels"]:
            raise DataError(
                f'the task\'s none must be a label ({", ".join(found["labels"])}); got "{none}".', fix="Correct it."
            )
        return {**found, "none": None if none is None else found["labels"].index(none)}

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
        """Return one feature per row: `input_ids` of the text with its markers."""
        cells = [dict(zip(("text", *ENTITIES), row, strict=True)) for row in zip(*_inputs(columns), strict=True)]
        parts = [marked_parts(row) for row in cells]
        whole = encoder.encode(["".join(part) for part in parts])
        texts = [
            "".join(part) if one.full_length <= encoder.max_length else around_entities(part, encoder)
            for part, one in zip(parts, whole, strict=True)
        ]
        scalar: dict[str, NDArray[Any]] = {} if target is None else {"label": target}
        full = np.fromiter((one.full_length for one in whole), np.int32, len(whole))
        return text_block(rows, encoder.encode(texts), encoder, {**scalar, "full_length": full})

    def head(self, targets: Targets) -> HeadSpec:
        """Return a classification head with one output per label."""
        return HeadSpec("classification", {"outputs": len(targets["labels"])})

    def decode(self, scored: Scored, targets: Targets, calibration: Calibration) -> list[Relation]:
        """Return the most probable relation of each row and the probability of all, from `logits` (N, C)."""
        found = class_predictions(scored.outputs["logits"], targets["labels"], calibration)
        return [Relation(one.label, one.probability, one.scores, self.options.none) for one in found]

    def calibrate(self, scored: Scored, truth: Truth, targets: Targets) -> Calibration:
        """Return the temperature that minimises validation log loss (Guo et al. 2017)."""
        return {"temperature": fit_temperature(scored.outputs["logits"], truth.number)}

    def probe(self, text: str) -> dict[str, Any]:
        """Return the text with its first and its last word as head and tail."""
        units = units_of(text)
        if len(units) < 2:
            text = f"{text} and {text}"
            units = units_of(text)
        spans = [{"start": start, "end": end, "label": "entity"} for start, end in (units[0], units[-1])]
        return {"text": text, "head": spans[0], "tail": spans[1]}

    def plain_texts(self, inputs: Mapping[str, Any]) -> None:
        """Return nothing: markers stand in the text."""
        return


def _entity(value: Any) -> Span:
    if value is None or value == "":
        raise CellError("is absent")
    found = parsed(value)
    if not isinstance(found, Mapping):
        raise CellError(f"must be an object with start, end and label; got {shown(value)}")
    return span_of(found)


def _inputs(columns: Mapping[str, Sequence[Any]]) -> list[Sequence[Any]]:
    return [columns[role] for role in ("text", *ENTITIES)]


def marked_parts(inputs: Mapping[str, Any]) -> tuple[str, str, str, str, str]:
    """Return a text in five parts, the second and fourth being the entities with their markers.

    >>> entity = lambda start, end, label: {"start": start, "end": end, "label": label}
    >>> "".join(marked_parts({"text": "Ada of Arden", "head": entity(0, 3, "person"), "tail": entity(7, 12, "place")}))
    '@ * person * Ada @ of # ^ place ^ Arden #'
    """
    text = inputs["text"]
    signs = {"head": ("@", "*"), "tail": ("#", "^")}
    marked = []
    for role in sorted(ENTITIES, key=lambda name: inputs[name]["start"]):
        one, (outer, inner) = inputs[role], signs[role]
        words = f"{outer} {inner} {one['label']} {inner} {text[one['start'] : one['end']]} {outer}"
        marked.append((one["start"], one["end"], words))
    (start, end, first), (next_start, next_end, second) = marked
    return text[:start], first, text[end:next_start], second, text[next_end:]


def around_entities(parts: tuple[str, str, str, str, str], encoder: TextEncoder) -> str:
    """Return a text that is too long without what is farthest from its entities.

    What lies between the entities is kept whole where it fits, with as much on either side as there is room for; else
    its middle is left out, and what lies outside.

    Args:
        parts: from `marked_parts`.
        encoder: gives the length limit.
    """
    before, first, between, second, after = parts
    room = _room(encoder) - _tokens(encoder, first) - _tokens(encoder, second)
    inner = _tokens(encoder, between)
    if inner > room:
        half = (room - _tokens(encoder, LEFT_OUT)) // 2
        start, end = encoder.shortened(between, half, side="right"), encoder.shortened(between, half, side="left")
        return f"{first}{start}{LEFT_OUT}{end}{second}"
    left, right = _shares(_tokens(encoder, before), _tokens(encoder, after), room - inner)
    start, end = encoder.shortened(before, left, side="left"), encoder.shortened(after, right, side="right")
    return f"{start}{first}{between}{second}{end}"


def _shares(left: int, right: int, room: int) -> tuple[int, int]:
    """Return how many tokens either side keeps: half of the room, and what the other side does not need."""
    kept = min(left, max(room // 2, room - right))
    return kept, min(right, room - kept)


def _room(encoder: TextEncoder) -> int:
    return encoder.max_length - encoder.special_tokens - SLACK


def _tokens(encoder: TextEncoder, text: str) -> int:
    return len(encoder.ids([text])[0])
