"""The contract of a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from luthier.data.features import FeatureBlock, Features, Field, grouped
from luthier.data.text import TextEncoder
from luthier.errors import DataError

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
        training: whether it is read beside the target in training alone: predictions do without it, and it says nothing
            about which rows are the same.
        shared: whether one column may play it together with the other roles of this kind.
    """

    name: str
    target: bool = False
    required: bool = True
    training: bool = False
    shared: bool = False

    @property
    def asked(self) -> bool:
        """Whether predictions read it."""
        return not (self.target or self.training)


@dataclass(frozen=True)
class HeadSpec:
    """A head by the name of its kind in `models.heads.HEADS`, and its settings (JSON-like)."""

    kind: str
    settings: dict[str, Any] = field(default_factory=dict)


PER_TOKEN: dict[str, tuple[str, ...]] = {"token-classification": ("logits",), "span": ("logits",)}
"""Outputs, by kind of head, that a feature has for each of its tokens."""


@dataclass(frozen=True)
class Decoding:
    """How a text is made token by token.

    Attributes:
        max_new_tokens: of an answer, the end token included.
        max_length: of prompt and answer together; None where the answer stands apart from what is read.
        end_id: the token that ends an answer.
        temperature: 0 takes the likeliest token.
        top_p: draws are from the likeliest tokens that hold this share together.
        seed: of the draws.
        num_beams: answers that are followed at the same time; 1 follows one.
        length_penalty: of beams: a finished answer's log-probability is divided by its length to this power.
        early_stopping: of beams: whether to end as soon as so many answers are finished as there are beams.
    """

    max_new_tokens: int
    max_length: int | None
    end_id: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 13
    num_beams: int = 1
    length_penalty: float = 1.0
    early_stopping: bool = False

    def limit(self, prompt: int) -> int:
        """Return the most tokens of an answer to a prompt of some tokens, at least 1."""
        room = self.max_new_tokens if self.max_length is None else self.max_length - prompt
        return max(1, min(self.max_new_tokens, room))


@dataclass(frozen=True)
class Segment:
    """A part of a feature as a text, for people.

    Attributes:
        text: with special tokens in it.
        learnt: whether the loss is on it.
    """

    text: str
    learnt: bool = False


class CellError(Exception):
    """A cell cannot be what its role needs; the message says why. The reader of the data adds the place.

    Args:
        message: what is wrong.
        role: which of a row's cells it is about, where that is not plain.
    """

    def __init__(self, message: str, role: str | None = None) -> None:
        super().__init__(message)
        self.role = role


@dataclass(frozen=True)
class Scored:
    """What a model put out for the features of some rows.

    Attributes:
        outputs: `{name: (N, ...)}`, a row for each feature. An output per token is (N,) objects, each (T, ...) as long
            as the feature. What was written token by token has `text` (N,) too.
        features: that were scored, among others.
        index: (N,) which of them, ordered by group.
        inputs: cells by role, as `input_cell` returned them; one mapping per group, in the groups' order.
    """

    outputs: Mapping[str, NDArray[Any]]
    features: Features
    index: NDArray[np.int64]
    inputs: Sequence[Mapping[str, Any]]

    @property
    def group(self) -> NDArray[np.int64]:
        """(N,) the group of each scored feature, rising."""
        return np.asarray(self.features.group)[self.index]

    def groups(self) -> list[NDArray[np.int64]]:
        """Return the positions of each group's features, (n,) each, in the groups' order."""
        return grouped(self.group)


@dataclass(frozen=True)
class Truth:
    """What is true of some rows.

    Attributes:
        number: (R,) from `target_number`.
        cells: (R,) from `target_cell`, read when they are asked for.
    """

    number: NDArray[np.int64]
    cells: Sequence[str]


class Prediction(Protocol):
    """What a task answers for one input."""

    def as_dict(self) -> dict[str, Any]:
        """Return the answer as JSON-like values: what HTTP sends and what golden examples keep."""

    def as_columns(self) -> dict[str, Any]:
        """Return the answer as flat cells: what a table of predictions holds."""


