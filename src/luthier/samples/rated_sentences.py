"""`sample:movie-reviews` and `sample:tweets`: rated sentences out of one archive inside one source distribution."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from luthier.errors import SampleError
from luthier.samples.tables import write_arrow
from luthier.samples.unpack import extract

_ROOT = "vaderSentiment-3.3.2"
_INNER = f"{_ROOT}/additional_resources/hutto_ICWSM_2014.tar.gz"
_MAX_BYTES = 40_000_000


def build_movie_reviews(archive: Path, folder: Path, scratch: Path) -> dict[str, Any]:
    """Write the film-review sentences."""
    return _build(archive, folder, scratch, "movieReviewSnippets_GroundTruth.txt")


def build_tweets(archive: Path, folder: Path, scratch: Path) -> dict[str, Any]:
    """Write the tweet-like sentences."""
    return _build(archive, folder, scratch, "tweets_GroundTruth.txt")


def _build(archive: Path, folder: Path, scratch: Path, table: str) -> dict[str, Any]:
    outer = {_INNER: "inner.tar.gz", f"{_ROOT}/LICENSE.txt": "LICENSE"}
    inner, licence = extract(archive, outer, scratch, max_bytes=_MAX_BYTES)
    (source,) = extract(inner, {f"hutto_ICWSM_2014/{table}": table}, scratch, max_bytes=_MAX_BYTES)
    licence.replace(folder / "LICENSE")
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


def read_ratings(path: Path) -> list[tuple[str, float]]:
    """Return text and mean rating of each line of `ID, rating, text`, tab-separated UTF-8 without quoting."""
    rows = []
    # Not splitlines(): that also cuts at characters such as U+0085 inside a text.
    for number, line in enumerate(path.read_bytes().decode("utf-8").split("\n"), start=1):
        cells = line.removesuffix("\r").split("\t")
        if cells == [""]:
            continue
        if len(cells) != 3:
            raise SampleError(f"must have 3 cells; got {len(cells)}.", where=f"{path.name}:{number}")
        rows.append((cells[2], float(cells[1])))
    return rows
