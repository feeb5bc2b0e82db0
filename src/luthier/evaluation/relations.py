"""The evaluation of relations: that of a classifier, with F1 that leaves out the class that says that there is none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from luthier.artifacts.evaluation import Baseline, EvalReport
from luthier.evaluation.classification import ClassificationEvaluation
from luthier.evaluation.evidence import Evidence, SplitEvidence
from luthier.evaluation.measuring import beside, measured, report_of
from luthier.evaluation.slices import slices
from luthier.metrics.matches import MatchScores
from luthier.metrics.registry import METRICS, metrics_about
from luthier.tasks.base import Prediction, Scored, Truth

IntArray = NDArray[np.int64]
OF_LABELS = ("accuracy", "log_loss", "ece")  # metrics over all labels that are reported as well


class RelationEvaluation:
    """Judges `logits` (N, C) against class numbers, the none class left out of precision, recall and F1."""

    loss: ClassVar[str] = "log_loss"
    baselines: ClassVar[tuple[str, ...]] = ("types",)

    def __init__(self) -> None:
        self._labels = ClassificationEvaluation()

    def validate(
        self, scored: Scored, truth: Truth, predictions: Callable[[], Sequence[Prediction]], metrics: Sequence[str]
    ) -> dict[str, float]:
        """Return metrics of validation rows, in the order asked; an undefined one is left out."""
        of_labels = self._labels.validate(scored, truth, predictions, metrics)
        answers: Sequence[Any] = predictions()
        labels = list(answers[0].scores)
        none = None if answers[0].none is None else labels.index(answers[0].none)
        predicted = np.asarray([labels.index(one.label) for one in answers], np.int64)
        scores = matched(truth.number, predicted, len(labels), none)
        found = {
            name: METRICS[name].function(scores) if METRICS[name].about == "relations" else of_labels.get(name)
            for name in metrics
        }
        return {name: value for name, value in found.items() if value is not None}

    def report(self, evidence: Evidence) -> EvalReport:
        """Return the whole evaluation on the test split, after calibration."""
        of_labels = self._labels.test_scores(evidence)
        scores = matched(of_labels.target, of_labels.predicted, len(evidence.labels), evidence.targets["none"])
        plain = [METRICS[name] for name in OF_LABELS]
        return report_of(
            evidence,
            scores.rows,
            metrics={**measured(scores, metrics_about("relations"), evidence), **measured(of_labels, plain, evidence)},
            baselines=[_of_types(name, scores, evidence) for name in evidence.baselines],
            slices=slices(scores, [("types", [" \u2192 ".join(pair) for pair in _types(evidence.test)])], evidence),
            blocks=self._labels.blocks(of_labels, evidence),
        )

    def predictions(self, evidence: Evidence) -> dict[str, Any]:
        """Return target and predicted labels, every probability, and the none class of each test row."""
        none = evidence.targets["none"]
        name = "" if none is None else evidence.labels[none]
        found = self._labels.predictions(evidence)
        return {**found, "none": [name] * len(found["target"])}

    def scores(self, columns: Mapping[str, NDArray[Any]]) -> MatchScores:
        """Return the scores of rows that `predictions` wrote."""
        number = {name.removeprefix("score."): i for i, name in enumerate(n for n in columns if n.startswith("score."))}
        target, predicted = (np.asarray([number[one] for one in columns[name]]) for name in ("target", "predicted"))
        return matched(target, predicted, len(number), number.get(str(columns["none"][0])))


def matched(target: IntArray, predicted: IntArray, classes: int, none: int | None) -> MatchScores:
    """Return the counts of each row by relation.

    Args:
        target: (N,) true classes.
        predicted: (N,) answered classes.
        classes: their number, C.
        none: the class that counts nowhere.
    """
    relations = np.asarray([one for one in range(classes) if one != none])
    there = (target[:, None] == relations).astype(np.float64)
    answered = (predicted[:, None] == relations).astype(np.float64)
    return MatchScores(there * answered, answered, there, target.astype(np.int64))


def _types(split: SplitEvidence) -> list[tuple[str, str]]:
    """Return the labels of head and tail of each row."""
    return [(str(cells["head"]["label"]), str(cells["tail"]["label"])) for cells in split.scored.inputs]


def _of_types(name: str, scores: MatchScores, evidence: Evidence) -> Baseline:
    """Return the most frequent class of each pair of types in training; of unseen pairs that of all rows."""
    assert name == "types", f"{name} is no baseline of relations"
    counts: dict[tuple[str, str], Counter[int]] = {}
    for pair, number in zip(_types(evidence.train), evidence.train.target.tolist(), strict=True):
        counts.setdefault(pair, Counter())[number] += 1
    usual = _most(Counter(evidence.train.target.tolist()))
    predicted = np.asarray([_most(counts[pair]) if pair in counts else usual for pair in _types(evidence.test)])
    simple = matched(evidence.test.target, predicted, len(evidence.labels), evidence.targets["none"])
    return beside(name, simple, scores, metrics_about("relations"), evidence)


def _most(counts: Counter[int]) -> int:
    return min(counts, key=lambda one: (-counts[one], one))
