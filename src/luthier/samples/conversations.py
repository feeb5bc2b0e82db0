"""`sample:support-chat`: question and answer pairs out of a corpus of short conversations in YAML."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.errors import SampleError
from luthier.samples.tables import write_arrow
from luthier.samples.unpack import extract, zip_names

_ROOT = "chatterbot_corpus/data"
_LANGUAGES = {"english": "en", "chinese": "zh"}
_MAX_BYTES = 5_000_000


@dataclass(frozen=True)
class Pair:
    """One turn of a conversation and the turn that answers it."""

    question: str
    answer: str
    category: str
    language: str
    conversation: str


def build_support_chat(archive: Path, folder: Path, scratch: Path) -> dict[str, Any]:
    """Write the English and Chinese pairs; every other language is left out."""
    pairs, malformed = read_pairs(archive, scratch)
    columns = {name: [getattr(pair, name) for pair in pairs] for name in Pair.__dataclass_fields__}
    write_arrow(folder / "data.arrow", columns, metadata=provenance(archive))
    return {
        "rows": len(pairs),
        "dropped": {"malformed conversations": malformed},
        "labels": dict(sorted(Counter(pair.category for pair in pairs).items())),
        "languages": dict(sorted(Counter(pair.language for pair in pairs).items())),
        "conversations": len({pair.conversation for pair in pairs}),
    }


def read_pairs(archive: Path, scratch: Path) -> tuple[list[Pair], int]:
    """Return the English and Chinese pairs in the order of the files, and how many entries are malformed."""
    wanted = {name: f"{number}.yml" for number, name in enumerate(_members(archive))}
    files = dict(zip(wanted, extract(archive, wanted, scratch, max_bytes=_MAX_BYTES), strict=True))
    pairs: list[Pair] = []
    malformed = 0
    for name, file in files.items():
        language, stem = name.split("/")[-2], Path(name).stem
        for number, turns in enumerate(read_conversations(file, name), start=1):
            if turns is None:
                malformed += 1
                continue
            pairs += pair_turns(turns, category=stem, language=_LANGUAGES[language], number=number)
    return pairs, malformed


def provenance(archive: Path) -> dict[str, str]:
    """Return what the schema of a table says about where its rows come from."""
    return {"made_from": f"{archive.name}: {_ROOT}", "licence": "BSD"}


def _members(archive: Path) -> Iterator[str]:
    for name in sorted(zip_names(archive, max_bytes=_MAX_BYTES)):
        folder, _, file = name.rpartition("/")
        if file.endswith(".yml") and folder in {f"{_ROOT}/{language}" for language in _LANGUAGES}:
            yield name


def read_conversations(path: Path, name: str) -> Iterator[list[str] | None]:
    """Yield the turns of each conversation in a file; None for an entry that is no list of two or more texts."""
    from ruamel.yaml import YAML  # only a build needs it
    from ruamel.yaml.error import YAMLError

    try:
        content = YAML(typ="safe", pure=True).load(path.read_bytes().decode("utf-8"))
    except (YAMLError, UnicodeDecodeError) as error:
        raise SampleError(f"must be YAML in UTF-8; got {error}.", where=name) from error
    if not isinstance(content, Mapping) or not isinstance(content.get("conversations"), list):
        raise SampleError("must hold a list `conversations`; it does not.", where=name)
    for turns in content["conversations"]:
        good = isinstance(turns, list) and len(turns) > 1 and all(isinstance(t, str) and t.strip() for t in turns)
        yield [turn.strip() for turn in turns] if good else None


def pair_turns(turns: list[str], *, category: str, language: str, number: int) -> list[Pair]:
    """Return n - 1 pairs for n turns: each turn is the answer to the one before it."""
    conversation = f"{language}/{category}/{number}"
    return [Pair(question, answer, category, language, conversation) for question, answer in itertools.pairwise(turns)]