class Task(Protocol):
    """What is predicted, from which columns, and how. `BaseTask` has the members that most tasks share.

    Attributes:
        name: the name in a project file.
        roles: the columns it reads; one of them is the target.
        objective: name in `objectives.OBJECTIVES`.
        evaluation: name in `evaluation.EVALUATIONS`.
        headline: name in `metrics.METRICS` of the metric that stands for the others.
        problem_type: Transformers' name of what a plain classification folder answers; None for any other folder.
        windows: whether a text that is too long is read through windows; else it is cut.
        writes: whether answers are made token by token, so that `decoding` is something.
    """

    name: ClassVar[str]
    roles: ClassVar[tuple[Role, ...]]
    objective: ClassVar[str]
    evaluation: ClassVar[str]
    headline: ClassVar[str]
    problem_type: ClassVar[str | None]
    windows: ClassVar[bool]
    writes: ClassVar[bool]

    def __init__(self, settings: Any = None) -> None:
        """Take the task's settings: an instance of its settings class, or None where it has none."""

    def check_columns(self, columns: Mapping[str, str]) -> None:
        """Look at whether the roles that have a column go together with each other and the settings.

        Args:
            columns: `{role: column}`.

        Raises:
            DataError: they do not.
        """

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

    def check_row(self, inputs: Mapping[str, Any], target: str | None) -> None:
        """Look at whether a row's cells go together.

        Args:
            inputs: `{role: cell}` from `input_cell`.
            target: from `target_cell`; None when predicting.

        Raises:
            CellError: they do not, such as a span outside of the text.
        """

    def check_fit(self, inputs: Mapping[str, Any], encoder: TextEncoder) -> None:
        """Look at whether a row can be encoded within the length limit.

        Args:
            inputs: `{role: cell}` from `input_cell`.
            encoder: the tokenizer with its length limit.

        Raises:
            CellError: it cannot, such as a question that leaves no room for its context.
        """

    def fit_targets(self, counts: Mapping[str, int], declared: Declared) -> Targets:
        """Return what decoding needs, from the target cells seen in training and the user's `data.labels`.

        Raises:
            DataError: there is nothing to learn, or the declared labels and the data disagree.
        """

    def output_labels(self, targets: Targets) -> list[str]:
        """Return a name for each class, where a row has one class; else nothing."""

    def plain_labels(self, targets: Targets) -> list[str]:
        """Return a name for each output of the head, as a plain Transformers folder keeps them; empty without names."""

    def answer_scale(self, targets: Targets) -> float:
        """Return by what outputs are multiplied on the way to an answer's numbers: rounding grows with it."""

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
        targets: Targets,
    ) -> FeatureBlock:
        """Return the features of some rows, at least one each.

        Args:
            columns: `{role: cells}` of the inputs, as `input_cell` returned them; unless predicting, those of the
                target too, as `target_cell` returned them. An optional role without a column is absent.
            rows: (R,) the rows' numbers; a feature's group is its row's number.
            encoder: the tokenizer with its length limit.
            target: (R,) from `target_number`, or None when predicting.
            targets: from `fit_targets`.
        """

    def decoding(self, encoder: TextEncoder) -> Decoding | None:
        """Return how answers are made token by token; None where one pass of the model gives them."""

    def head(self, targets: Targets) -> HeadSpec:
        """Return the head that the task needs."""

    def objective_settings(self, targets: Targets) -> dict[str, Any]:
        """Return keyword arguments of the objective, beside those of `train`."""

    def decode(self, scored: Scored, targets: Targets, calibration: Calibration) -> Sequence[Prediction]:
        """Return one prediction per group.

        Args:
            scored: the outputs of the groups' features.
            targets: from `fit_targets`.
            calibration: from `calibrate`; empty before it.
        """

    def calibrate(self, scored: Scored, truth: Truth, targets: Targets) -> Calibration:
        """Return numbers fitted on validation rows that `decode` uses."""

    def probe(self, text: str) -> dict[str, Any]:
        """Return the cells of an input made from a text, for golden examples."""

    def plain_texts(self, inputs: Mapping[str, Any]) -> tuple[str, ...] | None:
        """Return an input's texts as a plain tokenizer call takes them; None where they are cut or joined otherwise."""

    def segments(self, ids: Mapping[str, NDArray[np.int32]], encoder: TextEncoder) -> list[Segment]:
        """Return a feature as texts, in their order, with what is learnt marked.

        Args:
            ids: `{ragged field: (T,)}` of the feature.
            encoder: that made them.
        """


