"""The evaluation of predicted numbers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from luthier.artifacts.evaluation import Baseline, Block, EvalReport, Example, ExamplesBlock, MeansBin, MeansBlock
from luthier.evaluation.baselines import text_weights
from luthier.evaluation.evidence import Evidence, SplitEvidence, texts_of
from luthier.evaluation.measuring import beside, defined, measured, report_of, validated
from luthier.evaluation.slices import slices
from luthier.metrics.regression import ValueScores, mean_bins
from luthier.tasks.base import Prediction, Scored, Truth
from luthier.tasks.regression import predicted_values

ABOUT = "values"
MEAN, RIDGE, COSINE = "mean", "ridge", "cosine"
PENALTIES = (0.3, 1.0, 3.0, 10.0)
BINS = 10


class RegressionEvaluation:
    """Judges `logits` (N, 1) against numbers."""

    loss: ClassVar[str] = "mae"
    baselines: ClassVar[tuple[str, ...]] = (MEAN, RIDGE)

    def validate(
        self, scored: Scored, truth: Truth, predictions: Callable[[], Sequence[Prediction]], metrics: Sequence[str]
    ) -> dict[str, float]:
        """Return metrics of validation rows, in the order asked; an undefined one is left out."""
        answers = [one.as_dict() for one in predictions()]
        predicted = np.asarray([answer["value"] for answer in answers])
        return validated(ValueScores(_values(truth), predicted), ABOUT, metrics)

    def report(self, evidence: Evidence) -> EvalReport:
        """Return the whole evaluation on the test split."""
        scores = _scores(evidence, evidence.test)
        return report_of(
            evidence,
            scores.rows,
            metrics=measured(scores, defined(scores, ABOUT), evidence),
            baselines=[_baseline(name, scores, evidence) for name in evidence.baselines],
            slices=slices(scores, [], evidence),
            blocks=_blocks(scores, evidence),
        )

    def predictions(self, evidence: Evidence) -> dict[str, Any]:
        """Return true and predicted values per test row, and the levels of each row where there are some."""
        scores = _scores(evidence, evidence.test)
        levels = {"levels": [str(list(scores.levels))] * scores.rows} if scores.levels else {}
        return {"target": scores.truth, "predicted": scores.predicted, **levels}

    def scores(self, columns: Mapping[str, NDArray[Any]]) -> ValueScores:
        """Return the scores of rows that `predictions` wrote."""
        levels = tuple(json.loads(str(columns["levels"][0]))) if len(columns.get("levels", ())) else ()
        truth, predicted = (np.asarray(columns[name], np.float64) for name in ("target", "predicted"))
        return ValueScores(truth, predicted, levels)


class SimilarityEvaluation(RegressionEvaluation):
    """Judges numbers of pairs; the mean as a simple model has no correlation with anything, so others stand beside."""

    baselines: ClassVar[tuple[str, ...]] = (COSINE, RIDGE)


def _values(truth: Truth) -> NDArray[np.float64]:
    return np.asarray([float(cell) for cell in truth.cells])


def _scores(evidence: Evidence, split: SplitEvidence) -> ValueScores:
    predicted = predicted_values(split.outputs["logits"], dict(evidence.targets))
    return ValueScores(_values(split.truth), predicted, tuple(evidence.targets["levels"]))


def _baseline(name: str, scores: ValueScores, evidence: Evidence) -> Baseline:
    predicted = {MEAN: _mean, RIDGE: _ridge, COSINE: _cosine}[name](scores, evidence)
    simple = ValueScores(scores.truth, predicted, scores.levels)
    return beside(name, simple, scores, defined(simple, ABOUT), evidence)


def _mean(scores: ValueScores, evidence: Evidence) -> NDArray[np.float64]:
    """Return the mean of the training values for every row."""
    return np.full(scores.rows, _values(evidence.train.truth).mean())


def _ridge(scores: ValueScores, evidence: Evidence) -> NDArray[np.float64]:
    """Return a ridge regression on TF-IDF weights, see `text_weights`; validation chooses how much it is held back."""
    from sklearn.linear_model import Ridge

    splits = (evidence.train, evidence.validation, evidence.test)
    weights = text_weights([texts_of(split, evidence) for split in splits])
    if weights is None:  # no text holds a word
        return _mean(scores, evidence)
    train, validation = _values(evidence.train.truth), _values(evidence.validation.truth)
    models = [Ridge(alpha=penalty).fit(weights[0], train) for penalty in PENALTIES]
    errors = [float(((model.predict(weights[1]) - validation) ** 2).mean()) for model in models]
    found: NDArray[np.float64] = models[int(np.argmin(errors))].predict(weights[2])
    return found


def _cosine(scores: ValueScores, evidence: Evidence) -> NDArray[np.float64]:
    """Return a straight line through the cosines of the TF-IDF weights of a pair's texts."""
    weights = text_weights([texts_of(split, evidence) for split in (evidence.train, evidence.test)])
    if weights is None:  # no text holds a word
        return _mean(scores, evidence)
    train, test = (part[:, -1].toarray().ravel() for part in weights)
    slope, start = np.polyfit(train, _values(evidence.train.truth), 1) if np.ptp(train) else (0.0, 0.0)
    found: NDArray[np.float64] = slope * test + start
    return found


def _blocks(scores: ValueScores, evidence: Evidence) -> list[Block]:
    found = mean_bins(scores, BINS, evidence.confidence)
    total = sum(one.count for one in found)
    error = sum(one.count * abs(one.predicted - one.truth) for one in found) / max(1, total)
    bins = [MeansBin(predicted=one.predicted, truth=one.truth, interval=one.interval, count=one.count) for one in found]
    return [MeansBlock(error=error, bins=bins), _mistakes(scores, evidence)]


def _mistakes(scores: ValueScores, evidence: Evidence) -> ExamplesBlock:
    """Return the rows with the largest errors."""
    error = np.abs(scores.predicted - scores.truth)
    order = np.argsort(-error, kind="stable")[: evidence.mistakes]
    split = evidence.test
    rows = [
        Example(
            place=split.place(int(i)),
            inputs={name: str(split.cells(name, np.asarray([i]))[0]) for name in evidence.inputs},
            target=f"{scores.truth[i]:.4g}",
            predicted=f"{scores.predicted[i]:.4g}",
            probability=None,
        )
        for i in order
    ]
    return ExamplesBlock(name="largest_errors", split=split.name, total=scores.rows, rows=rows)
