"""The evaluation of a language model: how likely it holds the true completions, and the answers that it writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from luthier.artifacts.evaluation import Baseline, EvalReport, MetricValue
from luthier.evaluation.answers import block, custom, measured, write
from luthier.evaluation.evidence import Evidence
from luthier.evaluation.slices import slices
from luthier.metrics.generation import CompletionScores
from luthier.metrics.intervals import paired_bootstrap
from luthier.metrics.registry import METRICS
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
        return EvalReport(
            task=evidence.task,
            split=evidence.test.name,
            rows=scores.rows,
            weights_sha256=evidence.weights_sha256,
            headline=evidence.headline,
            confidence=evidence.confidence,
            metrics={
                **measured(scores, "completions", evidence),
                **measured(written.scores, "answers", evidence),
                **custom(written.texts, evidence),
            },
            baselines=[self._untuned(name, scores, evidence) for name in evidence.baselines],
            slices=list(slices(scores, [], evidence)),
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
        lead = paired_bootstrap(
            simple,
            scores,
            METRICS[evidence.headline],
            resamples=evidence.resamples,
            confidence=evidence.confidence,
            seed=evidence.seed,
        )
        return Baseline(
            name=name,
            metrics=measured(simple, "completions", evidence),
            lead=MetricValue(value=lead.difference, interval=lead.interval),
        )


def completion_scores(outputs: Mapping[str, NDArray[Any]]) -> CompletionScores:
    """Return the scores in a scorer's outputs."""
    nll, tokens, correct = (np.asarray(outputs[name], np.float64) for name in COUNTED)
    return CompletionScores(nll, tokens, correct)


def completions_of(outputs: Mapping[str, NDArray[Any]], metrics: Sequence[str]) -> dict[str, float]:
    """Return metrics of true completions, in the order asked; others, and undefined ones, are left out."""
    scores = completion_scores(outputs)
    wanted = [METRICS[name] for name in metrics if METRICS[name].about == "completions"]
    found = {metric.name: metric.function(scores) for metric in wanted}
    return {name: value for name, value in found.items() if value is not None}
