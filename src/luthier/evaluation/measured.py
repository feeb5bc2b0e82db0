"""Metrics of one kind of scores: with intervals, and a model's lead over a simpler one."""

from __future__ import annotations

from collections.abc import Sequence

from luthier.artifacts.evaluation import MetricValue
from luthier.evaluation.evidence import Evidence
from luthier.metrics.intervals import bootstrap, paired_bootstrap
from luthier.metrics.registry import METRICS, metrics_about
from luthier.metrics.scores import RowScores


def measured(scores: RowScores, about: str, evidence: Evidence) -> dict[str, MetricValue]:
    """Return every metric of a kind with its bootstrap interval; one that is undefined on all rows is left out.

    Args:
        scores: of the test rows.
        about: see `metrics.registry.Metric`.
        evidence: how intervals are made.
    """
    found = {metric: metric.function(scores) for metric in metrics_about(about)}
    defined = [metric for metric, value in found.items() if value is not None]
    intervals = bootstrap(
        scores, defined, resamples=evidence.resamples, confidence=evidence.confidence, seed=evidence.seed
    )
    return {m.name: MetricValue(value=found[m], interval=intervals[m.name]) for m in defined}


def lead_of(simple: RowScores, scores: RowScores, evidence: Evidence) -> MetricValue:
    """Return by how much the headline metric is above a simpler model's, paired over rows."""
    lead = paired_bootstrap(
        simple,
        scores,
        METRICS[evidence.headline],
        resamples=evidence.resamples,
        confidence=evidence.confidence,
        seed=evidence.seed,
    )
    return MetricValue(value=lead.difference, interval=lead.interval)


def values_of(scores: RowScores, about: str, names: Sequence[str]) -> dict[str, float]:
    """Return those of some metrics that are of a kind and defined, in the order asked."""
    wanted = [METRICS[name] for name in names if METRICS[name].about == about]
    found = {metric.name: metric.function(scores) for metric in wanted}
    return {name: value for name, value in found.items() if value is not None}
