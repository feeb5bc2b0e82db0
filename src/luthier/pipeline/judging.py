"""What a compressed model's answers lost beside those of the model that it was made of, on the rows of a split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier.artifacts.evaluation import EvalReport
from luthier.artifacts.files import sha256_file
from luthier.compression.search.contract import Loss
from luthier.evaluation.evidence import Evidence
from luthier.evaluation.kinds import EVALUATIONS
from luthier.inference.predictor import Predictor
from luthier.metrics.intervals import paired_bootstrap
from luthier.metrics.registry import METRICS
from luthier.metrics.scores import RowScores, Scores
from luthier.pipeline.evaluating import baselines, gathered, scored
from luthier.pipeline.prepared import Prepared
from luthier.tasks.base import Scored

FEWER_RESAMPLES = 100
LEAST_SLICE_ROWS = 30
ANSWERED = 16
"""Rows whose written answers are compared."""
INSTEAD = {"perplexity": "token_loss"}
"""What is judged where a hundredth of the headline is no measure: of perplexity its logarithm, so a point is 1 %."""
POINTS = 100


@dataclass(frozen=True)
class _Answers:
    """What a predictor answered to the rows of a split."""

    scores: RowScores
    answers: list[dict[str, Any]]
    slices: dict[str, float | None]


class Judge:
    """Compares a predictor's answers with those of the model that it was made of.

    Args:
        prepared: the inputs.
        reference: that model.
        confidence: of the bound.
    """

    def __init__(self, prepared: Prepared, reference: Predictor, confidence: float) -> None:
        self.prepared = prepared
        self.reference = reference
        self.confidence = confidence
        self.evaluation = EVALUATIONS[prepared.task.evaluation]()
        self._known: dict[str, _Answers] = {}
        self._read = {_tokenizer(reference): prepared}

    @property
    def metric(self) -> str:
        """Name of the metric whose fall is judged."""
        headline = self.prepared.task.headline
        return INSTEAD.get(headline, headline)

    def loss(self, predictor: Predictor, split: str = "validation") -> Loss:
        """Return what a predictor's answers lost on a split."""
        before, after = self._before(split), self._answers(predictor, split)
        metric = METRICS[self.metric]
        sign = POINTS if metric.greater_is_better else -POINTS
        paired = paired_bootstrap(before.scores, after.scores, metric, confidence=2 * self.confidence - 1)
        worse = None if paired.interval is None else paired.interval[0 if metric.greater_is_better else 1]
        flips, divergence = changes(before.answers, after.answers)
        falls = {
            name: sign * (value - after.slices[name])  # type: ignore[operator]
            for name, value in before.slices.items()
            if value is not None and after.slices.get(name) is not None
        }
        worst = max(falls, key=lambda name: falls[name]) if falls else None
        return Loss(
            rows=before.scores.rows,
            drop=float(POINTS) if paired.difference is None else 0.0 - sign * paired.difference,
            bound=None if worse is None else 0.0 - sign * worse,
            confidence=self.confidence,
            flips=flips,
            divergence=divergence,
            calibration_drift=drift(before.scores, after.scores),
            slice_drop=None if worst is None else falls[worst],
            worst_slice=worst,
        )

    def report(self, predictor: Predictor, split: str) -> EvalReport:
        """Return the whole evaluation of a predictor on a split."""
        return self.evaluation.report(self._evidence(predictor, split, baselines(self.prepared), None))

    def _before(self, split: str) -> _Answers:
        if split not in self._known:
            self._known[split] = self._answers(self.reference, split)
        return self._known[split]

    def _answers(self, predictor: Predictor, split: str) -> _Answers:
        evidence = self._evidence(predictor, split, (), FEWER_RESAMPLES)
        columns = {name: np.asarray(values) for name, values in self.evaluation.predictions(evidence).items()}
        scores = self.evaluation.scores(columns)
        if predictor.decoding is not None:
            total = len(evidence.test.target)
            places = np.unique(np.linspace(0, total - 1, min(ANSWERED, total)).round().astype(np.int64))
            return _Answers(scores, evidence.test.answer(places), {})
        report = self.evaluation.report(evidence)
        rows = [row for row in report.slices if row.rows >= LEAST_SLICE_ROWS]
        return _Answers(
            scores=scores,
            answers=[one.as_dict() for one in evidence.test.predict()],
            slices={f"{row.column} {row.value}": row.metric.value for row in rows},
        )

    def _evidence(self, predictor: Predictor, split: str, beside: Sequence[str], resamples: int | None) -> Evidence:
        validation = self._scored(predictor, "validation")
        judged = validation if split == "validation" else self._scored(predictor, split)
        return gathered(self.prepared, predictor, validation, judged, split, baselines=beside, resamples=resamples)

    def _scored(self, predictor: Predictor, split: str) -> Scored:
        """Return what a predictor puts out for a split, which it cuts into tokens itself where it has its own."""
        own = _tokenizer(predictor)
        if own not in self._read:
            self._read[own] = self.prepared.read_by(predictor.encoder)
        return scored(self._read[own], predictor, split)


def _tokenizer(predictor: Predictor) -> str:
    return sha256_file(predictor.folder / predictor.manifest.backbone.folder / "tokenizer.json")


def changes(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> tuple[float | None, float]:
    """Return the share of answers that changed, numbers aside, and the mean distance of the numbers in the others."""
    changed, distances, worded = 0, [0.0], False
    for old, new in zip(before, after, strict=True):
        one, other = parted(old), parted(new)
        worded = worded or bool(one[0])
        if one[0] != other[0]:
            changed += 1
        elif len(one[1]):
            distances.append(float(np.abs(one[1] - other[1]).mean()))
    return (changed / max(1, len(before)) if worded else None), float(np.mean(distances[1:] or [0.0]))


def parted(value: Any, path: str = "") -> tuple[list[tuple[str, Any]], NDArray[np.float64]]:
    """Return what of an answer is no decimal number, each with its place in it, and the decimal numbers."""
    words: list[tuple[str, Any]] = []
    numbers: list[float] = []

    def walk(one: Any, at: str) -> None:
        if isinstance(one, Mapping):
            for key in sorted(one):
                walk(one[key], f"{at}.{key}")
        elif isinstance(one, list | tuple):
            for number, item in enumerate(one):
                walk(item, f"{at}[{number}]")
        elif isinstance(one, float):
            numbers.append(one)
        else:
            words.append((at, one))

    walk(value, path)
    return words, np.asarray(numbers)


def drift(before: RowScores, after: RowScores) -> float | None:
    """Return by how many points the expected calibration error rose."""
    if not isinstance(before, Scores) or not isinstance(after, Scores):
        return None
    old, new = (METRICS["ece"].function(one) for one in (before, after))
    return None if old is None or new is None else POINTS * (new - old)
