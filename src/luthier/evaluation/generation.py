"""The evaluation of a language model: how likely it holds the true completions, and the answers that it writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from luthier.artifacts.evaluation import Baseline, EvalReport
from luthier.evaluation.answers import block, custom, write
from luthier.evaluation.evidence import Evidence
from luthier.evaluation.measuring import beside, measured, report_of, validated
from luthier.evaluation.slices import slices
from luthier.metrics.generation import CompletionScores
from luthier.metrics.registry import metrics_about
from luthier.metrics.scores import RowScores
from luthier.tasks.base import Prediction, Scored, Truth

COUNTED = ("nll", "tokens", "correct")
"""What a scorer says of a row's true text."""


class GenerationEvaluation:
    """Judges `nll`, `tokens` and `correct` (N,) of true completions, and a sample of generated answers."""

    loss: ClassVar[str] = "token_loss"
    baselines: ClassVar[tuple[str, ...]] = ("untuned",)

    def validate(
        self, scored: Scored, truth: Truth, predictions: Callable[[], Sequence[Prediction]], metrics: Sequence[str]
    ) -> dict[str, float]:
        """Return metrics of validation rows, in the order asked; those of generated answers are left out."""
        return completions_of(scored.outputs, metrics)

    def report(self, evidence: Evidence) -> EvalReport:
        """Return the whole evaluation on the test split."""
        scores = completion_scores(evidence.test.outputs)
        written = write(evidence)
        return report_of(
            evidence,
            scores.rows,
            metrics={
                **measured(scores, metrics_about("completions"), evidence),
                **measured(written.scores, metrics_about("answers"), evidence),
                **custom(written.texts, evidence),
            },
            baselines=[self._untuned(name, scores, evidence) for name in evidence.baselines],
            slices=slices(scores, [], evidence),
            blocks=[block(written, evidence)],
        )

    def predictions(self, evidence: Evidence) -> dict[str, Any]:
        """Return what the model made of each test row's true completion."""
        return {name: np.asarray(evidence.test.outputs[name]) for name in COUNTED}

    def scores(self, columns: Mapping[str, NDArray[Any]]) -> RowScores:
        """Return the scores of rows that `predictions` wrote."""
        return completion_scores(columns)

    def _untuned(self, name: str, scores: CompletionScores, evidence: Evidence) -> Baseline:
        """Return the pretrained model, asked the same rows with the same template."""
        assert name == "untuned", f"{name} is no baseline of generated text"
        simple = completion_scores(evidence.untuned())
        return beside(name, simple, scores, metrics_about("completions"), evidence)


def completion_scores(outputs: Mapping[str, NDArray[Any]]) -> CompletionScores:
    """Return the scores in a scorer's outputs."""
    nll, tokens, correct = (np.asarray(outputs[name], np.float64) for name in COUNTED)
    return CompletionScores(nll, tokens, correct)


def completions_of(outputs: Mapping[str, NDArray[Any]], metrics: Sequence[str]) -> dict[str, float]:
    """Return metrics of true completions, in the order asked; others, and undefined ones, are left out."""
    return validated(completion_scores(outputs), "completions", metrics)
