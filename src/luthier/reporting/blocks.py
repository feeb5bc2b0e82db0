"""Drawing an evaluation's blocks by their kind. A new kind is one function and one line in `BLOCKS`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from luthier.artifacts.evaluation import (
    AnswersBlock,
    CalibrationBlock,
    ConfusionBlock,
    Example,
    ExamplesBlock,
    MeansBin,
    MeansBlock,
    PerClassBlock,
    RankedBlock,
    ReliabilityBin,
)
from luthier.reporting import charts, numbers
from luthier.reporting.parts import Cell, Examples, Facts, Figure, Prose, Section, Shown, Table, plain_table
from luthier.reporting.words import Words

MATRIX_CLASSES = 60
TOP_CONFUSIONS = 12
FIRST_EXAMPLES = 8
BEGINNING = 320

Draw = Callable[[Any, Words], Section]


# --- confusion ------------------------------------------------------------------------------------------------------


def confusion(block: ConfusionBlock, words: Words) -> Section:
    """Return the matrix, and the confusions that happen most."""
    shown = _most_mistaken(block)
    labels = [block.labels[i] for i in shown]
    counts = [[block.counts[i][j] for j in shown] for i in shown]
    top = _top_confusions(block)
    right = sum(block.counts[i][i] for i in range(len(block.labels)))
    svg = charts.confusion_matrix(
        labels,
        counts,
        title=words("confusion.chart"),
        description=f"{numbers.count(right)} / {numbers.count(sum(map(sum, block.counts)))}. "
        + "; ".join(f"{truth} \u2192 {answer}: {numbers.count(rows)}" for truth, answer, rows, _ in top[:5]),
        truth=words("truth"),
        predicted=words("predicted"),
    )
    total = len(block.labels)
    cut = words("confusion.cut", shown=str(len(shown)), total=str(total)) if len(shown) < total else ""
    matrix = Figure(
        svg=svg,
        title=words("confusion.chart"),
        caption=f"{words('confusion.about')} {cut}".strip(),
        table=_matrix_table(labels, counts, words) if len(labels) <= charts.ROOMY else None,
        natural=None if len(labels) <= charts.ROOMY else charts.matrix_width(len(labels)),
        half=len(labels) <= charts.ROOMY,
    )
    listed = _top_table(top, words, half=matrix.half)
    parts = (matrix, listed) if matrix.half else (listed, matrix)
    return Section("confusion", words("confusion.title"), "", parts)


def _most_mistaken(block: ConfusionBlock) -> list[int]:
    """Return the labels to draw, in their order: all, or those in the most mistakes."""
    if len(block.labels) <= MATRIX_CLASSES:
        return list(range(len(block.labels)))
    columns = [sum(column) for column in zip(*block.counts, strict=True)]
    wrong = [sum(row) + columns[i] - 2 * row[i] for i, row in enumerate(block.counts)]
    return sorted(sorted(range(len(wrong)), key=lambda i: (-wrong[i], i))[:MATRIX_CLASSES])


def _top_confusions(block: ConfusionBlock) -> list[tuple[str, str, int, float]]:
    """Return (truth, answer, rows, share of the truth) of the most frequent confusions."""
    found = [
        (block.labels[i], block.labels[j], count, count / sum(row))
        for i, row in enumerate(block.counts)
        for j, count in enumerate(row)
        if i != j and count
    ]
    return sorted(found, key=lambda one: (-one[2], one[0], one[1]))[:TOP_CONFUSIONS]


def _top_table(top: Sequence[tuple[str, str, int, float]], words: Words, *, half: bool) -> Table:
    head = (words("truth"), words("predicted"), words("confusion.count"), words("confusion.share"))
    rows = tuple(
        (Cell(truth), Cell(answer), Cell(numbers.count(rows)), Cell(numbers.percent(share), bar=share))
        for truth, answer, rows, share in top
    )
    return Table(head=head, rows=rows, title=words("confusion.top"), words=2, half=half)


def _matrix_table(labels: Sequence[str], counts: Sequence[Sequence[int]], words: Words) -> Table:
    head = (f"{words('truth')} \u2193 {words('predicted')} \u2192", *labels)
    return plain_table(head, [[label, *map(numbers.count, row)] for label, row in zip(labels, counts, strict=True)])


# --- per class ------------------------------------------------------------------------------------------------------


def per_class(block: PerClassBlock, words: Words) -> Section:
    """Return a row per label."""
    names = ("label", "precision", "recall", "f1", "support")
    rows = tuple(
        (
            Cell(row.label),
            *(Cell(numbers.percent(value), bar=value) for value in (row.precision, row.recall, row.f1)),
            Cell(numbers.count(row.support)),
        )
        for row in block.rows
    )
    table = Table(head=tuple(words(f"per_class.{name}") for name in names), rows=rows)
    return Section("per_class", words("per_class.title"), words("per_class.about"), (table,))


# --- calibration ----------------------------------------------------------------------------------------------------


def calibration(block: CalibrationBlock, words: Words) -> Section:
    """Return the reliability diagram before and after."""
    svg = charts.reliability_diagram(
        block.before,
        block.after,
        title=words("calibration.chart"),
        description=f"{words('calibration.before')}: {numbers.plain(block.error_before)}. "
        f"{words('calibration.after')}: {numbers.plain(block.error_after)}.",
        x_label=words("calibration.confidence"),
        y_label=words("calibration.accuracy"),
        strip_label=words("calibration.strip"),
    )
    legend = (
        ("s1", words("calibration.after")),
        ("s2", words("calibration.before")),
        ("reference", words("calibration.perfect")),
    )
    figure = Figure(svg=svg, title=words("calibration.chart"), legend=legend, table=_bins_table(block, words))
    facts = (
        (words("calibration.before"), numbers.plain(block.error_before)),
        (words("calibration.after"), numbers.plain(block.error_after)),
        (words("calibration.temperature"), numbers.plain(block.temperature, 2)),
    )
    parts = (figure, Facts(words("calibration.error"), facts))
    return Section("calibration", words("calibration.title"), words("calibration.about"), parts)


def _bins_table(block: CalibrationBlock, words: Words) -> Table:
    head = (
        words("calibration.bin"),
        words("calibration.before"),
        words("calibration.count"),
        words("calibration.after"),
        words("calibration.count"),
    )
    rows = [
        [
            f"{before.lower:.2f}\u2013{before.upper:.2f}",
            _confidence_and_accuracy(before),
            numbers.count(before.count),
            _confidence_and_accuracy(after),
            numbers.count(after.count),
        ]
        for before, after in zip(block.before, block.after, strict=False)
        if before.count or after.count
    ]
    return plain_table(head, rows)


def _confidence_and_accuracy(one: ReliabilityBin) -> str:
    return (
        f"{numbers.percent(one.confidence)} \u2192 {numbers.percent(one.accuracy)}" if one.count else numbers.UNDEFINED
    )


# --- means ----------------------------------------------------------------------------------------------------------


def means(block: MeansBlock, words: Words) -> Section:
    """Return predicted and true means of rows with like predictions."""
    svg = charts.means_chart(
        block.bins,
        title=words("means.chart"),
        description=f"{words('means.error')}: {numbers.plain(block.error)}.",
        x_label=words("means.predicted"),
        y_label=words("means.truth"),
    )
    legend = (("s1", words("means.truth")), ("reference", words("calibration.perfect")))
    head = (words("means.predicted"), words("means.truth"), words("interval"), words("calibration.count"))
    table = plain_table(head, [_means_row(one) for one in block.bins])
    figure = Figure(svg=svg, title=words("means.chart"), legend=legend, table=table)
    facts = Facts(words("means.error"), ((words("means.error"), numbers.plain(block.error)),))
    return Section("means", words("means.title"), words("means.about"), (figure, facts))


def _means_row(one: MeansBin) -> list[str]:
    between = "" if one.interval is None else f"{numbers.plain(one.interval[0])}\u2013{numbers.plain(one.interval[1])}"
    return [numbers.plain(one.predicted), numbers.plain(one.truth), between, numbers.count(one.count)]


# --- examples -------------------------------------------------------------------------------------------------------


def examples(block: ExamplesBlock, words: Words) -> Section:
    """Return rows to look at."""
    split = words.named("split", block.split).lower()
    about = words(f"{block.name}.about", total=numbers.count(block.total), split=split)
    title = words(f"{block.name}.title")
    if not block.rows:
        return Section(block.name, title, "", (Prose(words("examples.none")),))
    shown = tuple(_shown(row) for row in block.rows)
    more = words("page.all", count=str(len(shown)))
    return Section(block.name, title, about, (Examples(shown[:FIRST_EXAMPLES], shown[FIRST_EXAMPLES:], more),))


def _shown(example: Example) -> Shown:
    inputs = tuple((name, *_beginning(text)) for name, text in example.inputs.items())
    sure = "" if example.probability is None else numbers.percent(example.probability)
    return Shown(example.place, inputs, example.target, example.predicted, sure)


def answers(block: AnswersBlock, words: Words) -> Section:
    """Return generated answers beside the true ones."""
    split = words.named("split", block.split).lower()
    about = words("answers.about", asked=numbers.count(block.asked), total=numbers.count(block.total), split=split)
    title = words("answers.title")
    if not block.rows:
        return Section("answers", title, "", (Prose(words("examples.none")),))
    shown = tuple(
        Shown(
            one.place,
            tuple((name, *_beginning(text)) for name, text in one.inputs.items()),
            one.target,
            one.answer if one.ended else f"{one.answer}\u2026",
            f"ROUGE-L {numbers.percent(one.rouge_l, 0)}",
        )
        for one in block.rows
    )
    more = words("page.all", count=str(len(shown)))
    return Section("answers", title, about, (Examples(shown[:FIRST_EXAMPLES], shown[FIRST_EXAMPLES:], more),))


def ranked(block: RankedBlock, words: Words) -> Section:
    """Return queries whose right passage stands low."""
    split = words.named("split", block.split).lower()
    about = words("ranked.about", total=numbers.count(block.total), split=split)
    title = words("ranked.title")
    if not block.rows:
        return Section("ranked", title, "", (Prose(words("examples.none")),))
    shown = tuple(
        Shown(
            one.place,
            (
                (words("ranked.query"), *_beginning(one.query)),
                (words("ranked.right"), *_beginning(one.right)),
                (words("ranked.top"), *_beginning(one.top)),
            ),
            words("ranked.first"),
            words("ranked.rank", rank=numbers.count(one.rank), candidates=numbers.count(one.candidates)),
            "",
        )
        for one in block.rows
    )
    more = words("page.all", count=str(len(shown)))
    return Section("ranked", title, about, (Examples(shown[:FIRST_EXAMPLES], shown[FIRST_EXAMPLES:], more),))


def _beginning(text: str) -> tuple[str, str]:
    """Return a text's beginning, and the whole where that is longer."""
    if len(text) <= BEGINNING:
        return text, ""
    cut = text[:BEGINNING]
    return f"{cut[: cut.rfind(' ')] if ' ' in cut[BEGINNING // 2 :] else cut}\u2026", text


BLOCKS: dict[str, tuple[int, Draw]] = {
    "confusion": (10, confusion),
    "per_class": (20, per_class),
    "calibration": (40, calibration),
    "means": (40, means),
    "examples": (50, examples),
    "answers": (50, answers),
    "ranked": (50, ranked),
}
"""Kind → (place on the page, drawing). Slices stand at 30, training curves at 60."""


def draw_blocks(blocks: Sequence[Any], words: Words) -> tuple[list[tuple[int, Section]], list[str]]:
    """Return the drawn blocks with their places, and the kinds that have no drawing."""
    drawn = [(BLOCKS[block.kind][0], BLOCKS[block.kind][1](block, words)) for block in blocks if block.kind in BLOCKS]
    unknown = dict.fromkeys(str(block.kind) for block in blocks if block.kind not in BLOCKS)
    return drawn, list(unknown)
