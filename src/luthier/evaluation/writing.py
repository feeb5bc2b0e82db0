"""The evaluation of translations and summaries: first of all by what the model writes for the test rows."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from luthier.artifacts.evaluation import Baseline, EvalReport
from luthier.evaluation.answers import Written, block, custom, part, write
from luthier.evaluation.evidence import Evidence
from luthier.evaluation.generation import COUNTED, completion_scores, completions_of
from luthier.evaluation.measuring import beside, measured, report_of
from luthier.evaluation.slices import slices
from luthier.metrics.generation import score_answers
from luthier.metrics.registry import metrics_about
from luthier.metrics.scores import RowScores
from luthier.tasks.base import Prediction, Scored, Truth

SENTENCE = re.compile(r".+?(?:[.!?](?=\s|$)|[。！？]|$)", re.DOTALL)


def first_sentence(text: str) -> str:
    """Return a text's first sentence; the whole where none ends."""
    found = SENTENCE.match(text.strip())
    return found[0].strip() if found else ""


SIMPLE: dict[str, Callable[[str], str]] = {"copy": lambda text: text, "lead": first_sentence}
"""Answers that need no model, made from the input text."""


class WritingEvaluation:
    """Judges written answers, and `nll`, `tokens` and `correct` (N,) of the true ones. A kind says its baselines."""

    loss: ClassVar[str] = "token_loss"
    baselines: ClassVar[tuple[str, ...]]

    def __init__(self) -> None:
        self._written: tuple[Evidence, Written] | None = None

    def validate(
        self, scored: Scored, truth: Truth, predictions: Callable[[], Sequence[Prediction]], metrics: Sequence[str]
    ) -> dict[str, float]:
        """Return metrics of validation rows, in the order asked; those of written answers are left out."""
        return completions_of(scored.outputs, metrics)

    def report(self, evidence: Evidence) -> EvalReport:
        """Return the whole evaluation on the test split; its rows are those that were answered."""
        written = self._of(evidence)
        answered = replace(evidence, test=part(evidence.test, written.positions))
        true = completion_scores(evidence.test.outputs)
        return report_of(
            evidence,
            written.scores.rows,
            metrics={
                **measured(written.scores, metrics_about("answers"), evidence),
                **measured(true, metrics_about("completions"), evidence),
                **custom(written.texts, evidence),
            },
            baselines=[_baseline(name, written, evidence) for name in evidence.baselines],
            slices=slices(written.scores, [], answered),
            blocks=[block(written, evidence)],
        )

    def predictions(self, evidence: Evidence) -> dict[str, Any]:
        """Return each test row's true and written text, the latter null where it was not asked for."""
        written = self._of(evidence)
        total = len(evidence.test.target)
        texts: list[str | None] = [None] * total
        ended: list[bool | None] = [None] * total
        for position, answer in zip(written.positions.tolist(), written.answers, strict=True):
            texts[position], ended[position] = answer["completion"], answer["finish"] == "end"
        own = {name: np.asarray(evidence.test.outputs[name]) for name in COUNTED}
        return {**own, "answer": texts, "ended": ended, "truth": list(evidence.test.truth.cells)}

    def scores(self, columns: Mapping[str, NDArray[Any]]) -> RowScores:
        """Return the scores of the answered rows among those that `predictions` wrote."""
        asked = [i for i, answer in enumerate(columns["answer"].tolist()) if answer is not None]
        answer, truth, ended = (columns[name][asked].tolist() for name in ("answer", "truth", "ended"))
        return score_answers(answer, truth, ended)

    def _of(self, evidence: Evidence) -> Written:
        """Return the answers, written once."""
        if self._written is None or self._written[0] is not evidence:
            self._written = evidence, write(evidence)
        return self._written[1]


class TranslationEvaluation(WritingEvaluation):
    """Beside what copying the source would be worth."""

    baselines: ClassVar[tuple[str, ...]] = ("copy",)


class SummaryEvaluation(WritingEvaluation):
    """Beside what the first sentence would be worth."""

    baselines: ClassVar[tuple[str, ...]] = ("lead",)


def _baseline(name: str, written: Written, evidence: Evidence) -> Baseline:
    """Return a simple answer to the same rows."""
    texts = [str(cell) for cell in evidence.test.cells(evidence.inputs[0], written.positions)]
    simple = score_answers([SIMPLE[name](text) for text in texts], written.truth, [True] * len(texts))
    metrics = [metric for metric in metrics_about("answers") if metric.name != "ended"]  # it writes nothing
    return beside(name, simple, written.scores, metrics, evidence)
