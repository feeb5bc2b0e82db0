"""The data check: what is worth knowing before weights load. Everything wrong is found at once.

Covered: labels, duplicates and leaks, lengths, unknown tokens, characters, suspected personal data, signs of wrong
labels and of nothing to learn. Not covered: bias, truth, copyright, and near copies that differ in more than their
characters.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from luthier.artifacts.check import CheckReport, Finding, Severity, SplitStatistics
from luthier.data import personal, scripts
from luthier.data.draws import generator
from luthier.data.duplicates import first_of_equals, near_duplicates
from luthier.data.rows import Repair, Rows
from luthier.data.signal import cross_fit
from luthier.metrics.label_issues import find_label_issues

BLOCK = 8192
SHOWN = 5
QUANTILES = (0.5, 0.9, 0.95, 0.99, 1.0)
BARS = 24
IntArray = NDArray[np.int64]

FINDINGS: dict[str, str] = {
    "few-rows": "A split has so few rows that its numbers say little.",
    "rare-label": "A label has too few training rows to be learnt.",
    "absent-label": "A label of the training rows does not occur in another split.",
    "imbalance": "One label holds nearly all training rows.",
    "duplicates": "A split holds the same text more than once.",
    "near-duplicates": "A split holds texts that are nearly the same.",
    "leak": "The same text stands in the training rows and in another split.",
    "near-leak": "Nearly the same text stands in the training rows and in another split.",
    "cut": "Texts are longer than the length limit and lose their end (or start).",
    "cut-targets": "Targets are longer than their limit and lose their end, so that no end is learnt from them.",
    "unknown-tokens": "The tokenizer does not know a good part of the text.",
    "broken-characters": "Texts hold replacement, control or wrongly decoded characters.",
    "new-script": "A split is written in a script that the training rows lack.",
    "personal-data": "Texts seem to hold personal data.",
    "suspect-labels": "A simple model, fitted on other rows, contradicts labels strongly.",
    "no-signal": "A simple model does no better than always saying the most frequent label.",
    "nothing-to-learn": "Rows keep no token that is learnt: the prompt alone reaches the length limit.",
    "repaired": "Rows or cells were changed or left out while reading.",
}


@dataclass(frozen=True)
class SplitView:
    """One split as the check sees it.

    Attributes:
        name: `train`, `validation` or `test`.
        rows: the source.
        index: (N,) row numbers in the source.
        inputs: names of the input columns.
        target: (N,) class numbers.
        tokens: (N,) after the limit.
        full_length: (N,) tokens before the limit.
        unknown: (N,) unknown tokens.
        labelled: (N,) tokens that are learnt; None where a row is learnt as a whole.
        cut: (N,) whether a row loses tokens to the limit; None where every longer one does.
        cut_labels: (N,) above 0 where the target is cut; None where targets have no length.
    """

    name: str
    rows: Rows
    index: IntArray
    inputs: tuple[str, ...]
    target: IntArray
    tokens: IntArray
    full_length: NDArray[np.integer]
    unknown: NDArray[np.integer]
    labelled: NDArray[np.integer] | None = None
    cut: NDArray[np.integer] | None = None

    def is_cut(self, limit: int) -> NDArray[np.bool_]:
        """Return (N,) whether a row loses tokens to the length limit."""
        found: NDArray[np.bool_] = self.full_length > limit if self.cut is None else self.cut > 0
        return found

    cut_labels: NDArray[np.integer] | None = None

    def texts(self, positions: IntArray | None = None) -> Iterator[str]:
        """Yield each row's inputs as one text, block by block."""
        numbers = self.index if positions is None else self.index[positions]
        for start in range(0, len(numbers), BLOCK):
            cells = [self.rows.column(name, numbers[start : start + BLOCK]) for name in self.inputs]
            yield from (" ".join(map(str, row)) for row in zip(*cells, strict=True))

    def places(self, positions: Sequence[int] | IntArray) -> list[str]:
        """Return where the first few of some rows stand."""
        return [self.rows.place(int(self.index[position])) for position in positions[:SHOWN]]


