"""The evaluation of a language model: how likely it holds the true completions, and the answers that it writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from luthier.artifacts.evaluation import Answer, AnswersBlock, Baseline, EvalReport, MetricValue
from luthier.evaluation.evidence import Evidence, SplitEvidence
from luthier.evaluation.slices import slices
from luthier.metrics.generation import AnswerScores, CompletionScores, score_answers
from luthier.metrics.intervals import bootstrap, paired_bootstrap
from luthier.metrics.registry import METRICS, metrics_about
from luthier.metrics.scores import RowScores
from luthier.tasks.base import Prediction, Scored, Truth

IntArray = NDArray[np.int64]


class GenerationEvaluation:
    """Judges `nll`, `tokens` and `correct` (N,) of true completions, and a sample of generated answers."""

    loss: ClassVar[str] = "token_loss"
    baselines: ClassVar[tuple[str, ...]] = ("untuned",)

    def validate(
        self, scored: Scored, truth: Truth, predictions: Callable[[], Sequence[Prediction]], metrics: Sequence[str]
    ) -> dict[str, float]:
        """Return metrics of validation rows, in the order asked; those of generated answers are left out."""
        scores = completion_scores(scored.outputs)
        wanted = [METRICS[name] for name in metrics if METRICS[name].about == "completions"]
        found = {metric.name: metric.function(scores) for metric in wanted}
        return {name: value for name, value in found.items() if value is not None}

    def report(self, evidence: Evidence) -> EvalReport:
        """Return the whole evaluation on the test split."""
        scores = completion_scores(evidence.test.outputs)
        positions, answers = _answers(evidence)
        truth = [str(cell) for cell in evidence.test.cells(evidence.target, positions)]
        written = score_answers([one["completion"] for one in answers], truth, [o["finish"] == "end" for o in answers])
        return EvalReport(
            task=evidence.task,
            split=evidence.test.name,
            rows=scores.rows,
            weights_sha256=evidence.weights_sha256,
            headline=evidence.headline,
            confidence=evidence.confidence,
            metrics={**_measured(scores, "completions", evidence), **_measured(written, "answers", evidence)},
            baselines=[self._untuned(name, scores, evidence) for name in evidence.baselines],
            slices=list(slices(scores, [], evidence)),
            blocks=[_block(positions, answers, truth, written, evidence)],
        )

    def predictions(self, evidence: Evidence) -> dict[str, Any]:
        """Return what the model made of each test row's true completion."""
        return {name: np.asarray(evidence.test.outputs[name]) for name in ("nll", "tokens", "correct")}

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
            metrics=_measured(simple, "completions", evidence),
            lead=MetricValue(value=lead.difference, interval=lead.interval),
        )


def completion_scores(outputs: Mapping[str, NDArray[Any]]) -> CompletionScores:
    """Return the scores in a scorer's outputs."""
    nll, tokens, correct = (np.asarray(outputs[name], np.float64) for name in ("nll", "tokens", "correct"))
    return CompletionScores(nll, tokens, correct)


def _measured(scores: RowScores, about: str, evidence: Evidence) -> dict[str, MetricValue]:
    metrics = metrics_about(about)
    intervals = bootstrap(
        scores, metrics, resamples=evidence.resamples, confidence=evidence.confidence, seed=evidence.seed
    )
    return {m.name: MetricValue(value=m.function(scores), interval=intervals[m.name]) for m in metrics}


def _answers(evidence: Evidence) -> tuple[IntArray, list[dict[str, Any]]]:
    """Return the positions of test rows that are answered, spread evenly, and the answers."""
    total = len(evidence.test.target)
    number = min(total, evidence.answers)
    positions = np.unique(np.linspace(0, total - 1, number).round().astype(np.int64)) if number else np.empty(0, int)
    return positions, evidence.test.answer(positions)


def _block(
    positions: IntArray,
    answers: Sequence[Mapping[str, Any]],
    truth: Sequence[str],
    written: AnswerScores,
    evidence: Evidence,
) -> AnswersBlock:
    """Return the first answers with what they should have been."""
    split: SplitEvidence = evidence.test
    shown = range(min(len(answers), evidence.mistakes))
    inputs = {name: split.cells(name, positions[: len(shown)]) for name in evidence.inputs}
    rows = [
        Answer(
            place=split.place(int(positions[i])),
            inputs={name: str(cells[i]) for name, cells in inputs.items()},
            target=truth[i],
            answer=answers[i]["completion"],
            ended=bool(written.ended[i]),
            rouge_l=float(written.rouge[i]),
        )
        for i in shown
    ]
    return AnswersBlock(split=split.name, asked=len(answers), total=len(split.target), rows=rows)
