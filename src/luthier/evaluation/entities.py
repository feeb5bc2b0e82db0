"""The evaluation of a tagger: entities by exact span, against all that the whole text holds."""

from __future__ import annotations

import json
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
from luthier.evaluation.evidence import Evidence, SplitEvidence
from luthier.evaluation.known_names import KnownNames
from luthier.evaluation.measuring import beside, measured, report_of
from luthier.evaluation.slices import slices
from luthier.metrics.calibration import log_softmax
from luthier.metrics.generation import CompletionScores
from luthier.metrics.matches import MatchScores
from luthier.metrics.registry import METRICS, metrics_about
from luthier.tasks.base import Prediction, Scored, Truth
from luthier.tasks.entities import Document, Span, document_of, json_text, overlapping, span_of
from luthier.tasks.tags import spans_of_tags

AROUND = 60  # characters shown on either side of a mistake


class EntityEvaluation:
    """Judges predicted entities against the true ones: right where start, end and label are the same.

    The truth is that of the row's cell, so what no window or token reaches counts as missed.
    """

    loss: ClassVar[str] = "token_loss"
    baselines: ClassVar[tuple[str, ...]] = ("names",)

    def validate(
        self, scored: Scored, truth: Truth, predictions: Callable[[], Sequence[Prediction]], metrics: Sequence[str]
    ) -> dict[str, float]:
        """Return metrics of validation rows, in the order asked; an undefined one is left out."""
        found: dict[str, float | None] = {}
        gold = [true_spans(cells, cell) for cells, cell in zip(scored.inputs, truth.cells, strict=True)]
        labels = sorted({span.label for spans in gold for span in spans})
        entities = match(gold, [predicted_spans(one.as_dict()) for one in predictions()], labels)
        for name in metrics:
            if METRICS[name].about == "entities":
                found[name] = METRICS[name].function(entities)
            elif METRICS[name].about == "completions":
                found[name] = METRICS[name].function(token_scores(scored))
        return {name: value for name, value in found.items() if value is not None}

    def report(self, evidence: Evidence) -> EvalReport:
        """Return the whole evaluation on the test split."""
        gold, found = _gold(evidence.test), _found(evidence.test)
        labels = _labels(evidence, gold)
        scores = match(gold, found, labels)
        return report_of(
            evidence,
            scores.rows,
            metrics=measured(scores, metrics_about("entities"), evidence),
            baselines=[self._names(name, scores, gold, labels, evidence) for name in evidence.baselines],
            slices=slices(scores, [], evidence),
            blocks=[_per_label(scores, labels), _mistakes(gold, found, evidence)],
        )

    def predictions(self, evidence: Evidence) -> dict[str, Any]:
        """Return true and predicted entities per test row, as JSON text."""
        return {
            "target": [_cell(spans) for spans in _gold(evidence.test)],
            "predicted": [_cell(spans) for spans in _found(evidence.test)],
        }

    def scores(self, columns: Mapping[str, NDArray[Any]]) -> MatchScores:
        """Return the scores of rows that `predictions` wrote."""
        gold, found = ([_read(cell) for cell in columns[name]] for name in ("target", "predicted"))
        labels = sorted({span.label for rows in (gold, found) for spans in rows for span in spans})
        return match(gold, found, labels)

    def _names(
        self,
        name: str,
        scores: MatchScores,
        gold: Sequence[Sequence[Span]],
        labels: Sequence[str],
        evidence: Evidence,
    ) -> Baseline:
        """Return the tagger that looks up the entities of the training rows."""
        assert name == "names", f"{name} is no baseline of entities"
        known = KnownNames(zip(_documents(evidence.train), _gold(evidence.train), strict=True))
        simple = match(gold, [known.find(document) for document in _documents(evidence.test)], labels)
        return beside(name, simple, scores, metrics_about("entities"), evidence)


def true_spans(inputs: Mapping[str, Any], cell: str) -> list[Span]:
    """Return the spans of a row's target cell, which was checked when it was read."""
    found = json.loads(cell)
    if found and isinstance(found[0], str):
        words = document_of(inputs["text"]).words
        assert words is not None, "tags stand with words"
        return spans_of_tags(found, words, "bio")
    return [span_of(one) for one in found]


def predicted_spans(answer: Mapping[str, Any]) -> list[Span]:
    """Return the spans of an answer."""
    return [Span(one["start"], one["end"], one["label"]) for one in answer["entities"]]


