"""The metrics by name: one line each, and an entry added from anywhere is used everywhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from luthier.metrics import (
    classification,
    extraction,
    generation,
    matches,
    multi_label,
    ranking,
    regression,
    weighted,
)
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
            `entities` and `relations` (`MatchScores`), `extracts` (`ExtractionScores`), `ranking` (`RankingScores`),
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


def _of_ranking(name: str, label_en: str, label_zh: str, *, better: str = "up", percent: bool = False) -> Metric:
    """Return a metric of rankings."""
    function, statistic = ranking.FUNCTIONS[name], ranking.STATISTICS[name]
    return Metric(name, function, better == "up", label_en, label_zh, percent, statistic, "ranking")


def _of_matches(about: str, kind: str, label_en: str, label_zh: str) -> Metric:
    """Return a metric of what is found among what is there; its name is that of the function behind its subject."""
    function, statistic = getattr(matches, kind), getattr(matches, f"{kind}_statistic")
    name = f"{MATCHED[about]}_{kind.removeprefix('micro_')}"
    return Metric(name, function, True, label_en, label_zh, True, statistic, about)


def _of_extracts(name: str, label_en: str, label_zh: str) -> Metric:
    """Return a metric of extracted answers."""
    function, statistic = getattr(extraction, name), getattr(extraction, f"{name}_statistic")
    return Metric(name, function, True, label_en, label_zh, True, statistic, "extracts")


MATCHED = {"entities": "entity", "relations": "relation"}

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
        _of_text("bleu", "answers", "sacreBLEU", "sacreBLEU 分数", better="up"),
        _of_text("chrf", "answers", "chrF", "chrF 分数", better="up"),
        _of_text("rouge_1", "answers", "ROUGE-1", "ROUGE-1", better="up", percent=True),
        _of_text("rouge_2", "answers", "ROUGE-2", "ROUGE-2", better="up", percent=True),
        _of_text("rouge_l", "answers", "ROUGE-L", "ROUGE-L", better="up", percent=True),
        _of_text("ended", "answers", "Ended by itself", "自行结束", better="up", percent=True),
        _of_matches("entities", "micro_f1", "Entity F1", "实体 F1"),
        _of_matches("entities", "micro_precision", "Entity precision", "实体精确率"),
        _of_matches("entities", "micro_recall", "Entity recall", "实体召回率"),
        _of_matches("entities", "macro_f1", "Entity F1, mean over labels", "实体 F1（各标签平均）"),
        _of_matches("relations", "micro_f1", "Relation F1", "关系 F1"),
        _of_matches("relations", "micro_precision", "Relation precision", "关系精确率"),
        _of_matches("relations", "micro_recall", "Relation recall", "关系召回率"),
        _of_matches("relations", "macro_f1", "Relation F1, mean over labels", "关系 F1（各标签平均）"),
        _of_extracts("answer_f1", "Answer F1", "答案 F1"),
        _of_extracts("answer_exact", "Exact answers", "答案完全匹配"),
        _of_extracts("answerable_f1", "F1 where there is an answer", "有答案时的 F1"),
        _of_extracts("unanswerable_exact", "No answer where there is none", "无答案时的正确率"),
        _of_ranking("mrr", "Mean reciprocal rank", "平均倒数排名"),
        _of_ranking("ndcg_at_10", "nDCG at 10", "nDCG@10"),
        _of_ranking("map", "Mean average precision", "平均精度均值"),
        _of_ranking("recall_at_1", "Recall at 1", "召回率@1", percent=True),
        _of_ranking("recall_at_5", "Recall at 5", "召回率@5", percent=True),
        _of_ranking("recall_at_10", "Recall at 10", "召回率@10", percent=True),
        _of_ranking("ranking_loss", "Ranking loss", "排序损失", better="down"),
    )
}


def metrics_about(about: str) -> list[Metric]:
    """Return the metrics of one kind of scores, in the table's order."""
    return [metric for metric in METRICS.values() if metric.about == about]
