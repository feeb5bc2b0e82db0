"""What every kind of evaluation does with its scores: metrics with intervals, simple models beside, one report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from luthier.artifacts.evaluation import Baseline, Block, EvalReport, MetricValue, SliceRow
from luthier.evaluation.evidence import Evidence
from luthier.metrics.intervals import bootstrap, paired_bootstrap
from luthier.metrics.registry import METRICS, Metric, metrics_about
from luthier.metrics.scores import RowScores


def defined(scores: RowScores, about: str) -> list[Metric]:
    """Return the metrics of a kind (see `metrics.registry.Metric`) that some rows define."""
    return [metric for metric in metrics_about(about) if metric.function(scores) is not None]


def validated(scores: RowScores, about: str, names: Sequence[str]) -> dict[str, float]:
    """Return those of some metrics that are of a kind and defined, in the order asked."""
    wanted = [METRICS[name] for name in names if METRICS[name].about == about]
    found = {metric.name: metric.function(scores) for metric in wanted}
    return {name: value for name, value in found.items() if value is not None}


def measured(scores: RowScores, metrics: Sequence[Metric], evidence: Evidence) -> dict[str, MetricValue]:
    """Return metrics by name with their bootstrap intervals; an undefined one has no value."""
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


def report_of(
    evidence: Evidence,
    rows: int,
    *,
    metrics: Mapping[str, MetricValue],
    baselines: Iterable[Baseline],
    slices: Iterable[SliceRow],
    blocks: Sequence[Block],
) -> EvalReport:
    """Return the report on the test split.

    Args:
        evidence: what is evaluated.
        rows: how many were judged.
        metrics: by name.
        baselines: the simple models, in the order of `evidence.baselines`.
        slices: the headline metric on parts of the rows.
        blocks: what the report shows beside.
    """
    return EvalReport(
        task=evidence.task,
        split=evidence.test.name,
        rows=rows,
        weights_sha256=evidence.weights_sha256,
        headline=evidence.headline,
        confidence=evidence.confidence,
        metrics=dict(metrics),
        baselines=list(baselines),
        slices=list(slices),
        blocks=list(blocks),
    )
