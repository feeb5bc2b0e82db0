"""The table of metrics, and that one entry is all a new metric needs."""

from __future__ import annotations

import subprocess
import sys

import numpy as np

from luthier.metrics.intervals import bootstrap, paired_bootstrap
from luthier.metrics.registry import METRICS, Metric, metrics_about
from luthier.metrics.scores import Scores


def test_names_are_keys_and_labels_are_there():
    for name, metric in METRICS.items():
        assert metric.name == name
        assert metric.label_en
        assert metric.label_zh
    labels = [metric.label_zh for metric in METRICS.values()]
    assert len(set(labels)) == len(METRICS)


def test_direction_is_right():
    """A better model must look better: sharpen a skilled model's answers towards the truth."""
    rng = np.random.default_rng(0)
    target = rng.integers(0, 2, 400)
    truth = np.eye(2)[target]
    noise = rng.dirichlet([1, 1], size=400)
    worse, better = Scores(target, 0.3 * truth + 0.7 * noise), Scores(target, 0.9 * truth + 0.1 * noise)
    for metric in metrics_about("labels"):
        gain = metric.function(better) - metric.function(worse)
        assert (gain > 0) == metric.greater_is_better, metric.name


def test_a_new_metric_needs_one_entry(monkeypatch):
    calls = []

    def worst_recall(scores: Scores) -> float | None:
        calls.append(scores.rows)
        recalls = [float(scores.correct[scores.target == label].mean()) for label in set(scores.target.tolist())]
        return min(recalls, default=None)

    monkeypatch.setitem(
        METRICS, "worst_recall", Metric("worst_recall", worst_recall, True, "Worst recall", "最差召回率")
    )
    rng = np.random.default_rng(1)
    target = rng.integers(0, 2, 60)
    scores = Scores(target, rng.dirichlet([1, 1], size=60))
    intervals = bootstrap(scores, metrics_about("labels"), resamples=100)
    low, high = intervals["worst_recall"]
    assert 0 <= low <= worst_recall(scores) <= high <= 1
    assert len(calls) == 101
    assert paired_bootstrap(scores, scores, METRICS["worst_recall"], resamples=100).difference == 0.0


def test_importing_the_metrics_is_cheap():
    code = (
        "import sys, luthier.metrics.registry, luthier.metrics.intervals, luthier.metrics.calibration,"
        " luthier.metrics.label_issues\n"
        "print(sorted({'scipy', 'sklearn', 'torch', 'pydantic', 'pyarrow'} & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