def check_data(
    views: Sequence[SplitView],
    *,
    labels: Sequence[str],
    max_length: int,
    position_limit: int | None,
    repairs: Sequence[Repair] = (),
    near_duplicate_threshold: float = 0.9,
    sample: int = 200_000,
    seed: int = 13,
) -> CheckReport:
    """Return findings and statistics.

    Args:
        views: the splits, `train` among them.
        labels: names of the classes; empty where targets are not classes.
        max_length: the length limit in tokens.
        position_limit: the most tokens that the model takes, or None.
        repairs: what the readers changed or left out.
        near_duplicate_threshold: Jaccard similarity of character 5-grams from which texts are near duplicates.
        sample: rows that the near-duplicate search looks at; above it, a seeded sample of that size.
        seed: of samples.
    """
    train = next(view for view in views if view.name == "train")
    found: list[Finding] = [_repaired(repair) for repair in repairs]
    statistics = {}
    profiles = {view.name: scripts.profile(view.texts()) for view in views}
    for view in views:
        statistics[view.name] = _statistics(view, labels, profiles[view.name], max_length)
        found += _labels(view, train, labels)
        found += _lengths(view, max_length, position_limit)
        found += _characters(view, profiles[view.name], profiles["train"])
        found += _personal(view)
    found += _duplicates(views)
    found += _near_duplicates(views, near_duplicate_threshold, sample, seed)
    if labels:
        found += _signal(train, len(labels), seed)
    order = {"error": 0, "warning": 1, "note": 2}
    found.sort(key=lambda one: order[one.severity])
    return CheckReport(findings=found, splits=statistics, max_length=max_length)


def _finding(
    severity: Severity, code: str, place: str, message: str, fix: str = "", count: int = 0, examples: Sequence[str] = ()
) -> Finding:
    assert code in FINDINGS, f"{code} is not in FINDINGS"
    return Finding(
        severity=severity, code=code, place=place, message=message, fix=fix, count=count, examples=list(examples)
    )


def _repaired(repair: Repair) -> Finding:
    message = f"{repair.code}: {repair.count} {repair.message}."
    return _finding("warning", "repaired", "data", message, count=repair.count, examples=repair.places)


def _statistics(view: SplitView, labels: Sequence[str], profile: scripts.ScriptProfile, limit: int) -> SplitStatistics:
    counts = np.bincount(view.target, minlength=len(labels))
    return SplitStatistics(
        rows=len(view.index),
        labels={label: int(count) for label, count in zip(labels, counts, strict=bool(labels))},
        tokens=int(view.tokens.sum()),
        length_quantiles={f"{q:g}": int(np.quantile(view.full_length, q, method="higher")) for q in QUANTILES},
        cut_rows=int(view.is_cut(limit).sum()),
        unknown_share=float(view.unknown.sum() / max(1, view.tokens.sum())),
        scripts={name: round(share, 6) for name, share in profile.shares().items()},
        length_histogram=_histogram(view.full_length),
    )


