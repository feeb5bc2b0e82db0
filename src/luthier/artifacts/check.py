"""`check.json`: what the data check and the step check found, and the statistics behind it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from luthier.artifacts.files import write_bytes_atomic
from luthier.errors import ArtifactError

Severity = Literal["error", "warning", "note"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Finding(_Frozen):
    """One thing worth knowing before training."""

    severity: Severity
    code: str = Field(description="stable name, such as `leak`; check.ignore takes it")
    place: str = Field(description="the split, column or row it is about")
    message: str = Field(description="one sentence with the number in it")
    fix: str = Field(default="", description="what to do; empty where nothing needs doing")
    count: int = Field(default=0, description="rows concerned")
    examples: list[str] = Field(default=[], description="places of the first few")


class SplitStatistics(_Frozen):
    """What one split looks like."""

    rows: int
    labels: dict[str, int]
    tokens: int = Field(description="after the limit")
    length_quantiles: dict[str, int] = Field(description="tokens before the limit at 0.5, 0.9, 0.95, 0.99, 1")
    cut_rows: int = Field(description="rows longer than the limit")
    unknown_share: float = Field(description="unknown tokens over all tokens")
    scripts: dict[str, float] = Field(description="share of letters by writing system")
    length_histogram: list[tuple[int, int, int]] = Field(description="(from, to, rows) in tokens before the limit")


class StepEstimate(_Frozen):
    """What a few real steps cost."""

    trainable_parameters: int
    parameters: int
    steps_measured: int
    rows_per_second: float
    seconds_per_epoch: float
    peak_memory_mib: float = Field(description="of the whole process")
    choices: dict[str, str] = Field(description="what `auto` picked, with the reason")


class CheckReport(_Frozen):
    """What the check found."""

    schema_version: Literal[1] = 1
    findings: list[Finding]
    splits: dict[str, SplitStatistics]
    max_length: int
    padding_share: float | None = Field(default=None, description="of the tokens of the first epoch's batches")
    step: StepEstimate | None = None

    def write(self, path: Path) -> None:
        """Write the report as indented JSON, atomically."""
        write_bytes_atomic(path, f"{self.model_dump_json(indent=2)}\n".encode())

    @classmethod
    def read(cls, path: Path) -> CheckReport:
        """Return the report in a file.

        Raises:
            ArtifactError: it is not a check report of this schema version.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            raise ArtifactError(f"is not a check report of schema version 1: {error}", where=str(path)) from None

    def stopping(self, stop_on: str, ignore: tuple[str, ...] = ()) -> list[Finding]:
        """Return the findings that stop a run under `check.stop_on`."""
        severities: dict[str, set[Any]] = {"never": set(), "error": {"error"}, "warning": {"error", "warning"}}
        return [one for one in self.findings if one.severity in severities[stop_on] and one.code not in ignore]
