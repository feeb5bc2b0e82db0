"""What can go wrong, in words a user can act on.

Every error that a user may cause is a `LuthierError`: it says what is wrong, where, and what to do. The command line
prints it without a traceback and leaves with its exit code. Anything else that escapes is a bug of ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


class LuthierError(Exception):
    """The user's input, or what lies on disk, does not allow the command to go on.

    Args:
        what: one sentence: `<path> must be <constraint>; got <value>`.
        where: the file and line, row, or key it is about.
        fix: what to do about it.
    """

    exit_code = 2

    def __init__(self, what: str, *, where: str | None = None, fix: str | None = None) -> None:
        self.what = what
        self.where = where
        self.fix = fix
        super().__init__(str(self))

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text} {self.fix}" if self.fix else text


@dataclass(frozen=True)
class Problem:
    """One thing wrong in a project file.

    Attributes:
        where: `file:line`, or the name of the override it came from.
        path: the dotted key, such as `train.learning_rate`.
        message: what was got, what is allowed, and the nearest match.
    """

    where: str
    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.where} {self.path}: {self.message}" if self.path else f"{self.where}: {self.message}"


class ProjectError(LuthierError):
    """The project file is wrong; every problem of it is listed at once."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        assert problems, "a ProjectError needs at least one problem"
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class DataError(LuthierError):
    """A data file cannot be read as the project says, or cannot be learnt from."""


class SampleError(LuthierError):
    """A sample cannot be fetched, or is not what its pin says."""


class ModelError(LuthierError):
    """A model folder cannot be loaded, or cannot do what is asked of it."""


class ArtifactError(LuthierError):
    """A run, checkpoint or bundle on disk is damaged, or belongs to something else."""


class TrainingError(LuthierError):
    """Training cannot go on: the loss or a gradient is not finite, or nothing is left to train."""


class NonFiniteError(TrainingError):
    """A step's loss or gradient is not finite.

    Args:
        what: as in `LuthierError`.
        where: the first rows of the step.
        fix: what to do about it.
        batch: the step for inspection: JSON-like, with `rows`, the row numbers in the training source.
    """

    def __init__(
        self, what: str, *, where: str | None = None, fix: str | None = None, batch: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(what, where=where, fix=fix)
        self.batch = dict(batch or {})


class ContractError(LuthierError):
    """Everything ran, but a number the user asked for was not met."""

    exit_code = 3


class StoppedError(LuthierError):
    """A run was asked to stop; it left a checkpoint behind."""

    exit_code = 130
