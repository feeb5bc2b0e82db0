"""The metrics by name: one line each, and an entry added from anywhere is used everywhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from luthier.metrics import classification, generation, multi_label, regression, weighted
from luthier.metrics.weighted import Statistic


@dataclass(frozen=True)
class Metric:
    """One number about scores, and how to show it.

    Attributes:
        name: the key in `METRICS`, in project files and in `evaluation.json`.
        function: the number, or None where it is undefined.
        greater_is_better: whether a larger number is a better model.
        label_en: the English name in reports.
        label_zh: the Chinese name in reports.
        percent: whether reports show it as a percentage.
        statistic: the same number over row multiplicities; it makes the bootstrap fast. Without it `function` is
            called once per resample.
        about: what it measures: `labels` (`Scores`), `completions` (`CompletionScores`), `answers` (`AnswerScores`),
            `label sets` (`SetScores`) or `values` (`ValueScores`).
    """

    name: str
    function: Callable[[Any], float | None]
    greater_is_better: bool
    label_en: str
    label_zh: str
    percent: bool = False
    statistic: Callable[[Any], Statistic] | None = None
    about: str = "labels"


def _built_in(name: str, label_en: str, label_zh: str, *, better: str, percent: bool = False) -> Metric:
    """Return the metric whose function and statistic both carry its name."""
    function, statistic = getattr(classification, name), getattr(weighted, name)
    return Metric(name, function, better == "up", label_en, label_zh, percent, statistic)


def _of_text(name: str, about: str, label_en: str, label_zh: str, *, better: str, percent: bool = False) -> Metric:
    """Return a metric of generated text."""
    function, statistic = getattr(generation, name), getattr(generation, f"{name}_statistic")
    return Metric(name, function, better == "up", label_en, label_zh, percent, statistic, about)


def _of_sets(name: str, label_en: str, label_zh: str, *, better: str, percent: bool = False) -> Metric:
    """Return a metric of label sets."""
    function, statistic = getattr(multi_label, name), getattr(multi_label, f"{name}_statistic")
    return Metric(name, function, better == "up", label_en, label_zh, percent, statistic, "label sets")


def _of_values(name: str, label_en: str, label_zh: str, *, better: str) -> Metric:
    """Return a metric of predicted numbers."""
    function, statistic = getattr(regression, name), getattr(regression, f"{name}_statistic")
    return Metric(name, function, better == "up", label_en, label_zh, False, statistic, "values")


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        _built_in("accuracy", "Accuracy", "准确率", better="up", percent=True),
        _built_in("balanced_accuracy", "Balanced accuracy", "平衡准确率", better="up", percent=True),
        _built_in("macro_precision", "Macro precision", "宏平均精确率", better="up", percent=True),
        _built_in("macro_recall", "Macro recall", "宏平均召回率", better="up", percent=True),
        _built_in("macro_f1", "Macro F1", "宏平均 F1", better="up", percent=True),
        _built_in("weighted_f1", "Weighted F1", "加权平均 F1", better="up", percent=True),
        _built_in("mcc", "Matthews correlation", "马修斯相关系数", better="up"),
        _built_in("roc_auc", "ROC area", "ROC 曲线下面积", better="up"),
        _built_in("pr_auc", "PR area", "PR 曲线下面积", better="up"),
        _built_in("log_loss", "Log loss", "对数损失", better="down"),
        _built_in("brier", "Brier score", "Brier 分数", better="down"),
        _built_in("ece", "Expected calibration error", "期望校准误差", better="down"),
        _of_sets("micro_f1", "Micro F1", "微平均 F1", better="up", percent=True),
        _of_sets("label_macro_f1", "Macro F1 over labels", "标签宏平均 F1", better="up", percent=True),
        _of_sets("subset_accuracy", "Subset accuracy", "子集准确率", better="up", percent=True),
        _of_sets("label_ranking_precision", "Label ranking precision", "标签排序平均精度", better="up", percent=True),
        _of_sets("label_log_loss", "Log loss per label", "每标签对数损失", better="down"),
        _of_values("r2", "R²", "决定系数 R²", better="up"),
        _of_values("pearson", "Pearson correlation", "皮尔逊相关系数", better="up"),
        _of_values("spearman", "Spearman correlation", "斯皮尔曼相关系数", better="up"),
        _of_values("rmse", "Root mean squared error", "均方根误差", better="down"),
        _of_values("mae", "Mean absolute error", "平均绝对误差", better="down"),
        _of_values("weighted_kappa", "Quadratic weighted kappa", "二次加权 kappa", better="up"),
        _of_text("perplexity", "completions", "Perplexity", "困惑度", better="down"),
        _of_text("token_loss", "completions", "Loss per token", "每词元损失", better="down"),
        _of_text("token_accuracy", "completions", "Token accuracy", "词元准确率", better="up", percent=True),
        _of_text("exact_match", "answers", "Exact match", "完全匹配", better="up", percent=True),
        _of_text("rouge_l", "answers", "ROUGE-L", "ROUGE-L", better="up", percent=True),
        _of_text("ended", "answers", "Ended by itself", "自行结束", better="up", percent=True),
    )
}


def metrics_about(about: str) -> list[Metric]:
    """Return the metrics of one kind of scores, in the table's order."""
    return [metric for metric in METRICS.values() if metric.about == about]