def _histogram(lengths: NDArray[np.integer]) -> list[tuple[int, int, int]]:
    """Return (from, to, rows) bars up to the 99.5th percentile, and one for the rest."""
    high = int(np.quantile(lengths, 0.995, method="higher"))
    step = max(1, -(-high // BARS))
    edges = np.arange(0, high + step, step)
    counts, _ = np.histogram(lengths, [*edges, max(int(lengths.max()) + 1, int(edges[-1]) + 1)])
    bounds = [*edges.tolist(), int(lengths.max()) + 1]
    return [(bounds[i], bounds[i + 1], int(count)) for i, count in enumerate(counts) if i < len(bounds) - 1]


def _labels(view: SplitView, train: SplitView, labels: Sequence[str]) -> Iterator[Finding]:
    counts = np.bincount(view.target, minlength=len(labels))
    total = len(view.target)
    if total < 50:
        fix = "Give more rows; read every number with its interval."
        yield _finding("warning", "few-rows", view.name, f"{total} rows.", fix, total)
    if not labels:
        return
    if view is train:
        rare = [f'"{label}" ({count})' for label, count in zip(labels, counts, strict=True) if count < 8]
        if rare:
            message = f"labels with fewer than 8 training rows: {', '.join(rare[:10])}."
            yield _finding("warning", "rare-label", view.name, message, "Add rows, or merge labels.", len(rare))
        top = int(counts.argmax())
        if counts[top] > 0.9 * total:
            message = f'"{labels[top]}" holds {counts[top] / total:.1%} of the rows.'
            fix = "Set train.class_weights: balanced and train.select_by: macro_f1; do not trust accuracy."
            yield _finding("warning", "imbalance", view.name, message, fix, int(counts[top]))
    else:
        absent = [label for label, count in zip(labels, counts, strict=True) if not count]
        if absent:
            message = f"no row has {', '.join(absent[:10])}."
            fix = "Give this split rows of every label, or set data.split.stratified: true."
            yield _finding("warning", "absent-label", view.name, message, fix, len(absent))


def _lengths(view: SplitView, limit: int, positions: int | None) -> Iterator[Finding]:
    cut = np.flatnonzero(view.is_cut(limit))
    share = len(cut) / max(1, len(view.index))
    if len(cut):
        wanted = int(np.quantile(view.full_length, 0.99, method="higher"))
        better = min(wanted, positions) if positions is not None else wanted
        fix = f"Set model.max_length: {better} to keep 99 % of the rows whole." if better > limit else ""
        if not fix:
            fix = "Put what matters first, split long texts, or set model.truncation_side: left."
        message = (
            f"{len(cut)} rows ({share:.2%}) are longer than {limit} tokens; the longest has {view.full_length.max()}."
        )
        severity: Severity = "warning" if share > 0.01 else "note"
        yield _finding(severity, "cut", view.name, message, fix, len(cut), view.places(cut))
    mute = np.flatnonzero(view.labelled == 0) if view.labelled is not None else np.empty(0, np.int64)
    if len(mute):
        message = f"{len(mute)} rows ({len(mute) / len(view.index):.2%}) keep no token to learn within {limit} tokens."
        fix = f"Set model.max_length: {int(view.full_length[mute].max())}, or shorten these prompts, or take them out."
        yield _finding("error", "nothing-to-learn", view.name, message, fix, len(mute), view.places(mute))
    short = np.flatnonzero(view.cut_labels) if view.cut_labels is not None else np.empty(0, np.int64)
    if len(short):
        share = len(short) / len(view.index)
        message = f"{len(short)} rows ({share:.2%}) have a target that is longer than its limit and loses its end."
        fix = "Raise the task's max_target_length, or shorten these targets."
        severity = "warning" if share > 0.01 else "note"
        yield _finding(severity, "cut-targets", view.name, message, fix, len(short), view.places(short))
    unknown = view.unknown.sum() / max(1, view.tokens.sum())
    if unknown > 0.01:
        worst = np.argsort(-view.unknown, kind="stable")[:SHOWN]
        message = f"{unknown:.1%} of the tokens are unknown to the tokenizer."
        fix = "Choose a model whose tokenizer covers this language."
        severity = "error" if unknown > 0.3 else "warning"
        yield _finding(severity, "unknown-tokens", view.name, message, fix, int(view.unknown.sum()), view.places(worst))


def _characters(view: SplitView, profile: scripts.ScriptProfile, train: scripts.ScriptProfile) -> Iterator[Finding]:
    if profile.signs:
        listed = ", ".join(f"{sign} in {count} rows" for sign, count in sorted(profile.signs.items()))
        rows = sorted({row for found in profile.sign_rows.values() for row in found})
        fix = "Read the file with its true data.encoding, or clean these rows."
        count = max(profile.signs.values())
        yield _finding("warning", "broken-characters", view.name, f"{listed}.", fix, count, view.places(rows))
    new = scripts.unseen(train, profile)
    if view.name != "train" and new:
        listed = ", ".join(f"{name} ({rows} rows)" for name, rows in sorted(new.items()))
        fix = "Train on rows in every script that you will meet."
        yield _finding(
            "warning", "new-script", view.name, f"the training rows have no {listed}.", fix, sum(new.values())
        )


def _personal(view: SplitView) -> Iterator[Finding]:
    found = personal.suspects(view.texts())
    rows = int(found.rows.sum())
    if rows:
        listed = ", ".join(f"{kind}: {count}" for kind, count in sorted(found.texts.items()))
        fix = "Remove or mask it unless you may keep it; a model can repeat what it saw."
        yield _finding("warning", "personal-data", view.name, f"{rows} rows ({listed}).", fix, rows)


def _duplicates(views: Sequence[SplitView]) -> Iterator[Finding]:
    """Find equal texts inside splits and between train and the others."""
    owner = np.concatenate([np.full(len(view.index), number) for number, view in enumerate(views)])
    start = np.cumsum([0, *(len(view.index) for view in views)])
    first = first_of_equals(text for view in views for text in view.texts())
    for number, view in enumerate(views):
        own = first[owner == number]
        _, counts = np.unique(own, return_counts=True)
        extra = int((counts - 1).sum())
        if extra:
            message = f"{extra} rows ({extra / len(own):.2%}) repeat an earlier text of the split."
            severity: Severity = "warning" if extra > 0.05 * len(own) else "note"
            repeated = np.flatnonzero(np.isin(own, np.unique(own)[counts > 1]))
            yield _finding(severity, "duplicates", view.name, message, "", extra, view.places(repeated))
    train = next(number for number, view in enumerate(views) if view.name == "train")
    in_train = np.unique(first[owner == train])
    for number, view in enumerate(views):
        if number == train:
            continue
        leaked = np.flatnonzero(np.isin(first[start[number] : start[number + 1]], in_train))
        if len(leaked):
            message = f"{len(leaked)} rows ({len(leaked) / len(view.index):.2%}) stand in the training rows as well."
            fix = "Take them out of one of the two; every number of this split is too good."
            yield _finding("error", "leak", view.name, message, fix, len(leaked), view.places(leaked))


def _near_duplicates(views: Sequence[SplitView], threshold: float, sample: int, seed: int) -> Iterator[Finding]:
    total = sum(len(view.index) for view in views)
    chosen = np.arange(total)
    if total > sample:
        chosen = np.sort(generator(seed, "near-duplicates").choice(total, sample, replace=False))
    start = np.cumsum([0, *(len(view.index) for view in views)])
    parts = [
        chosen[(chosen >= start[number]) & (chosen < start[number + 1])] - start[number] for number in range(len(views))
    ]
    owner = np.concatenate([np.full(len(part), number) for number, part in enumerate(parts)])
    position = np.concatenate(parts)
    texts = [text for view, part in zip(views, parts, strict=True) for text in view.texts(part)]
    first = first_of_equals(texts)
    kept = np.flatnonzero(first == np.arange(len(texts)))  # exact copies are reported by themselves
    pairs = kept[near_duplicates([texts[i] for i in kept], threshold).pairs]
    note = "" if total <= sample else f" (seen in a sample of {sample} of {total} rows)"
    for number, view in enumerate(views):
        both = pairs[(owner[pairs[:, 0]] == number) & (owner[pairs[:, 1]] == number)]
        rows = np.unique(both)
        if len(rows):
            message = f"{len(rows)} rows are nearly the same as another row of the split{note}."
            examples = [" ~ ".join(view.places(position[pair])) for pair in both[:SHOWN]]
            yield _finding("note", "near-duplicates", view.name, message, "", len(rows), examples)
        if view.name == "train":
            continue
        train = next(i for i, other in enumerate(views) if other.name == "train")
        mixed = pairs[(owner[pairs[:, 0]] == train) ^ (owner[pairs[:, 1]] == train)]
        mine = np.where(owner[mixed[:, 0]] == number, mixed[:, 0], mixed[:, 1])
        rows = np.unique(mine[owner[mine] == number])
        if len(rows):
            share = len(rows) / len(parts[number])
            message = f"{len(rows)} rows ({share:.2%}) are nearly the same as a training row{note}."
            fix = "Group near copies with data.group so that they stay in one split."
            severity: Severity = "warning" if share > 0.005 else "note"
            yield _finding(severity, "near-leak", view.name, message, fix, len(rows), view.places(position[rows]))


def _signal(train: SplitView, classes: int, seed: int) -> Iterator[Finding]:
    """Look at the training rows with a simple model that is fitted on other rows of the split."""
    fitted = cross_fit(train.texts, train.target, classes, seed=seed)
    if fitted is None:
        return
    positions, probability = fitted
    target = train.target[positions]
    share = np.bincount(target, minlength=classes).max() / len(target)
    accuracy = float((probability.argmax(axis=1) == target).mean())
    error = float(np.sqrt(share * (1 - share) / len(target)))
    sampled = "" if len(positions) == len(train.index) else f" (in a sample of {len(positions)} rows)"
    if accuracy < share + 2 * error:
        message = (
            f"word counts predict {accuracy:.1%} of the labels of held-out training rows; "
            f"always saying the most frequent label predicts {share:.1%}{sampled}."
        )
        fix = "Check that text and label belong together: a shifted column or shuffled labels look like this."
        yield _finding("warning", "no-signal", "train", message, fix, len(target))
        return
    suspects = find_label_issues(probability, target)
    own = probability[suspects, target[suspects]]
    strong = suspects[own < 0.1]
    if len(strong):
        rate = len(strong) / len(target)
        message = f"{len(strong)} labels ({rate:.2%}) are strongly contradicted by word counts of other rows{sampled}."
        fix = "Look at them; the report lists more after training."
        severity: Severity = "warning" if rate > 0.03 else "note"
        places = train.places(positions[strong])
        yield _finding(severity, "suspect-labels", "train", message, fix, len(strong), places)
