"""The sections with every number and with what was run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from luthier.artifacts.evaluation import MetricValue
from luthier.config import TrainStage
from luthier.config.writing import yaml_text
from luthier.reporting import numbers
from luthier.reporting.contents import ReportData
from luthier.reporting.parts import Cell, Code, Facts, Part, Section, Table
from luthier.reporting.words import Words


def metrics_section(data: ReportData, words: Words) -> Section:
    """Return all metrics of the model and the baselines side by side."""
    evaluation = data.evaluation
    columns = [evaluation.metrics, *(one.metrics for one in evaluation.baselines)]
    names = [words("this_model"), *(words.named("baseline", one.name) for one in evaluation.baselines)]
    rows = []
    for name in evaluation.metrics:
        look = numbers.look_of(name, words.language)
        strong = name == evaluation.headline
        arrow = {True: " \u2191", False: " \u2193", None: ""}[look.greater_is_better]
        first = Cell(f"{look.label}{arrow}", strong=strong)
        rows.append((first, *(_metric_cell(column.get(name), look, words, strong) for column in columns)))
    table = Table(head=(words("metrics.metric"), *names), rows=tuple(rows))
    about = words(
        "metrics.about",
        rows=numbers.count(evaluation.rows),
        split=words.named("split", evaluation.split).lower(),
        confidence=numbers.percent(evaluation.confidence, 0),
    )
    return Section("metrics", words("metrics.title"), about, (table,))


def _metric_cell(value: MetricValue | None, look: numbers.MetricLook, words: Words, strong: bool) -> Cell:
    if value is None:
        return Cell(numbers.UNDEFINED)
    shown = numbers.metric_text(value.value, look)
    return Cell(shown, small=numbers.interval_text(value, look, words), strong=strong)


def run_section(data: ReportData, words: Words) -> Section:
    """Return what it takes to understand or repeat the run."""
    parts: list[Part] = [Facts(words("run.facts"), tuple(_facts(data, words)))]
    if data.hardware:
        parts.append(Facts(words("run.machine"), tuple(_hardware(data.hardware, words))))
    if data.choices:
        parts.append(_choices(data.choices, words))
    if data.stages:
        parts.append(_stages(data, words))
    plan = yaml_text(data.plan.model_dump(mode="json"))
    parts.append(Code(words("run.config"), words("run.config.about"), plan))
    return Section("run", words("run.title"), "", tuple(parts))


def _facts(data: ReportData, words: Words) -> list[tuple[str, str]]:
    plan, task = data.plan, data.plan.task()
    facts = [
        (words("run.name"), plan.name),
        (words("run.task"), task.task),
        (words("run.model"), task.model.id),
        (words("run.method"), plan.only(TrainStage).method.name),
        (words("run.seed"), str(plan.seed)),
        (words("run.split_seed"), str(task.data.split.seed)),
        (words("run.version"), data.luthier),
    ]
    if data.check is not None and (step := data.check.step) is not None:
        both = f"{numbers.count(step.trainable_parameters)} / {numbers.count(step.parameters)}"
        facts += [(words("run.parameters"), both), (words("run.memory"), numbers.mebibytes(step.peak_memory_mib))]
    if data.ledger:
        facts.append((words("run.ledger"), numbers.count(len(data.ledger))))
        facts.append((words("run.tested"), str(data.ledger[-1].get("time", numbers.UNDEFINED))))
    facts.append((words("run.weights"), data.evaluation.weights_sha256))
    named = (
        (words("run.source", name=words.named("split", name).lower()), digest) for name, digest in data.sources.items()
    )
    return [*facts, *named]


def _hardware(hardware: Mapping[str, Any], words: Words) -> list[tuple[str, str]]:
    return [(words.named("hardware", name), _written(value)) for name, value in hardware.items() if value]


def _written(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _choices(choices: Mapping[str, Mapping[str, str]], words: Words) -> Table:
    rows = tuple(
        (Cell(words.named("choice", name)), Cell(choice.get("value", ""), strong=True), Cell(choice.get("reason", "")))
        for name, choice in choices.items()
    )
    head = (words("setting"), words("value"), words("reason"))
    return Table(head=head, rows=rows, title=words("run.choices"), words=3, half=True)


def _stages(data: ReportData, words: Words) -> Table:
    longest = max(stage.seconds for stage in data.stages.values()) or 1.0
    rows = [
        (
            Cell(words.named("stage", name)),
            Cell(numbers.seconds(stage.seconds, words), bar=stage.seconds / longest),
            Cell(numbers.seconds(stage.cpu_seconds, words)),
        )
        for name, stage in data.stages.items()
    ]
    total = sum(stage.seconds for stage in data.stages.values())
    processor = sum(stage.cpu_seconds for stage in data.stages.values())
    last = (words("run.total"), numbers.seconds(total, words), numbers.seconds(processor, words))
    rows.append(tuple(Cell(text, strong=True) for text in last))  # type: ignore[arg-type]
    head = (words("run.stage"), words("run.seconds"), words("run.cpu"))
    return Table(head=head, rows=tuple(rows), title=words("run.stages"), half=True)
