"""`evaluation.json`: what is known of a model's answers on rows that it never saw.

Nothing here names a task. A task contributes metrics by name and blocks by kind; the report draws a block by its kind.
Times stay out of the file, so that two equal runs write equal bytes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from luthier.artifacts.files import write_bytes_atomic
from luthier.errors import ArtifactError

SCHEMA_VERSION = 1


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class MetricValue(_Frozen):
    """One number, with its bootstrap interval where one was asked for; None where the metric is undefined."""

    value: float | None
    interval: tuple[float, float] | None = None


class Baseline(_Frozen):
    """A simple model on the same rows, and how far the evaluated one is ahead of it."""

    name: str
    metrics: dict[str, MetricValue]
    lead: MetricValue = Field(description="headline metric minus the baseline's, paired over rows")


class SliceRow(_Frozen):
    """The headline metric on a part of the rows."""

    column: str
    value: str
    rows: int
    metric: MetricValue


class ConfusionBlock(_Frozen):
    """Counts of (truth, prediction); rows are truth."""

    kind: Literal["confusion"] = "confusion"
    labels: list[str]
    counts: list[list[int]]


class PerClassRow(_Frozen):
    """Precision, recall and F1 of one class; None where undefined."""

    label: str
    precision: float | None
    recall: float | None
    f1: float | None
    support: int


class PerClassBlock(_Frozen):
    """A row per class."""

    kind: Literal["per_class"] = "per_class"
    rows: list[PerClassRow]


class ReliabilityBin(_Frozen):
    """Rows whose confidence lies in [lower, upper)."""

    lower: float
    upper: float
    confidence: float | None
    accuracy: float | None
    count: int


class CalibrationBlock(_Frozen):
    """Confidence against accuracy, before and after temperature scaling fitted on validation."""

    kind: Literal["calibration"] = "calibration"
    temperature: float
    error_before: float
    error_after: float
    before: list[ReliabilityBin]
    after: list[ReliabilityBin]


class Example(_Frozen):
    """One row to look at."""

    place: str
    inputs: dict[str, str]
    target: str
    predicted: str
    probability: float | None = Field(description="of the prediction; None where it is a number")


class ExamplesBlock(_Frozen):
    """Rows worth a look: the most confident mistakes, suspected label errors, or the largest errors of numbers."""

    kind: Literal["examples"] = "examples"
    name: Literal["mistakes", "label_issues", "largest_errors"]
    split: str
    total: int = Field(description="how many there are; `rows` holds the first of them")
    rows: list[Example]


class MeansBin(_Frozen):
    """Rows with like predictions: the mean prediction, and the mean of what is true with its interval."""

    predicted: float
    truth: float
    interval: tuple[float, float] | None
    count: int


class MeansBlock(_Frozen):
    """Whether the truth has the mean that was predicted, over bins of about equal many rows."""

    kind: Literal["means"] = "means"
    error: float = Field(description="mean distance of a bin's two means, weighed by rows")
    bins: list[MeansBin]


class Answer(_Frozen):
    """A generated answer beside the true one."""

    place: str
    inputs: dict[str, str]
    target: str
    answer: str
    ended: bool = Field(description="whether the model ended by itself")
    rouge_l: float


class AnswersBlock(_Frozen):
    """Generated answers to a sample of the rows."""

    kind: Literal["answers"] = "answers"
    split: str
    asked: int = Field(description="how many rows were answered; `rows` holds the first of them")
    total: int = Field(description="rows of the split")
    rows: list[Answer]


class RankedExample(_Frozen):
    """A query whose right passage does not stand at the top."""

    place: str
    query: str
    right: str
    top: str = Field(description="the passage that stands there")
    rank: int = Field(description="of the right passage, from 1")
    candidates: int = Field(description="how many were ranked")


class RankedBlock(_Frozen):
    """The queries whose right passage stands lowest."""

    kind: Literal["ranked"] = "ranked"
    split: str
    total: int = Field(description="queries whose right passage is not at the top; `rows` holds the worst of them")
    rows: list[RankedExample]


Block = Annotated[
    ConfusionBlock | PerClassBlock | CalibrationBlock | ExamplesBlock | AnswersBlock | MeansBlock | RankedBlock,
    Field(discriminator="kind"),
]


class EvalReport(_Frozen):
    """What one evaluation found."""

    schema_version: Literal[1] = 1
    task: str
    split: str
    rows: int
    weights_sha256: str
    headline: str = Field(description="name of the metric that stands for the others")
    confidence: float = Field(description="of every interval")
    metrics: dict[str, MetricValue]
    baselines: list[Baseline]
    slices: list[SliceRow]
    blocks: list[Block]

    def write(self, path: Path) -> None:
        """Write the report as indented JSON, atomically."""
        write_bytes_atomic(path, f"{self.model_dump_json(indent=2)}\n".encode())

    @classmethod
    def read(cls, path: Path) -> EvalReport:
        """Return the report in a file.

        Raises:
            ArtifactError: the file is absent or not an evaluation of this schema version.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            raise ArtifactError("there is no evaluation here. Run `luthier run` first.", where=str(path)) from None
        except ValidationError as error:
            raise ArtifactError(f"is not an evaluation of schema version 1: {error}", where=str(path)) from None