def match(gold: Sequence[Sequence[Span]], found: Sequence[Sequence[Span]], labels: Sequence[str]) -> MatchScores:
    """Return the counts of each row by label; of labels that are not listed nothing counts."""
    number = {label: place for place, label in enumerate(labels)}
    counts = np.zeros((3, len(gold), len(labels)))
    for row, (true, answered) in enumerate(zip(gold, found, strict=True)):
        for which, spans in enumerate((set(true) & set(answered), answered, true)):
            for span in spans:
                if span.label in number:
                    counts[which, row, number[span.label]] += 1
    return MatchScores(counts[0], counts[1], counts[2], counts[2].sum(axis=1).astype(np.int64))


def token_scores(scored: Scored) -> CompletionScores:
    """Return the loss of labelled tokens, summed over each feature."""
    rows = []
    for position, feature in enumerate(scored.index):
        labels = scored.features.row("labels", int(feature))
        own = np.flatnonzero(labels >= 0)
        logits = scored.outputs["logits"][position][own]
        loss = -log_softmax(logits)[np.arange(len(own)), labels[own]] if len(own) else np.zeros(0)
        right = logits.argmax(axis=1) == labels[own] if len(own) else np.zeros(0)
        rows.append((float(loss.sum()), float(len(own)), float(right.sum())))
    nll, tokens, correct = np.asarray(rows, np.float64).reshape(-1, 3).T
    return CompletionScores(nll, tokens, correct)


def _documents(split: SplitEvidence) -> list[Document]:
    return [document_of(cells["text"]) for cells in split.scored.inputs]


def _gold(split: SplitEvidence) -> list[list[Span]]:
    return [true_spans(cells, cell) for cells, cell in zip(split.scored.inputs, split.truth.cells, strict=True)]


def _found(split: SplitEvidence) -> list[list[Span]]:
    return [predicted_spans(one.as_dict()) for one in split.predict()]


def _labels(evidence: Evidence, gold: Sequence[Sequence[Span]]) -> list[str]:
    """Return the labels of training, then those that only the test rows have."""
    known = [str(label) for label in evidence.targets["entities"]]
    return [*known, *sorted({span.label for spans in gold for span in spans} - set(known))]


def _per_label(scores: MatchScores, labels: Sequence[str]) -> PerClassBlock:
    right, answered, there = (one.sum(axis=0) for one in (scores.right, scores.answered, scores.there))
    rows = [
        PerClassRow(
            label=label,
            precision=float(right[i] / answered[i]) if answered[i] else None,
            recall=float(right[i] / there[i]) if there[i] else None,
            f1=float(2 * right[i] / (answered[i] + there[i])) if answered[i] + there[i] else None,
            support=int(there[i]),
        )
        for i, label in enumerate(labels)
    ]
    return PerClassBlock(rows=rows)


def _mistakes(gold: Sequence[Sequence[Span]], found: Sequence[Sequence[Span]], evidence: Evidence) -> ExamplesBlock:
    """Return the most confident entities that are not true, and what stands there instead."""
    predictions, documents = evidence.test.predict(), _documents(evidence.test)
    wrong: list[tuple[float, int, Span]] = []
    for row, (true, answered) in enumerate(zip(gold, found, strict=True)):
        scores = [one["score"] for one in predictions[row].as_dict()["entities"]]
        wrong += [(s, row, span) for s, span in zip(scores, answered, strict=True) if span not in set(true)]
    wrong.sort(key=lambda one: (-one[0], one[1], one[2]))
    rows = [
        Example(
            place=f"{evidence.test.place(row)}, characters {span.start} to {span.end}",
            inputs={evidence.inputs[0]: _around(documents[row].text, span)},
            target=_beneath(documents[row].text, gold[row], span),
            predicted=_named(documents[row].text, span),
            probability=score,
        )
        for score, row, span in wrong[: evidence.mistakes]
    ]
    return ExamplesBlock(name="mistakes", split=evidence.test.name, total=len(wrong), rows=rows)


def _around(text: str, span: Span) -> str:
    start, end = max(0, span.start - AROUND), min(len(text), span.end + AROUND)
    return f"{'…' * (start > 0)}{text[start:end]}{'…' * (end < len(text))}"


def _beneath(text: str, gold: Sequence[Span], span: Span) -> str:
    """Return the true entity that a wrong one touches, or that there is none."""
    ordered = sorted(gold)
    own = overlapping(ordered, (span.start, span.end))
    return "–" if own is None else _named(text, ordered[own])


def _named(text: str, span: Span) -> str:
    return f"{text[span.start : span.end]} ({span.label})"


def _cell(spans: Sequence[Span]) -> str:
    return json_text([[span.start, span.end, span.label] for span in spans])


def _read(cell: str) -> list[Span]:
    return [Span(start, end, label) for start, end, label in json.loads(cell)]
