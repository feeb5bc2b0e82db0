"""Are entities the same whether a document is fed whole, through windows, or sentence by sentence?

    python benchmarks/documents.py runs/token-classification/bundle --documents 60

The documents are the last ones of sample:people-daily, which the recipe's `data.limit` keeps out of every split. Prints
entity F1 both ways and their difference, and one JSON line.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import luthier
from luthier import samples
from luthier.data.rows import open_arrow
from luthier.evaluation.entities import match, predicted_spans
from luthier.metrics.matches import micro_f1
from luthier.tasks.entities import Span, span_of


def by_sentence(predictor: Any, text: str) -> list[Span]:
    """Return the entities of a text whose lines are asked one by one, in the text's own offsets."""
    lines = text.split("\n")
    starts = [sum(len(line) + 1 for line in lines[:number]) for number in range(len(lines))]
    asked = [number for number, line in enumerate(lines) if line.strip()]
    answers = predictor.predict([lines[number] for number in asked])
    return [
        Span(span.start + starts[number], span.end + starts[number], span.label)
        for number, answer in zip(asked, answers, strict=True)
        for span in predicted_spans(answer.as_dict())
    ]


def compare(bundle: Path, documents: int) -> dict[str, Any]:
    """Return entity F1 of held-out documents, whole and by sentence."""
    predictor = luthier.load(bundle)
    table = open_arrow(samples.fetch("people-daily").file)
    rows = table.slice(table.num_rows - documents).to_pylist()
    gold = [[span_of(one) for one in json.loads(row["spans"])] for row in rows]
    whole = [predicted_spans(one.as_dict()) for one in predictor.predict([row["text"] for row in rows])]
    parts = [by_sentence(predictor, row["text"]) for row in rows]
    labels = sorted({span.label for spans in gold for span in spans})
    found = {name: micro_f1(match(gold, spans, labels)) for name, spans in (("whole", whole), ("by_sentence", parts))}
    gap = None if None in found.values() else abs(found["whole"] - found["by_sentence"])  # type: ignore[operator]
    return {**found, "difference": gap, "documents": documents, "entities": sum(map(len, gold))}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="a bundle of the token-classification recipe")
    parser.add_argument("--documents", type=int, default=60, help="how many of the last documents")
    options = parser.parse_args(arguments)
    found = compare(options.bundle, options.documents)
    for name in ("whole", "by_sentence", "difference"):
        print(f"{name:<12} {found[name]:.4f}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
