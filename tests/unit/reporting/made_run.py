"""A run made up for the tests of the report: real shapes, invented numbers, no training."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from luthier.artifacts.bundle import Backbone, BundleManifest, EntryPoint, Head, Preprocess, Runtime
from luthier.artifacts.check import CheckReport, Finding, SplitStatistics, StepEstimate
from luthier.artifacts.evaluation import (
    Baseline,
    CalibrationBlock,
    ConfusionBlock,
    EvalReport,
    Example,
    ExamplesBlock,
    MetricValue,
    PerClassBlock,
    PerClassRow,
    ReliabilityBin,
    SliceRow,
)
from luthier.artifacts.files import write_json_atomic
from luthier.artifacts.run import RunDir, StageRecord
from luthier.config import Plan, Project, resolve
from luthier.reporting.contents import ReportData

WEIGHTS = "9f2c61d7" * 8
HOSTILE = (
    '</style></title><script>window.broken = 1</script><img src=x onerror="window.broken = 2"> " \' & {{ 7*7 }} 🎻 אבג'
)
TEXTS = (
    "It's a thin notion, repetitively stretched out to feature length, awash in self-conscious camera effects.",
    "What a great way to spend 4 units of your viewing time.",
    "Not once in the rush to save the day did I become very involved in the proceedings; it was just a matter of ‘eh.’",
    "这部电影的前半段让人昏昏欲睡，后半段却意外地动人。",
    HOSTILE,
    "I'm not sure which is worse: the part where nothing happens, or the part where something does. " * 9,
    "فيلم جميل جدا، لكن النهاية كانت مخيبة للآمال.",
    "A smart, steamy mix of road movie, coming-of-age story and political satire.",
)


def plan(language: str = "en", **more: Any) -> Plan:
    """Return a plan such as a small project resolves to."""
    project = {
        "version": 1,
        "name": "movie-sentiment",
        "task": "text-classification",
        "model": "sample:minilm",
        "data": {"train": "sample:movie-reviews"},
        "report": {"language": language},
        **more,
    }
    return resolve(Project.model_validate(project))


def measured(value: float | None, half: float = 0.0145) -> MetricValue:
    """Return a value with an interval of a half width; none for a half width of 0."""
    if value is None or not half:
        return MetricValue(value=value)
    return MetricValue(value=value, interval=(round(value - half, 6), round(value + half, 6)))


def model_metrics() -> dict[str, MetricValue]:
    """Return the metrics of the made-up model."""
    shares = {"accuracy": 0.871, "balanced_accuracy": 0.8709, "macro_precision": 0.8713, "macro_recall": 0.8709}
    rest = {"mcc": 0.742, "roc_auc": 0.944, "pr_auc": 0.941, "log_loss": 0.318, "brier": 0.0968, "ece": 0.021}
    return {name: measured(value) for name, value in {**shares, "macro_f1": 0.871, **rest}.items()}


def baselines() -> list[Baseline]:
    """Return the two usual baselines, far behind and a little behind."""
    names = tuple(model_metrics())
    majority = dict(zip(names, (0.504, 0.5, 0.252, 0.5, 0.335, 0.0, 0.5, None, 0.693, 0.25, 0.004), strict=True))
    tfidf = dict(
        zip(names, (0.798, 0.798, 0.7985, 0.798, 0.798, 0.596, 0.881, 0.876, 0.439, 0.141, 0.032), strict=True)
    )
    return [
        Baseline(
            name="majority",
            metrics={name: measured(value, 0.021 if value else 0) for name, value in majority.items()},
            lead=measured(0.367, 0.024),
        ),
        Baseline(
            name="tfidf",
            metrics={name: measured(value, 0.017) for name, value in tfidf.items()},
            lead=MetricValue(value=0.0732, interval=(0.0553, 0.0904)),
        ),
    ]


def slices(labels: list[str]) -> list[SliceRow]:
    """Return slices by length, label and a column."""
    bands = {"0-15 tokens": 0.853, "16-23 tokens": 0.869, "24-32 tokens": 0.883, "33-71 tokens": 0.878}
    found = [SliceRow(column="length", value=name, rows=529, metric=measured(v, 0.029)) for name, v in bands.items()]
    found += [
        SliceRow(column="label", value=label, rows=1058 // (1 + i), metric=measured(0.86 + 0.002 * (i % 9), 0.021))
        for i, label in enumerate(labels[:20])
    ]
    sources = {"Rotten Tomatoes, critics' consensus archive": 0.881, "豆瓣": 0.79, "IMDb": 0.842, "other": None}
    found += [SliceRow(column="source", value=name, rows=211, metric=measured(v, 0.05)) for name, v in sources.items()]
    return found


def confusion(labels: list[str], rows: int = 2117, seed: int = 3) -> ConfusionBlock:
    """Return a confusion matrix that is mostly right."""
    if len(labels) == 2:
        return ConfusionBlock(labels=labels, counts=[[927, 138], [135, 917]])
    generator = np.random.default_rng(seed)
    per = rows // len(labels)
    counts = []
    for i in range(len(labels)):
        weights = generator.gamma(0.15, size=len(labels))
        weights[i] = 6 * weights.sum() + 0.1
        counts.append(generator.multinomial(per, weights / weights.sum()).tolist())
    return ConfusionBlock(labels=labels, counts=counts)


def reliability(shift: float, bins: int = 15) -> list[ReliabilityBin]:
    """Return bins of a binary model that is overconfident by `shift`."""
    edges = np.linspace(0, 1, bins + 1)
    found = []
    for low, high in pairwise(edges.tolist()):
        if high <= 0.5 + 1e-9:
            found.append(ReliabilityBin(lower=low, upper=high, confidence=None, accuracy=None, count=0))
            continue
        confidence = float((max(low, 0.5) + high) / 2)
        accuracy = min(1.0, confidence - shift * math.sin(math.pi * (confidence - 0.5) * 2) + 0.01 * math.cos(40 * low))
        rows = int(40 + 1100 * (confidence - 0.5) ** 3 / 0.125)
        found.append(ReliabilityBin(lower=low, upper=high, confidence=confidence, accuracy=accuracy, count=rows))
    return found


def examples(name: str, number: int, labels: list[str]) -> ExamplesBlock:
    """Return rows to look at, hostile ones among them."""
    rows = [
        Example(
            place=f"movie-reviews:{217 * (i + 1)}",
            inputs={"text": TEXTS[i % len(TEXTS)]},
            target=labels[i % len(labels)],
            predicted=labels[(i + 1) % len(labels)],
            probability=0.998 - 0.004 * i,
        )
        for i in range(number)
    ]
    split = "test" if name == "mistakes" else "validation and test"
    return ExamplesBlock(name=name, split=split, total=273 if number else 0, rows=rows)  # type: ignore[arg-type]


def evaluation(labels: tuple[str, ...] = ("negative", "positive"), **changes: Any) -> EvalReport:
    """Return an evaluation with every kind of block."""
    names = list(labels)
    matrix = confusion(names)
    quality = [
        PerClassRow(label=name, precision=0.88 - 0.003 * i % 0.8, recall=0.85 + 0.002 * i % 0.1, f1=0.87, support=1000)
        for i, name in enumerate(names)
    ]
    report = EvalReport(
        task="text-classification",
        split="test",
        rows=2117,
        weights_sha256=WEIGHTS,
        headline="accuracy",
        confidence=0.95,
        metrics=model_metrics() | {"accuracy": MetricValue(value=0.871, interval=(0.8563, 0.8847))},
        baselines=baselines(),
        slices=slices(names),
        blocks=[
            matrix,
            PerClassBlock(rows=quality),
            CalibrationBlock(
                temperature=1.63,
                error_before=0.061,
                error_after=0.021,
                before=reliability(0.09),
                after=reliability(0.015),
            ),
            examples("mistakes", 14, names),
            examples("label_issues", 9, names),
        ],
    )
    return report.model_copy(update=changes)


def split_statistics(rows: int, labels: tuple[str, ...], cut: int = 0) -> SplitStatistics:
    """Return statistics of a split whose lengths look like those of sentences."""
    edges = np.arange(0, 76, 3)
    middle = edges[:-1] + 1.5
    weights = middle**2 * np.exp(-middle / 8.0)
    counts = np.round(rows * weights / weights.sum()).astype(int)
    bins = [*zip(edges[:-1].tolist(), edges[1:].tolist(), counts.tolist(), strict=True), (75, 131, max(1, rows // 200))]
    return SplitStatistics(
        rows=rows,
        labels={label: rows // len(labels) + 3 * i for i, label in enumerate(labels)},
        tokens=rows * 25,
        length_quantiles={"0.5": 24, "0.9": 42, "0.95": 47, "0.99": 58, "1": 130},
        cut_rows=cut,
        unknown_share=0.00013,
        scripts={"Latin": 0.9991, "Han": 0.0006, "Cyrillic": 0.0003},
        length_histogram=bins,
    )


def check(labels: tuple[str, ...] = ("negative", "positive"), max_length: int = 64, cut: int = 212) -> CheckReport:
    """Return a check with findings of every severity."""
    return CheckReport(
        findings=[
            Finding(severity="note", code="repaired", place="data", message="2 rows lost white space.", count=2),
            Finding(
                severity="warning",
                code="near-duplicates",
                place="train",
                message="31 training texts are near duplicates of another one (Jaccard at least 0.9).",
                fix="Remove them, or keep each group in one split with data.group.",
                count=31,
                examples=["movie-reviews:17", "movie-reviews:4410", "movie-reviews:9001"],
            ),
            Finding(
                severity="error",
                code="leak",
                place="test",
                message=f"2 test texts stand in the training rows as well: {HOSTILE}",
                fix="Take them out of one of the two, or test numbers flatter.",
                count=2,
            ),
        ],
        splits={
            "train": split_statistics(7397, labels, cut),
            "validation": split_statistics(1054, labels, cut // 7),
            "test": split_statistics(2117, labels, cut // 4),
        },
        max_length=max_length,
        padding_share=0.034,
        step=StepEstimate(
            trainable_parameters=22_713_986,
            parameters=22_713_986,
            steps_measured=3,
            rows_per_second=226.4,
            seconds_per_epoch=32.7,
            peak_memory_mib=1320.5,
            choices={"precision": "bf16 (the processor has avx512_bf16)"},
        ),
    )


def history(steps: int = 594, epochs: int = 3, seed: int = 5) -> list[dict[str, Any]]:
    """Return lines of `metrics.jsonl`."""
    generator = np.random.default_rng(seed)
    lines: list[dict[str, Any]] = []
    for step in range(1, steps + 1):
        done = step / steps
        epoch = min(epochs - 1, int(done * epochs - 1e-9))
        rate = 1e-4 * min(done / 0.06, (1 - done) / 0.94)
        loss = 0.16 + 0.55 * math.exp(-4 * done) + 0.09 * float(generator.standard_normal()) * math.exp(-done)
        norm = 1.2 + 2 * math.exp(-5 * done) + abs(float(generator.standard_normal()))
        line = {"kind": "step", "step": step, "epoch": epoch, "loss": max(0.02, loss), "lr": rate, "grad_norm": norm}
        lines.append({**line, "rows": 37, "tokens": 990})
        if epochs <= 50 and step == -(-steps * (epoch + 1) // epochs):
            accuracy, loss = 0.842 + 0.013 * epoch - 0.004 * epoch**2, 0.37 - 0.03 * epoch
            found = {"accuracy": accuracy, "log_loss": loss, "best": epoch == 1 or epochs == 1}
            lines.append({"kind": "validation", "step": step, "epoch": epoch, **found})
    return lines


CHOICES = {
    "device": {"value": "cpu", "reason": "no GPU is present"},
    "precision": {"value": "bf16", "reason": "the processor has avx512_bf16"},
    "attention": {"value": "eager", "reason": "on a CPU eager trains faster at 47 tokens (95th percentile)"},
    "threads": {"value": "2", "reason": "all that torch sees"},
}
HARDWARE = {
    "processor": "Example 9000 8-Core Processor",
    "cores": 2,
    "threads": 2,
    "memory_gib": 15.6,
    "matrix_flags": ["avx2", "avx512_bf16", "avx512_vnni", "avx512f"],
    "gpu": None,
    "system": "Linux x86_64",
    "python": "3.11.9",
    "torch": "2.13.0",
    "transformers": "5.3.0",
}
STAGES = {
    "check": StageRecord("a", {}, 14.2, 21.9, {"findings": 3}),
    "train": StageRecord("b", {}, 118.4, 231.0, {"rows": 22191, "seconds": 98.6, "steps": 594, "best_step": 396}),
    "evaluate": StageRecord("c", {}, 24.8, 39.5, {}),
    "bundle": StageRecord("d", {}, 3.1, 4.4, {}),
}
LEDGER = ({"time": "2025-06-01T12:00:00Z", "split": "test", "rows": 2117, "weights_sha256": WEIGHTS},)


def report_data(language: str = "en", labels: tuple[str, ...] = ("negative", "positive"), **changes: Any) -> ReportData:
    """Return a whole made-up run."""
    whole: dict[str, Any] = {
        "plan": plan(language),
        "evaluation": evaluation(labels),
        "check": check(labels),
        "history": tuple(history()),
        "choices": CHOICES,
        "hardware": HARDWARE,
        "stages": STAGES,
        "ledger": LEDGER,
        "sources": {"train": "5b1e" * 16},
        "luthier": "0.1.0",
    }
    return ReportData(**(whole | changes))


def write_run(folder: Path, data: ReportData) -> RunDir:
    """Write a made-up run's files as the pipeline would."""
    record = RunDir(folder)
    data.evaluation.write(folder / "evaluation.json")
    if data.check is not None:
        (folder / "check").mkdir()
        data.check.write(folder / "check" / "check.json")
    (folder / "train").mkdir()
    lines = "".join(f"{json.dumps(line)}\n" for line in data.history)
    (folder / "train" / "metrics.jsonl").write_text(lines + '{"kind": "st', encoding="utf-8")
    write_json_atomic(
        folder / "choices.json", {"made_from": "x", "choices": dict(data.choices), "hardware": dict(data.hardware)}
    )
    kept = {"plan": data.plan.model_dump(mode="json"), "inputs": {"sources": dict(data.sources)}}
    write_json_atomic(folder / "plan.json", {**kept, "luthier": data.luthier})
    (folder / "ledger.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in data.ledger), encoding="utf-8")
    for name, stage in data.stages.items():
        record.finish(
            name,
            fingerprint=stage.fingerprint,
            outputs=[],
            seconds=stage.seconds,
            cpu_seconds=stage.cpu_seconds,
            result=stage.result,
        )
    return record


def manifest(source: str = "sample:minilm", labels: tuple[str, ...] = ("negative", "positive")) -> BundleManifest:
    """Return the manifest of the made-up run's bundle."""
    return BundleManifest(
        name="movie-sentiment",
        luthier="0.1.0",
        backbone=Backbone(folder="model", model_type="bert", source=source, prefix="bert."),
        heads=[Head(name="main", kind="classification", settings={"classes": len(labels)}, tensors={})],
        entry_points=[
            EntryPoint(
                task="text-classification",
                head="main",
                targets={"labels": list(labels), "values": {label: label for label in labels}},
                calibration={"temperature": 1.63},
                preprocess=Preprocess(
                    max_length=64, truncation_side="right", columns={"text": "text", "label": "label"}
                ),
            )
        ],
        runtimes=[Runtime(name="torch", precision="fp32", tolerance=1e-5, raw_tolerance=1e-4, processor={"flags": []})],
        weights_sha256=WEIGHTS,
    )
