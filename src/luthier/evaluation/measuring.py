"""Metrics of any scores with their intervals, and simple models beside them."""

from __future__ import annotations

from collections.abc import Sequence

from luthier.artifacts.evaluation import Baseline, MetricValue
from luthier.evaluation.evidence import Evidence
from luthier.metrics.intervals import bootstrap, paired_bootstrap
from luthier.metrics.registry import METRICS, Metric
from luthier.metrics.scores import RowScores


def measured(scores: RowScores, metrics: Sequence[Metric], evidence: Evidence) -> dict[str, MetricValue]:
    """Return metrics by name with their bootstrap intervals."""
    intervals = bootstrap(
        scores, metrics, resamples=evidence.resamples, confidence=evidence.confidence, seed=evidence.seed
    )
    return {m.name: MetricValue(value=m.function(scores), interval=intervals[m.name]) for m in metrics}


def beside(name: str, simple: RowScores, scores: RowScores, metrics: Sequence[Metric], evidence: Evidence) -> Baseline:
    """Return a simple model's metrics, and the lead of the evaluated one on the headline metric, paired over rows.

    Args:
        name: of the simple model.
        simple: its scores.
        scores: those of the evaluated model on the same rows.
        metrics: to report of the simple model.
        evidence: what is evaluated.
    """
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
        metrics=measured(simple, metrics, evidence),
        lead=MetricValue(value=lead.difference, interval=lead.interval),
    )
