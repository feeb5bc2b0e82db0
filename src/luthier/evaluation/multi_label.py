"""The evaluation of label sets."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from luthier.artifacts.evaluation import (
    Baseline,
    EvalReport,
    Example,
    ExamplesBlock,
    PerClassBlock,
    PerClassRow,
)
from luthier.evaluation.baselines import text_weights
from luthier.evaluation.evidence import Evidence, SplitEvidence
from luthier.evaluation.measuring import beside, defined, measured, report_of, validated
from luthier.evaluation.slices import slices
from luthier.metrics.multi_label import SetScores, per_label, sigmoid
from luthier.metrics.thresholds import best_threshold
from luthier.tasks.base import Prediction, Scored, Truth
from luthier.tasks.multi_label import HALF, label_sets, thresholds, true_sets

ABOUT = "label sets"
FREQUENT, TFIDF = "frequent-set", "tfidf"


class MultiLabelEvaluation:
    """Judges `logits` (N, C) against label sets."""

    loss: ClassVar[str] = "label_log_loss"
    baselines: ClassVar[tuple[str, ...]] = (FREQUENT, TFIDF)

    def validate(
        self, scored: Scored, truth: Truth, predictions: Callable[[], Sequence[Prediction]], metrics: Sequence[str]
    ) -> dict[str, float]:
        """Return metrics of validation rows, with the thresholds that are best on them; an undefined one is left out.

        So weights are chosen as they will be used, and not by how well one half happens to suit rare labels.
        """
        probability = sigmoid(scored.outputs["logits"])
        true = true_sets(scored, probability.shape[1])
        limits = [best_threshold(probability[:, label], true[:, label]) for label in range(true.shape[1])]
        return validated(SetScores(true, probability, probability > np.asarray(limits)), ABOUT, metrics)

    def report(self, evidence: Evidence) -> EvalReport:
        """Return the whole evaluation on the test split, with the thresholds of validation."""
        scores = _scores(evidence, evidence.test)
        sizes = [str(int(number)) for number in scores.truth.sum(axis=1)]
        return report_of(
            evidence,
            scores.rows,
            metrics=measured(scores, defined(scores, ABOUT), evidence),
            baselines=[_baseline(name, scores, evidence) for name in evidence.baselines],
            slices=slices(scores, [("number of labels", sizes)], evidence),
            blocks=[_per_label(scores, evidence), _mistakes(scores, evidence)],
        )

    def predictions(self, evidence: Evidence) -> dict[str, Any]:
        """Return true and given labels (JSON lists) and every probability per test row."""
        scores, labels = _scores(evidence, evidence.test), _labels(evidence)
        columns: dict[str, Any] = {
            "target": [json.dumps(_named(row, labels), ensure_ascii=False) for row in scores.truth],
            "predicted": [json.dumps(_named(row, labels), ensure_ascii=False) for row in scores.predicted],
        }
        return columns | {f"score.{label}": scores.probability[:, i] for i, label in enumerate(labels)}

    def scores(self, columns: Mapping[str, NDArray[Any]]) -> SetScores:
        """Return the scores of rows that `predictions` wrote."""
        labels = [name.removeprefix("score.") for name in columns if name.startswith("score.")]
        targets = {"labels": labels, "values": {label: label for label in labels}}
        probability = np.stack([columns[f"score.{label}"] for label in labels], axis=1)
        sets = [label_sets([str(cell) for cell in columns[name]], targets) for name in ("target", "predicted")]
        return SetScores(sets[0], probability, sets[1])


def _labels(evidence: Evidence) -> list[str]:
    return list(evidence.targets["labels"])


def _named(row: NDArray[np.bool_], labels: Sequence[str]) -> list[str]:
    return [label for label, yes in zip(labels, row, strict=True) if yes]


def _scores(evidence: Evidence, split: SplitEvidence) -> SetScores:
    probability = sigmoid(split.outputs["logits"])
    limits = thresholds(_labels(evidence), dict(evidence.calibration))
    return SetScores(_truth(evidence, split), probability, probability > limits)


def _truth(evidence: Evidence, split: SplitEvidence) -> NDArray[np.bool_]:
    return true_sets(split.scored, len(_labels(evidence)))


def _per_label(scores: SetScores, evidence: Evidence) -> PerClassBlock:
    rows = [
        PerClassRow(label=label, precision=q.precision, recall=q.recall, f1=q.f1, support=q.support)
        for label, q in zip(_labels(evidence), per_label(scores), strict=True)
    ]
    return PerClassBlock(rows=rows)


def _baseline(name: str, scores: SetScores, evidence: Evidence) -> Baseline:
    simple = {FREQUENT: _frequent_set, TFIDF: _tfidf}[name](scores, evidence)
    return beside(name, simple, scores, defined(simple, ABOUT), evidence)


def _frequent_set(scores: SetScores, evidence: Evidence) -> SetScores:
    """Return the most frequent label set of the training rows for every row, and each label's share."""
    train = _truth(evidence, evidence.train)
    (common, _), *_ = Counter(map(bytes, train.view(np.uint8))).most_common(1)
    given = np.frombuffer(common, dtype=bool)
    share = np.tile(train.mean(axis=0), (scores.rows, 1))
    return SetScores(scores.truth, share, np.tile(given, (scores.rows, 1)))


def _tfidf(scores: SetScores, evidence: Evidence) -> SetScores:
    """Return a logistic regression per label on TF-IDF weights, with thresholds tuned on validation as the model's."""
    from sklearn.linear_model import LogisticRegression

    text = evidence.inputs[0]
    splits = (evidence.train, evidence.validation, evidence.test)
    weights = text_weights([[str(cell) for cell in split.cells(text, None)] for split in splits])
    if weights is None:  # no text holds a word
        return _frequent_set(scores, evidence)
    train, validation = _truth(evidence, evidence.train), _truth(evidence, evidence.validation)
    probability, given = np.zeros(scores.truth.shape), np.zeros(scores.truth.shape, dtype=bool)
    for label in range(train.shape[1]):
        if train[:, label].all() or not train[:, label].any():
            probability[:, label] = train[:, label].mean()
            limit = HALF
        else:
            model = LogisticRegression(C=10.0, max_iter=1000).fit(weights[0], train[:, label])
            seen, asked = (model.predict_proba(one)[:, 1] for one in weights[1:])
            limit = best_threshold(seen, validation[:, label])
            probability[:, label] = asked
        given[:, label] = probability[:, label] > limit
    return SetScores(scores.truth, probability, given)


def _mistakes(scores: SetScores, evidence: Evidence) -> ExamplesBlock:
    """Return the wrong sets that the model was surest of, each label taken by itself."""
    sure = np.where(scores.predicted, scores.probability, 1.0 - scores.probability).prod(axis=1)
    wrong = np.flatnonzero((scores.truth != scores.predicted).any(axis=1))
    order = wrong[np.argsort(-sure[wrong], kind="stable")][: evidence.mistakes]
    labels, split = _labels(evidence), evidence.test
    rows = [
        Example(
            place=split.place(int(i)),
            inputs={name: str(split.cells(name, np.asarray([i]))[0]) for name in evidence.inputs},
            target=", ".join(_named(scores.truth[i], labels)) or "-",
            predicted=", ".join(_named(scores.predicted[i], labels)) or "-",
            probability=float(sure[i]),
        )
        for i in order
    ]
    return ExamplesBlock(name="mistakes", split=split.name, total=len(wrong), rows=rows)
