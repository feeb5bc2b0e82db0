"""`sample:synthetic-questions`: made reports with questions about them, for trying the path only."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from luthier.samples.tables import write_arrow

SEED = 21
ROWS = 2400
UNANSWERABLE = 0.2  # share of the questions whose answer is not in the report
SHIPS = (
    "Aurora",
    "Bittern",
    "Calypso",
    "Dolphin",
    "Egret",
    "Falcon",
    "Gannet",
    "Heron",
    "Isis",
    "Juno",
    "Kestrel",
    "Lark",
)
CAPTAINS = ("Ada Voss", "Ben Okoro", "Cleo Marsh", "Dmitri Ilin", "Elif Aksoy", "Finn Daly", "Gita Rao", "Hugo Blanc")
PORTS = ("Arden", "Belmora", "Corvo", "Dunmere", "Estrell", "Fallow Bay", "Grayport", "Hollin", "Isden", "Kelso Point")
GOODS = (
    "timber",
    "dried figs",
    "copper wire",
    "glass jars",
    "sea salt",
    "wool",
    "coffee beans",
    "roof tiles",
    "barley",
)
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
COLOURS = ("grey", "dark red", "white", "pale green", "black", "sky blue")
# Fact → (sentences, questions). {x} is the answer, {ship} the ship that the sentence is about.
FACTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "captain": (
        ("The captain of the {ship} is {x}.", "{x} commands the {ship}.", "At the helm of the {ship} stood {x}."),
        ("Who is the captain of the {ship}?", "Who commands the {ship}?"),
    ),
    "port": (
        (
            "The {ship} sailed from {x}.",
            "{x} was where the {ship} set out.",
            "The {ship} left the harbour of {x} early.",
        ),
        ("Where did the {ship} set out?", "From which port did the {ship} sail?"),
    ),
    "cargo": (
        ("The {ship} carried {x}.", "In the hold of the {ship} lay {x}.", "Her crew loaded {x} on the {ship}."),
        ("What did the {ship} carry?", "What was the cargo of the {ship}?"),
    ),
    "day": (
        ("The {ship} arrived on {x}.", "On {x} the {ship} was moored.", "It was {x} when the {ship} came in."),
        ("On which day did the {ship} arrive?", "When was the {ship} moored?"),
    ),
    "colour": (
        ("The hull of the {ship} is {x}.", "They painted the {ship} {x}.", "A coat of {x} covers the {ship}."),
        ("What colour is the {ship}?", "How is the hull of the {ship} painted?"),
    ),
    "crew": (
        ("A crew of {x} worked on the {ship}.", "The {ship} had {x} hands.", "There were {x} sailors on the {ship}."),
        ("How many sailors were on the {ship}?", "How large was the crew of the {ship}?"),
    ),
}
VALUES: Mapping[str, tuple[str, ...]] = {
    "captain": CAPTAINS,
    "port": PORTS,
    "cargo": GOODS,
    "day": DAYS,
    "colour": COLOURS,
    "crew": tuple(str(number) for number in range(11, 60)),
}
FILLER = (
    "The wind turned west.",
    "Gulls followed for a while.",
    "The ledger was closed at dusk.",
    "Rain fell on the quay.",
)


def build_synthetic_questions(folder: Path) -> dict[str, Any]:
    """Write the rows."""
    rows = make_questions(ROWS, SEED)
    columns: dict[str, list[Any]] = {name: [row[name] for row in rows] for name in ("question", "context", "answers")}
    write_arrow(folder / "data.arrow", columns, metadata={"made_from": f"code, seed {SEED}", "licence": "Apache-2.0"})
    return {"rows": len(rows), "without an answer": sum(row["answers"] == "[]" for row in rows)}


def make_questions(rows: int, seed: int) -> list[dict[str, str]]:
    """Return different rows of question, context and answers (JSON text; an empty list where there is none)."""
    draw = random.Random(seed)
    found: dict[tuple[str, str], dict[str, str]] = {}
    while len(found) < rows:
        row = _row(draw)
        found.setdefault((row["question"], row["context"]), row)
    return list(found.values())


def _row(draw: random.Random) -> dict[str, str]:
    ships = draw.sample(SHIPS, 2)
    asked = draw.choice(list(FACTS))
    answerable = draw.random() >= UNANSWERABLE
    told = [(ship, fact) for ship in ships for fact in draw.sample(list(FACTS), 3)]
    told = [one for one in told if one != (ships[0], asked)] + ([(ships[0], asked)] if answerable else [])
    draw.shuffle(told)
    sentences: list[str] = []
    place, start, value = 0, -1, ""
    for ship, fact in told:
        if draw.random() < 0.3:
            sentences.append(draw.choice(FILLER))
            place += len(sentences[-1]) + 1
        pattern = draw.choice(FACTS[fact][0]).replace("{ship}", ship)
        own = draw.choice(VALUES[fact])
        if (ship, fact) == (ships[0], asked):
            start, value = place + pattern.index("{x}"), own
        sentences.append(pattern.replace("{x}", own))
        place += len(sentences[-1]) + 1
    question = draw.choice(FACTS[asked][1]).replace("{ship}", ships[0])
    answers = [{"text": value, "start": start}] if answerable else []
    return {"question": question, "context": " ".join(sentences), "answers": json.dumps(answers)}