class BaseTask:
    """The members that most tasks share: texts in, targets that are not classes, one pass, nothing calibrated.

    Args:
        options: an instance of the task's settings class, or None where it has none.
    """

    name: ClassVar[str]
    roles: ClassVar[tuple[Role, ...]]
    problem_type: ClassVar[str | None] = None
    windows: ClassVar[bool] = False
    writes: ClassVar[bool] = False

    def __init__(self, settings: Any = None) -> None:
        kind = getattr(type(self), "settings", None)
        assert settings is None or kind is not None, f"{self.name} has no settings"
        self.options = kind() if settings is None and kind is not None else settings

    def check_columns(self, columns: Mapping[str, str]) -> None:
        """Accept any of the roles."""

    def input_cell(self, role: str, value: Any) -> Any:
        """Return a text; it must be text with something other than white space."""
        return text_cell(value)

    def target_cell(self, value: Any) -> str:
        """Return a text; it must be text with something other than white space."""
        return text_cell(value)

    def check_row(self, inputs: Mapping[str, Any], target: str | None) -> None:
        """Accept every row whose cells are right by themselves."""

    def check_fit(self, inputs: Mapping[str, Any], encoder: TextEncoder) -> None:
        """Accept every row: what is too long is cut."""

    def fit_targets(self, counts: Mapping[str, int], declared: Declared) -> Targets:
        """Return nothing: targets are not out of a list."""
        if declared is not None:
            raise DataError(f"data.labels must be absent: {self.name} has no list of labels.", fix="Take it out.")
        return {}

    def output_labels(self, targets: Targets) -> list[str]:
        """Return nothing: a row has no class."""
        return []

    def plain_labels(self, targets: Targets) -> list[str]:
        """Return the classes."""
        return self.output_labels(targets)

    def answer_scale(self, targets: Targets) -> float:
        """Return 1: numbers are probabilities."""
        return 1.0

    def target_number(self, cell: str, targets: Targets) -> int | None:
        """Return 0: targets are not classes."""
        return 0

    def fields(self, encoder: TextEncoder) -> dict[str, Field]:
        """Return the padding of token ids, and of token types where this tokenizer gives any to a single text."""
        return token_fields(encoder, types=encoder.single_types)

    def decoding(self, encoder: TextEncoder) -> Decoding | None:
        """Return nothing: one pass of the model gives the answer."""
        return None

    def objective_settings(self, targets: Targets) -> dict[str, Any]:
        """Return nothing beside what `train` says."""
        return {}

    def calibrate(self, scored: Scored, truth: Truth, targets: Targets) -> Calibration:
        """Return nothing: outputs stay as they are."""
        return {}

    def probe(self, text: str) -> dict[str, Any]:
        """Return the text in the place of every required input."""
        return {role.name: text for role in self.roles if role.asked and role.required}

    def plain_texts(self, inputs: Mapping[str, Any]) -> tuple[str, ...] | None:
        """Return the inputs in the roles' order."""
        return tuple(inputs[role.name] for role in self.roles if role.name in inputs)

    def segments(self, ids: Mapping[str, NDArray[np.int32]], encoder: TextEncoder) -> list[Segment]:
        """Return what the model reads; the target is no part of it."""
        return [Segment(encoder.written(ids["input_ids"]))]


def text_cell(value: Any) -> str:
    """Return a cell that must be text with something other than white space.

    Raises:
        CellError: it is absent, of another type, or empty.
    """
    if value is None:
        raise CellError("is absent")
    if not isinstance(value, str):
        raise CellError(f"must be text; got {type(value).__name__} {value!r}")
    if not value.strip():
        raise CellError("is empty")
    return value


def token_fields(encoder: TextEncoder, *, types: bool) -> dict[str, Field]:
    """Return the padding of `input_ids`, and of `token_type_ids` where they are asked for."""
    found = {"input_ids": Field(pad=encoder.pad_id, mask="attention_mask", tokens=True)}
    return found | ({"token_type_ids": Field(pad=encoder.pad_type_id)} if types else {})
