"""The answers that a model writes to a sample of the test rows, their scores, and how the report shows them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from luthier.artifacts.evaluation import Answer, AnswersBlock, MetricValue
from luthier.errors import DataError
from luthier.evaluation.evidence import Evidence, SplitEvidence
from luthier.evaluation.measuring import measured
from luthier.metrics.generation import AnswerScores, score_answers
from luthier.metrics.registry import Metric
from luthier.metrics.scores import IntArray

TextMetric = Callable[[Sequence[str], Sequence[str]], float]


@dataclass(frozen=True, eq=False)
class Texts:
    """Answers beside the true ones: what a user's own metric is given.

    Attributes:
        answers: (N,) texts.
        truth: (N,) texts.
    """

    answers: NDArray[np.object_]
    truth: NDArray[np.object_]

    @property
    def rows(self) -> int:
        """The number of rows, N."""
        return len(self.answers)

    @property
    def target(self) -> IntArray:
        """(N,) zeros: rows are the same by their order."""
        return np.zeros(self.rows, np.int64)

    def take(self, rows: npt.ArrayLike) -> Texts:
        """Return some rows, by index or by mask, in that order."""
        chosen = np.asarray(rows)
        return Texts(self.answers[chosen], self.truth[chosen])


@dataclass(frozen=True)
class Written:
    """What a model wrote.

    Attributes:
        positions: (A,) of the answered rows in the split, spread evenly.
        answers: as `Completion.as_dict`.
        truth: the true texts.
        scores: of the answers.
    """

    positions: IntArray
    answers: Sequence[Mapping[str, Any]]
    truth: Sequence[str]
    scores: AnswerScores

    @property
    def texts(self) -> Texts:
        """The answers' texts beside the true ones."""
        found = [np.asarray(texts, dtype=object) for texts in ([one["completion"] for one in self.answers], self.truth)]
        return Texts(*found)


def write(evidence: Evidence) -> Written:
    """Return the model's answers to a sample of the test rows."""
    total = len(evidence.test.target)
    number = min(total, evidence.answers)
    positions = np.unique(np.linspace(0, total - 1, number).round().astype(np.int64)) if number else np.empty(0, int)
    answers = evidence.test.answer(positions)
    truth = [str(cell) for cell in evidence.test.cells(evidence.target, positions)]
    ended = [one["finish"] == "end" for one in answers]
    return Written(positions, answers, truth, score_answers([one["completion"] for one in answers], truth, ended))


def custom(texts: Texts, evidence: Evidence) -> dict[str, MetricValue]:
    """Return the user's own metrics, with their intervals.

    Raises:
        DataError: one fails, or returns no number.
    """
    return measured(texts, [_metric(name, function) for name, function in evidence.custom.items()], evidence)


def _metric(name: str, function: TextMetric) -> Metric:
    def value(texts: Texts) -> float | None:
        if not texts.rows:
            return None
        try:
            found: Any = function(texts.answers.tolist(), texts.truth.tolist())
            return float(found)
        except Exception as error:  # whatever a stranger's function raises
            raise DataError(
                f"evaluate.metrics {name} failed: {type(error).__name__}: {error}.",
                fix="It takes the answers and the true texts, two lists of text, and returns a number.",
            ) from error

    return Metric(name, value, True, name, name, about="texts")


def part(split: SplitEvidence, positions: IntArray) -> SplitEvidence:
    """Return a split's evidence of some of its rows alone, for slices."""

    def cells(column: str, chosen: NDArray[np.int64] | None) -> list[Any]:
        return split.cells(column, positions if chosen is None else positions[chosen])

    return replace(split, tokens=split.tokens[positions], cells=cells)


def block(written: Written, evidence: Evidence) -> AnswersBlock:
    """Return the first answers with what they should have been."""
    split = evidence.test
    shown = range(min(len(written.answers), evidence.mistakes))
    inputs = {name: split.cells(name, written.positions[: len(shown)]) for name in evidence.inputs}
    rows = [
        Answer(
            place=split.place(int(written.positions[i])),
            inputs={name: str(cells[i]) for name, cells in inputs.items()},
            target=written.truth[i],
            answer=written.answers[i]["completion"],
            ended=bool(written.scores.ended[i]),
            rouge_l=float(written.scores.rouge[i, 2]),
        )
        for i in shown
    ]
    return AnswersBlock(split=split.name, asked=len(written.answers), total=len(split.target), rows=rows)
