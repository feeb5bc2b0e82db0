"""`sample:synthetic-relations`: made sentences about made people, places and companies, for trying the path only."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from luthier.samples.tables import write_arrow

SEED = 20
ROWS = 3000
NONE = "no_relation"
FIRST = (
    "Anna",
    "Bruno",
    "Chen",
    "Dalia",
    "Emeka",
    "Farah",
    "Goran",
    "Hana",
    "Ivo",
    "Jun",
    "Kira",
    "Luis",
    "Mei",
    "Nils",
)
LAST = (
    "Abel",
    "Brandt",
    "Castro",
    "Duval",
    "Eriksen",
    "Fontana",
    "Goto",
    "Huber",
    "Ito",
    "Jansen",
    "Kaya",
    "Liu",
    "Moreau",
)
PLACES = (
    "Arden",
    "Belmora",
    "Corvo",
    "Dunmere",
    "Estrell",
    "Fallow Bay",
    "Grayport",
    "Hollin",
    "Isden",
    "Jorvik Falls",
)
MAKERS = ("Alto", "Borealis", "Cobalt", "Delphin", "Everline", "Fulcrum", "Granite", "Helio", "Indigo", "Juniper")
KINDS = ("Works", "Bank", "Systems", "Foods", "Motors", "Press")
# Relation → sentences. {h} is the head and {t} the tail; types stand in TYPES. Both orders occur, so direction counts.
SENTENCES: dict[str, tuple[str, ...]] = {
    "works_for": (
        "{h} has been an engineer at {t} since the spring.",
        "{t} hired {h} to lead its new laboratory.",
        "At {t}, {h} answers for the accounts.",
        "After years abroad {h} joined {t} last week.",
    ),
    "founded": (
        "{h} founded {t} in a garage.",
        "{t} was started by {h} and a loan.",
        "It was {h} who set up {t} with two friends.",
        "The founder of {t} is {h}.",
    ),
    "born_in": (
        "{h} was born in {t} on a cold night.",
        "{t} is the town where {h} came into the world.",
        "A native of {t}, {h} never learnt to swim.",
        "{h}, whose birthplace is {t}, writes songs.",
    ),
    "based_in": (
        "{h} has its head office in {t}.",
        "{t} is home to {h} and its warehouse.",
        "From {t}, {h} ships to the whole coast.",
        "{h} moved its seat to {t} a year ago.",
    ),
    "acquired": (
        "{h} bought {t} for an undisclosed sum.",
        "{t} was taken over by {h} in May.",
        "The purchase of {t} made {h} the largest in the trade.",
        "{h} now owns all shares of {t}.",
    ),
    "married_to": (
        "{h} married {t} by the lake.",
        "{h} and {t} are husband and wife.",
        "The wedding of {h} and {t} lasted two days.",
        "{t} is the spouse of {h}.",
    ),
}
TYPES = {
    "works_for": ("person", "company"),
    "founded": ("person", "company"),
    "born_in": ("person", "place"),
    "based_in": ("company", "place"),
    "acquired": ("company", "company"),
    "married_to": ("person", "person"),
}
UNRELATED = (
    "{h} read about {t} in the morning paper.",
    "Nobody at the fair spoke of {h} or of {t}.",
    "A photograph shows {t}, and another one {h}.",
    "{h} declined to comment on {t}.",
    "The train passed {t} while the radio spoke of {h}.",
)
BEFORE = ("", "", "In brief: ", "As the gazette reports, ", "It rained all week. ", "Prices rose again. ")
AFTER = ("", "", " No more is known.", " The mayor was pleased.", " A ferry leaves at noon.")


def build_synthetic_relations(folder: Path) -> dict[str, Any]:
    """Write the rows."""
    rows = make_relations(ROWS, SEED)
    columns: dict[str, list[Any]] = {name: [row[name] for row in rows] for name in ("text", "head", "tail", "relation")}
    write_arrow(folder / "data.arrow", columns, metadata={"made_from": f"code, seed {SEED}", "licence": "Apache-2.0"})
    return {"rows": len(rows), "labels": dict(sorted(Counter(columns["relation"]).items()))}


def make_relations(rows: int, seed: int) -> list[dict[str, str]]:
    """Return different rows of text, head, tail (JSON text of start, end and label) and relation."""
    draw = random.Random(seed)
    found: dict[tuple[str, str], dict[str, str]] = {}
    while len(found) < rows:
        relation = draw.choice([*SENTENCES, NONE, NONE])
        head, tail = TYPES[relation] if relation != NONE else draw.choice(list(TYPES.values()))
        sentence = draw.choice(SENTENCES.get(relation, UNRELATED))
        row = _row(draw, sentence, (head, tail), relation)
        found.setdefault((row["text"], row["head"]), row)
    return list(found.values())


def _row(draw: random.Random, sentence: str, types: tuple[str, str], relation: str) -> dict[str, str]:
    head = _name(draw, types[0])
    tail = _name(draw, types[1])
    while tail == head:
        tail = _name(draw, types[1])
    before = draw.choice(BEFORE)
    text, places = _filled(before + sentence + draw.choice(AFTER), {"{h}": head, "{t}": tail})
    spans = {
        role: json.dumps({"start": places[mark], "end": places[mark] + len(name), "label": kind})
        for role, mark, name, kind in (("head", "{h}", head, types[0]), ("tail", "{t}", tail, types[1]))
    }
    return {"text": text, **spans, "relation": relation}


def _filled(sentence: str, names: dict[str, str]) -> tuple[str, dict[str, int]]:
    """Return a sentence with its names, and where each of them begins."""
    places: dict[str, int] = {}
    for mark in sorted(names, key=sentence.index):
        places[mark] = sentence.index(mark)
        sentence = sentence.replace(mark, names[mark], 1)
    return sentence, places


def _name(draw: random.Random, kind: str) -> str:
    parts: dict[str, Sequence[Sequence[str]]] = {
        "person": (FIRST, LAST),
        "company": (MAKERS, KINDS),
        "place": (PLACES,),
    }
    return " ".join(draw.choice(part) for part in parts[kind])
