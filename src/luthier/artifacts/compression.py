"""`compress/compression.json`: what a search for a smaller and faster model measured, and what came of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from luthier.artifacts.files import write_bytes_atomic
from luthier.errors import ArtifactError


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LossValues(_Frozen):
    """What a point's answers lost, see `compression.search.contract.Loss`."""

    rows: int
    drop: float
    bound: float | None
    confidence: float
    flips: float | None
    divergence: float
    calibration_drift: float | None
    slice_drop: float | None
    worst_slice: str | None


class PointRow(_Frozen):
    """A point of the search: on validation rows and on the processor that it was made on."""

    name: str
    runtime: str
    precision: str
    bytes: int
    rows_per_second: float
    ratio: float = Field(description="rows per second over those of the model as it is, measured in turns")
    p50_ms: float
    p95_ms: float
    loss: LossValues
    on_front: bool = Field(description="whether no other point beats it")
    misses: list[str] = Field(description="what of the contract it does not keep")


class CompressionReport(_Frozen):
    """What one search found."""

    schema_version: Literal[1] = 1
    contract: dict[str, Any]
    headline: str
    points: list[PointRow]
    left_out: dict[str, str]
    complete: bool = Field(description="whether everything was tried; false where the time was up")
    seconds: float
    chosen: str | None = Field(description="the point that keeps the contract on validation rows")
    nearest: str | None = Field(description="the point that misses it by least, where none keeps it")
    test: LossValues | None = Field(description="of the chosen point, on the test rows, read once")
    kept: bool = Field(description="whether the contract is kept, on the test rows too")
    misses: list[str] = Field(description="what is not kept, of the chosen point on test or of the nearest one")
    rows_needed: int | None = Field(description="rows until the bound would keep max_drop, if the mean stays")
    processor: dict[str, str]

    def write(self, path: Path) -> None:
        """Write the report as indented JSON, atomically."""
        write_bytes_atomic(path, f"{self.model_dump_json(indent=2)}\n".encode())

    @classmethod
    def read(cls, path: Path) -> CompressionReport:
        """Return the report in a file.

        Raises:
            ArtifactError: the file is absent or not a report of this schema version.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            raise ArtifactError(
                "nothing was compressed here.", where=str(path), fix="Run `luthier compress`."
            ) from None
        except ValidationError as error:
            raise ArtifactError(f"is not a compression report of version 1: {error}", where=str(path)) from None
