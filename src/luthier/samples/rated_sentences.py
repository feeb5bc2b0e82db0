"""`sample:movie-reviews`, `movie-readings` and `tweets`: rated sentences out of one archive in one distribution."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from luthier.errors import SampleError
from luthier.samples.tables import write_arrow
from luthier.samples.unpack import extract

_ROOT = "vaderSentiment-3.3.2"
_INNER = f"{_ROOT}/additional_resources/hutto_ICWSM_2014.tar.gz"
_MAX_BYTES = 40_000_000
T = TypeVar("T")
READINGS = ("strongly negative", "negative", "neutral", "positive", "strongly positive")
SHARE = 0.2  # of the raters; with five readings at least one always reaches it


def build_movie_reviews(archive: Path, folder: Path, scratch: Path) -> dict[str, Any]:
    """Write the film-review sentences."""
    return _build(archive, folder, scratch, "movieReviewSnippets_GroundTruth.txt")


def build_tweets(archive: Path, folder: Path, scratch: Path) -> dict[str, Any]:
    """Write the tweet-like sentences."""
    return _build(archive, folder, scratch, "tweets_GroundTruth.txt")


def build_movie_readings(archive: Path, folder: Path, scratch: Path) -> dict[str, Any]:
    """Write the film-review sentences, each with the readings that at least a fifth of its raters chose."""
    table = "movieReviewSnippets"
    sentences, ratings = _tables(archive, folder, scratch, [f"{table}_GroundTruth.txt", f"{table}_anonDataRatings.txt"])
    texts = dict(_lines(sentences, 3, lambda cells: (cells[0], cells[2])))
    rated = _lines(ratings, 4, lambda cells: (cells[0], json.loads(cells[3])))
    chosen = [(texts[number], readings(values)) for number, values in rated]
    columns = {"text": [text for text, _ in chosen], "readings": [json.dumps(names) for _, names in chosen]}
    provenance = {"made_from": f"{archive.name}: {_INNER}: {ratings.name}", "licence": "MIT"}
    write_arrow(folder / "data.arrow", columns, metadata=provenance)
    return {
        "rows": len(chosen),
        "labels": dict(sorted(Counter(name for _, names in chosen for name in names).items())),
        "labels per row": dict(sorted(Counter(str(len(names)) for _, names in chosen).items())),
    }


def readings(values: Sequence[int]) -> list[str]:
    """Return what at least a fifth of some ratings from -4 to 4 say: 3 and 4 are strong, 0 is neutral."""
    counts = Counter(
        2 if value == 0 else (0 if value <= -3 else 1) if value < 0 else 3 if value < 3 else 4 for value in values
    )
    return [name for place, name in enumerate(READINGS) if counts[place] >= SHARE * len(values)]


def _build(archive: Path, folder: Path, scratch: Path, table: str) -> dict[str, Any]:
    (source,) = _tables(archive, folder, scratch, [table])
    rows = read_ratings(source)
    kept = [(text, rating) for text, rating in rows if rating != 0]
    labels = ["positive" if rating > 0 else "negative" for _, rating in kept]
    columns: dict[str, list[Any]] = {
        "text": [text for text, _ in kept],
        "rating": [rating for _, rating in kept],
        "label": labels,
    }
    provenance = {"made_from": f"{archive.name}: {_INNER}: {table}", "licence": "MIT"}
    write_arrow(folder / "data.arrow", columns, metadata=provenance)
    return {
        "rows": len(kept),
        "dropped": {"rated exactly 0": len(rows) - len(kept)},
        "labels": dict(sorted(Counter(labels).items())),
    }


def _tables(archive: Path, folder: Path, scratch: Path, names: Sequence[str]) -> list[Path]:
    """Return files of the inner archive, and put the licence into the folder."""
    outer = {_INNER: "inner.tar.gz", f"{_ROOT}/LICENSE.txt": "LICENSE"}
    inner, licence = extract(archive, outer, scratch, max_bytes=_MAX_BYTES)
    licence.replace(folder / "LICENSE")
    return extract(inner, {f"hutto_ICWSM_2014/{name}": name for name in names}, scratch, max_bytes=_MAX_BYTES)


def read_ratings(path: Path) -> list[tuple[str, float]]:
    """Return text and mean rating of each line of `ID, rating, text`, tab-separated UTF-8 without quoting."""
    return _lines(path, 3, lambda cells: (cells[2], float(cells[1])))


def _lines(path: Path, width: int, read: Callable[[list[str]], T]) -> list[T]:
    """Return what is read of each line's cells, tab-separated UTF-8 without quoting."""
    rows: list[T] = []
    # Not splitlines(): that also cuts at characters such as U+0085 inside a text.
    for number, line in enumerate(path.read_bytes().decode("utf-8").split("\n"), start=1):
        cells = line.removesuffix("\r").split("\t")
        if cells == [""]:
            continue
        if len(cells) != width:
            raise SampleError(f"must have {width} cells; got {len(cells)}.", where=f"{path.name}:{number}")
        rows.append(read(cells))
    return rows
