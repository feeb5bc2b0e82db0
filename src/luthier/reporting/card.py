"""The model card: what a stranger who finds the bundle has to know, as Markdown that model hubs read.

The front matter holds only what is certain: a licence that the project states, a base model with a hub id, a task that
hubs know, a language that its script gives away. The rest is said in words.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from luthier.artifacts.bundle import BundleManifest, EntryPoint
from luthier.artifacts.check import CheckReport
from luthier.artifacts.evaluation import EvalReport
from luthier.config import BundleStage, Plan
from luthier.config.writing import yaml_text
from luthier.reporting import numbers
from luthier.reporting.markdown import code, fence, inline, table
from luthier.reporting.verdict import verdict
from luthier.reporting.words import Words, words
from luthier.samples import SAMPLES
from luthier.tasks import TASKS

HUB_TASKS = frozenset(
    {
        "text-classification",
        "token-classification",
        "question-answering",
        "fill-mask",
        "summarization",
        "translation",
        "text-generation",
        "sentence-similarity",
        "feature-extraction",
        "zero-shot-classification",
    }
)
HUB_LICENCES = frozenset(
    {
        "apache-2.0",
        "mit",
        "bsd-2-clause",
        "bsd-3-clause",
        "cc0-1.0",
        "cc-by-4.0",
        "cc-by-sa-4.0",
        "cc-by-nc-4.0",
        "gpl-3.0",
        "lgpl-3.0",
        "agpl-3.0",
        "mpl-2.0",
        "openrail",
        "unlicense",
    }
)
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
CHINESE_SHARE = 0.5
SAMPLE = "sample:"


def model_card(*, manifest: BundleManifest, evaluation: EvalReport, check: CheckReport, plan: Plan) -> str:
    """Return the model card of a bundle.

    Args:
        manifest: of the bundle; its first entry point is the one described.
        evaluation: of these weights.
        check: of the rows they were trained on.
        plan: what was asked for.

    Returns:
        Markdown with YAML front matter.
    """
    entry = manifest.entry_points[0]
    sections = [
        _what(manifest, entry),
        _use(entry, evaluation),
        _data(check, plan),
        _results(evaluation),
        _limits(manifest, entry, check, evaluation),
        _loading(entry),
        _licence(manifest, plan),
        _hashes(manifest, evaluation),
    ]
    front = yaml_text(_front_matter(manifest, entry, evaluation, check, plan))
    return f"---\n{front}---\n\n" + "\n\n".join(sections) + "\n"


def _front_matter(
    manifest: BundleManifest, entry: EntryPoint, evaluation: EvalReport, check: CheckReport, plan: Plan
) -> dict[str, Any]:
    front: dict[str, Any] = {}
    licence = plan.only(BundleStage).spec.licence
    if licence is not None:
        known = licence.lower() in HUB_LICENCES
        front |= {"license": licence.lower()} if known else {"license": "other", "license_name": licence}
    if (language := _language(check)) is not None:
        front["language"] = [language]
    front["library_name"] = "transformers"
    if entry.task in HUB_TASKS:
        front["pipeline_tag"] = entry.task
    if HUB_ID.fullmatch(manifest.backbone.source):
        front["base_model"] = manifest.backbone.source
    front["tags"] = ["luthier", manifest.backbone.model_type, entry.task]
    front["metrics"] = [name for name, value in evaluation.metrics.items() if value.value is not None]
    front["model-index"] = [{"name": manifest.name, "results": [_index_entry(entry, evaluation, plan)]}]
    return front


def _index_entry(entry: EntryPoint, evaluation: EvalReport, plan: Plan) -> dict[str, Any]:
    source = plan.task().data.test or plan.task().data.train
    kind = source if HUB_ID.fullmatch(source) else "custom"
    return {
        "task": {"type": entry.task, "name": entry.task},
        "dataset": {"type": kind, "name": source, "split": evaluation.split},
        "metrics": [
            {"type": name, "name": numbers.look_of(name, "en").label, "value": round(value.value, 6)}
            for name, value in evaluation.metrics.items()
            if value.value is not None
        ],
    }


def _language(check: CheckReport) -> str | None:
    """Return `zh` where the training rows are mostly Han without kana; the Latin script does not tell a language."""
    scripts = check.splits["train"].scripts if "train" in check.splits else {}
    share = {name.lower(): value for name, value in scripts.items()}
    kana = share.get("hiragana", 0.0) + share.get("katakana", 0.0)
    return "zh" if share.get("han", 0.0) >= CHINESE_SHARE and kana < 0.05 else None


def _what(manifest: BundleManifest, entry: EntryPoint) -> str:
    labels = _labels(entry)
    lines = [
        f"# {inline(manifest.name)}",
        "",
        f"A {inline(manifest.backbone.model_type)} model for {inline(entry.task)}, fine-tuned with Luthier "
        f"{manifest.luthier} from {code(manifest.backbone.source)}.",
    ]
    if labels:
        lines += ["", f"It answers with one of {len(labels)} labels: {_listed(labels)}."]
    return "\n".join(lines)


def _labels(entry: EntryPoint) -> list[str]:
    labels = entry.targets.get("labels", [])
    return [str(label) for label in labels] if isinstance(labels, Sequence) and not isinstance(labels, str) else []


def _listed(names: Sequence[str], most: int = 30) -> str:
    shown = ", ".join(code(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more (manifest.json has them all)"


def _use(entry: EntryPoint, evaluation: EvalReport) -> str:
    columns = ", ".join(code(role) for role in entry.preprocess.columns)
    return "\n".join(
        [
            "## Intended use",
            "",
            f"Inputs like the rows it was trained on (roles: {columns}), one at a time or in batches. "
            f"{verdict(evaluation, _english()).text}",
            "",
            "Not for decisions about people without a human who can overrule it, and not for inputs of another kind, "
            "language or time than the training rows: nothing here was measured on them.",
        ]
    )


def _data(check: CheckReport, plan: Plan) -> str:
    data = plan.task().data
    sources = {"training": data.train, "validation": data.validation, "test": data.test}
    given = [f"{name}: {code(source)}" for name, source in sources.items() if source is not None]
    head = ["Split", "Rows", "Labels (rows)", "Cut at the limit", "Unknown tokens"]
    rows = [
        [
            name,
            numbers.count(split.rows),
            _label_counts(split.labels),
            numbers.count(split.cut_rows),
            numbers.small_share(split.unknown_share),
        ]
        for name, split in check.splits.items()
    ]
    lines = [
        "## Data",
        "",
        f"Sources: {'; '.join(given)}. Seed of the split: {data.split.seed}.",
        "",
        *table(head, rows),
    ]
    serious = [one for one in check.findings if one.severity != "note"]
    if serious:
        lines += ["", "The check before training found:", ""]
        lines += [f"- {one.severity}, {code(one.code)}, {inline(one.place)}: {inline(one.message)}" for one in serious]
    return "\n".join(lines)


def _label_counts(labels: dict[str, int], most: int = 8) -> str:
    ordered = sorted(labels.items(), key=lambda pair: (-pair[1], pair[0]))
    shown = ", ".join(f"{inline(name)} {numbers.count(rows)}" for name, rows in ordered[:most])
    return shown if len(ordered) <= most else f"{shown}, {len(ordered) - most} more"


def _results(evaluation: EvalReport) -> str:
    text = _english()
    share = numbers.percent(evaluation.confidence, 0)
    names = ["This model", *(text.named("baseline", one.name) for one in evaluation.baselines)]
    columns = [evaluation.metrics, *(one.metrics for one in evaluation.baselines)]
    rows = []
    for name in evaluation.metrics:
        look = numbers.look_of(name, "en")
        cells = [
            _with_interval(column[name].value, numbers.interval_text(column[name], look, text), look)
            if name in column
            else numbers.UNDEFINED
            for column in columns
        ]
        rows.append([f"**{inline(look.label)}**" if name == evaluation.headline else inline(look.label), *cells])
    return "\n".join(
        [
            "## Results",
            "",
            f"On {numbers.count(evaluation.rows)} {evaluation.split} rows that training never saw; in brackets "
            f"{share} bootstrap intervals. Baselines were fitted on the same training rows.",
            "",
            *table(["Metric", *names], rows),
        ]
    )


def _with_interval(value: float | None, interval: str, look: numbers.MetricLook) -> str:
    shown = numbers.metric_text(value, look)
    return f"{shown} ({interval})" if interval else shown


def _limits(manifest: BundleManifest, entry: EntryPoint, check: CheckReport, evaluation: EvalReport) -> str:
    limit, side = entry.preprocess.max_length, entry.preprocess.truncation_side
    test = check.splits.get(evaluation.split)
    cut = "" if test is None else f" ({numbers.count(test.cut_rows)} of {numbers.count(test.rows)} test rows)"
    windows = entry.task in TASKS and TASKS[entry.task].windows
    slices = list(dict.fromkeys(one.column for one in evaluation.slices))
    covered = [
        f"quality on {numbers.count(evaluation.rows)} {evaluation.split} rows from the same sources as training",
        *([f"quality on parts of them, by {', '.join(map(inline, slices))} (evaluation.json)"] if slices else []),
        *([f"texts of any length: they are read through windows of {limit} tokens"] if windows else []),
        f"equal answers wherever it runs: golden examples are replayed at every load, in "
        f"{manifest.runtimes[0].precision} within {manifest.runtimes[0].tolerance:g}",
    ]
    uncovered = [
        "rows from elsewhere, other languages, later times, and texts written to fool it",
        "fairness between groups of people, unless a column above names them",
        *([] if windows else [f"what stands beyond {limit} tokens: it is cut off at the {side} end{cut}"]),
    ]
    return "\n".join(
        [
            "## Limits",
            "",
            "Covered:",
            "",
            *(f"- {one}" for one in covered),
            "",
            "Not covered:",
            "",
            *(f"- {one}" for one in uncovered),
        ]
    )


def _loading(entry: EntryPoint) -> str:
    lines = [
        "## How to load",
        "",
        "With Luthier, which checks every hash, replays the golden examples and applies the calibration:",
        "",
        *fence("python", ["import luthier", "", 'model = luthier.load("path/to/bundle")', 'model.predict(["..."])']),
        "",
        *fence("sh", ["luthier serve path/to/bundle", "luthier predict path/to/bundle input.csv -o answers.csv"]),
    ]
    if entry.adapter is not None:
        lines += ["", "`model/` is the base alone: with Transformers alone it does not give this model's answers."]
    elif entry.task in HUB_TASKS:
        call = f'pipeline({json.dumps(entry.task)}, model="path/to/bundle/model")'
        lines += ["", "With Transformers alone (`model/` is a plain folder):", ""]
        lines += fence("python", ["from transformers import pipeline", "", f"model = {call}", 'model("...")'])
    if entry.calibration:
        fitted = ", ".join(f"{name} {value:.4g}" for name, value in entry.calibration.items())
        lines += [
            "",
            f"The calibration ({inline(fitted)}) lives in manifest.json. Transformers alone does not know of it: its "
            "labels are the same, its probabilities are not calibrated.",
        ]
    return "\n".join(lines)


def _licence(manifest: BundleManifest, plan: Plan) -> str:
    own, data = plan.only(BundleStage).spec.licence, plan.task().data
    stated = f"{inline(own)}, as the project states." if own else "the project states no licence."
    notes = [f"These weights: {stated}", _licence_of("The base model", manifest.backbone.source)]
    given = dict.fromkeys(source for source in (data.train, data.validation, data.test) if source is not None)
    notes += [_licence_of("Rows", source) for source in given]
    return "\n".join(["## Licence", "", *(f"- {note}" for note in notes)])


def _licence_of(what: str, source: str) -> str:
    sample = SAMPLES.get(source.removeprefix(SAMPLE)) if source.startswith(SAMPLE) else None
    if sample is not None:
        return f"{what}, {code(source)}: {inline(sample.licence)}. Source: {inline(sample.source)}."
    return f"{what}, {code(source)}: its licence is not known to Luthier. Look it up before you pass this on."


def _hashes(manifest: BundleManifest, evaluation: EvalReport) -> str:
    lines = [
        "## Where it comes from",
        "",
        f"- Weights (sha256): `{manifest.weights_sha256}`",
        f"- Evaluated weights (sha256): `{evaluation.weights_sha256}`",
    ]
    if manifest.parent is not None:
        lines.append(f"- Made from the bundle (sha256 of its manifest): `{manifest.parent}`")
    lines.append(
        "- manifest.json holds the sha256 and size of every file; `luthier verify path/to/bundle` checks them."
    )
    return "\n".join(lines)


def _english() -> Words:
    return words("en")
