"""The evaluation of extracted answers: exact match and F1, with and without an answer in the context."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from luthier.artifacts.evaluation import Baseline, EvalReport, Example, ExamplesBlock
from luthier.evaluation.evidence import Evidence, SplitEvidence
from luthier.evaluation.measuring import beside, measured, report_of
from luthier.evaluation.slices import slices
from luthier.evaluation.word_overlap import overlap_answer
from luthier.metrics.calibration import log_softmax
from luthier.metrics.extraction import ExtractionScores, score_extracted
from luthier.metrics.generation import CompletionScores
from luthier.metrics.registry import METRICS, metrics_about
from luthier.tasks.base import Prediction, Scored, Truth

NOTHING = "\u2013"  # shown where there is no answer


class ExtractionEvaluation:
    """Judges the answer to each question against the true ones; no answer is right where there is none."""

    loss: ClassVar[str] = "token_loss"
    baselines: ClassVar[tuple[str, ...]] = ("overlap",)

    def validate(
        self, scored: Scored, truth: Truth, predictions: Callable[[], Sequence[Prediction]], metrics: Sequence[str]
    ) -> dict[str, float]:
        """Return metrics of validation rows before the threshold is fitted, in the order asked."""
        found: dict[str, float | None] = {}
        answers = score_extracted([one.as_dict()["answer"] for one in predictions()], [_texts(c) for c in truth.cells])
        for name in metrics:
            if METRICS[name].about == "extracts":
                found[name] = METRICS[name].function(answers)
            elif METRICS[name].about == "completions":
                found[name] = METRICS[name].function(window_scores(scored))
        return {name: value for name, value in found.items() if value is not None}

    def report(self, evidence: Evidence) -> EvalReport:
        """Return the whole evaluation on the test split, with the fitted threshold."""
        scores = _scores(evidence)
        own = [("answerable", ["yes" if one else "no" for one in scores.answerable])]
        return report_of(
            evidence,
            scores.rows,
            metrics=measured(scores, metrics_about("extracts"), evidence),
            baselines=[_overlap(name, scores, evidence) for name in evidence.baselines],
            slices=slices(scores, own, evidence),
            blocks=[_mistakes(scores, evidence)],
        )

    def predictions(self, evidence: Evidence) -> dict[str, Any]:
        """Return each test row's answer and what it is worth."""
        scores = _scores(evidence)
        return {
            "predicted": [one.as_dict()["answer"] or "" for one in evidence.test.predict()],
            "exact": scores.exact,
            "f1": scores.f1,
            "answerable": scores.answerable,
        }

    def scores(self, columns: Mapping[str, NDArray[Any]]) -> ExtractionScores:
        """Return the scores of rows that `predictions` wrote."""
        exact, f1 = (np.asarray(columns[name], np.float64) for name in ("exact", "f1"))
        return ExtractionScores(exact, f1, np.asarray(columns["answerable"], bool))


def window_scores(scored: Scored) -> CompletionScores:
    """Return the loss of each window, start and end together."""
    loss, right = [], []
    for position, feature in enumerate(scored.index):
        allowed = scored.features.row("allowed", int(feature))
        logits = np.where(allowed[:, None] > 0, scored.outputs["logits"][position], -1e30)
        chosen = [int(scored.features.scalar[name][feature]) for name in ("start", "end")]
        shares = log_softmax(logits.T)  # (2, T)
        loss.append(-float(shares[[0, 1], chosen].mean()))
        right.append(float((shares.argmax(axis=1) == chosen).mean()))
    return CompletionScores(np.asarray(loss), np.ones(len(loss)), np.asarray(right))


def _texts(cell: str) -> list[str]:
    return [one["text"] for one in json.loads(cell)]


def _truth(split: SplitEvidence) -> list[list[str]]:
    return [_texts(cell) for cell in split.truth.cells]


def _scores(evidence: Evidence) -> ExtractionScores:
    answers = [one.as_dict()["answer"] for one in evidence.test.predict()]
    return score_extracted(answers, _truth(evidence.test))


def _overlap(name: str, scores: ExtractionScores, evidence: Evidence) -> Baseline:
    """Return what the overlap of words answers."""
    assert name == "overlap", f"{name} is no baseline of extracted answers"
    answers = [overlap_answer(cells["question"], cells["context"]) for cells in evidence.test.scored.inputs]
    return beside(name, score_extracted(answers, _truth(evidence.test)), scores, metrics_about("extracts"), evidence)


def _mistakes(scores: ExtractionScores, evidence: Evidence) -> ExamplesBlock:
    """Return the most confident answers that are not exact."""
    split = evidence.test
    answers = [one.as_dict() for one in split.predict()]
    wrong = np.flatnonzero(scores.exact == 0)
    confidence = np.asarray([answers[int(i)]["score"] for i in wrong])
    order = wrong[np.argsort(-confidence, kind="stable")] if len(wrong) else wrong
    rows = []
    for row in order[: evidence.mistakes]:
        position = int(row)
        texts = _texts(split.truth.cells[position])
        rows.append(
            Example(
                place=split.place(position),
                inputs={name: str(split.cells(name, np.asarray([position]))[0]) for name in evidence.inputs},
                target=" / ".join(dict.fromkeys(texts)) or NOTHING,
                predicted=answers[position]["answer"] or NOTHING,
                probability=answers[position]["score"],
            )
        )
    return ExamplesBlock(name="mistakes", split=split.name, total=len(wrong), rows=rows)
