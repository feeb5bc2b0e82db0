"""The evaluation of a classifier."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from luthier.artifacts.evaluation import (
    Baseline,
    Block,
    CalibrationBlock,
    ConfusionBlock,
    EvalReport,
    Example,
    ExamplesBlock,
    PerClassBlock,
    PerClassRow,
    ReliabilityBin,
)
from luthier.evaluation.baselines import BASELINES
from luthier.evaluation.evidence import Evidence, SplitEvidence, texts_of
from luthier.evaluation.measuring import beside, measured, report_of, validated
from luthier.evaluation.slices import slices
from luthier.metrics.calibration import expected_calibration_error, reliability, softmax
from luthier.metrics.classification import confusion, per_class
from luthier.metrics.label_issues import find_label_issues
from luthier.metrics.registry import metrics_about
from luthier.metrics.scores import Scores
from luthier.tasks.base import Prediction, Scored, Truth

IntArray = NDArray[np.int64]


class ClassificationEvaluation:
    """Judges `logits` (N, C) against class numbers."""

    loss: ClassVar[str] = "log_loss"
    baselines: ClassVar[tuple[str, ...]] = tuple(BASELINES)

    def validate(
        self, scored: Scored, truth: Truth, predictions: Callable[[], Sequence[Prediction]], metrics: Sequence[str]
    ) -> dict[str, float]:
        """Return metrics of validation rows, in the order asked; an undefined one is left out."""
        scores = Scores(truth.number, softmax(scored.outputs["logits"]))
        return validated(scores, "labels", metrics)

    def report(self, evidence: Evidence) -> EvalReport:
        """Return the whole evaluation on the test split, after calibration."""
        scores = self.test_scores(evidence)
        return report_of(
            evidence,
            scores.rows,
            metrics=measured(scores, metrics_about("labels"), evidence),
            baselines=[_baseline(name, scores, evidence) for name in evidence.baselines],
            slices=slices(scores, [("label", [evidence.labels[t] for t in scores.target])], evidence),
            blocks=self.blocks(scores, evidence),
        )

    def predictions(self, evidence: Evidence) -> dict[str, Any]:
        """Return target and predicted labels and every probability per test row."""
        scores = self.test_scores(evidence)
        labels = np.asarray(evidence.labels, dtype=object)
        columns: dict[str, Any] = {
            "target": labels[scores.target].tolist(),
            "predicted": labels[scores.predicted].tolist(),
        }
        return columns | {f"score.{label}": scores.probability[:, i] for i, label in enumerate(evidence.labels)}

    def scores(self, columns: Mapping[str, NDArray[Any]]) -> Scores:
        """Return the scores of rows that `predictions` wrote."""
        labels = [name for name in columns if name.startswith("score.")]
        numbers = {label.removeprefix("score."): i for i, label in enumerate(labels)}
        target = np.asarray([numbers[label] for label in columns["target"]])
        return Scores(target, np.stack([columns[label] for label in labels], axis=1))

    def test_scores(self, evidence: Evidence) -> Scores:
        """Return the scores of the test rows, after calibration."""
        return self._scores(evidence, evidence.test)

    def _scores(self, evidence: Evidence, split: SplitEvidence) -> Scores:
        logits = split.outputs["logits"]
        return Scores(split.target, softmax(logits, evidence.calibration.get("temperature", 1.0)), logits)

    def blocks(self, scores: Scores, evidence: Evidence) -> list[Block]:
        """Return what the report draws beside metrics and slices."""
        labels = list(evidence.labels)
        counts = confusion(scores.target, scores.predicted, scores.classes).tolist()
        quality = [
            PerClassRow(label=label, precision=q.precision, recall=q.recall, f1=q.f1, support=q.support)
            for label, q in zip(labels, per_class(scores), strict=True)
        ]
        return [
            ConfusionBlock(labels=labels, counts=counts),
            PerClassBlock(rows=quality),
            _calibration(scores, evidence),
            _mistakes(scores, evidence),
            self._label_issues(evidence),
        ]

    def _label_issues(self, evidence: Evidence) -> ExamplesBlock:
        """Return suspected label errors on the two splits that training did not see."""
        found: list[tuple[float, Example]] = []
        for split in (evidence.validation, evidence.test):
            scores = self._scores(evidence, split)
            for position in find_label_issues(scores.probability, scores.target):
                own = float(scores.probability[position, scores.target[position]])
                found.append((own, _example(int(position), scores, split, evidence)))
        found.sort(key=lambda pair: pair[0])
        rows = [example for _, example in found[: evidence.mistakes]]
        return ExamplesBlock(name="label_issues", split="validation and test", total=len(found), rows=rows)


def _baseline(name: str, scores: Scores, evidence: Evidence) -> Baseline:
    train_texts, test_texts = (texts_of(split, evidence) for split in (evidence.train, evidence.test))
    probability = BASELINES[name](train_texts, evidence.train.target, test_texts, len(evidence.labels))
    simple = Scores(evidence.test.target, probability)
    return beside(name, simple, scores, metrics_about("labels"), evidence)


def _calibration(scores: Scores, evidence: Evidence) -> CalibrationBlock:
    plain = softmax(evidence.test.outputs["logits"])
    return CalibrationBlock(
        temperature=evidence.calibration.get("temperature", 1.0),
        error_before=expected_calibration_error(plain, scores.target, evidence.bins) or 0.0,
        error_after=expected_calibration_error(scores.probability, scores.target, evidence.bins) or 0.0,
        before=_bins(plain, scores.target, evidence.bins),
        after=_bins(scores.probability, scores.target, evidence.bins),
    )


def _bins(probability: NDArray[np.float64], target: IntArray, bins: int) -> list[ReliabilityBin]:
    return [
        ReliabilityBin(lower=b.lower, upper=b.upper, confidence=b.confidence, accuracy=b.accuracy, count=b.count)
        for b in reliability(probability, target, bins)
    ]


def _mistakes(scores: Scores, evidence: Evidence) -> ExamplesBlock:
    """Return the most confident mistakes."""
    wrong = np.flatnonzero(~scores.correct)
    order = wrong[np.argsort(-scores.confidence[wrong], kind="stable")]
    rows = [_example(int(i), scores, evidence.test, evidence) for i in order[: evidence.mistakes]]
    return ExamplesBlock(name="mistakes", split=evidence.test.name, total=len(wrong), rows=rows)


def _example(position: int, scores: Scores, split: SplitEvidence, evidence: Evidence) -> Example:
    chosen = np.asarray([position])
    return Example(
        place=split.place(position),
        inputs={name: str(split.cells(name, chosen)[0]) for name in evidence.inputs},
        target=evidence.labels[scores.target[position]],
        predicted=evidence.labels[scores.predicted[position]],
        probability=float(scores.confidence[position]),
    )
