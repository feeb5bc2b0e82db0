"""Rows on disk: what a reader made of a source, kept under the fingerprint of its bytes and of how they were read."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from luthier.artifacts.files import HOME_VARIABLE, fingerprint
from luthier.artifacts.manifest import new_folder, read_manifest, seal
from luthier.data.rows import Rows, open_arrow
from luthier.data.sources.reading import Opened, Reading, repairs_of
from luthier.errors import ArtifactError, DataError

# Raised whenever a reader makes other rows of the same bytes, so that an upgrade never meets old ones.
READER_VERSION = 1
FILE = "rows.arrow"


def rows_of(opened: Opened, reading: Reading, cache: Path) -> Rows:
    """Return a source's rows, memory-mapped, from the cache or read now.

    Args:
        opened: the source.
        reading: how it is read.
        cache: folder that holds one folder per fingerprint.

    Raises:
        DataError: the source cannot be read as asked, or the cache cannot be written.
    """
    options = reading.options
    key = fingerprint(
        {
            "reader": READER_VERSION,
            "identity": opened.identity,
            "skip": options.skip,
            "limit": options.limit,
        }
    )
    folder = cache / key
    try:
        return _open(folder, key, reading.source)
    except ArtifactError:
        pass
    try:
        shutil.rmtree(folder, ignore_errors=True)
        _make(folder, opened, reading)
    except OSError as error:
        try:
            return _open(folder, key, reading.source)  # another process was faster
        except ArtifactError:
            raise DataError(
                f"the rows could not be kept ({error.strerror or error}).",
                where=str(cache),
                fix=f"Free some disk, or set {HOME_VARIABLE} to a folder that you may write to.",
            ) from error
    return _open(folder, key, reading.source)


def _make(folder: Path, opened: Opened, reading: Reading) -> None:
    with new_folder(folder) as temporary:
        rows = _write(temporary / FILE, opened.batches(reading), reading.options.limit)
        reading.finish(rows)
        if not opened.unchanged():
            raise reading.error("changed while it was read.", fix="Run again when nothing writes to it.")
        seal(temporary, {"kind": "rows", "reader_version": READER_VERSION, "rows": rows, **reading.notes()})


def _write(path: Path, batches: Iterator[Any], limit: int | None) -> int:
    """Write batches as an Arrow IPC file, at most `limit` rows; return how many."""
    import pyarrow as pa

    rows = 0
    writer = None
    with pa.OSFile(str(path), "wb") as sink:
        for batch in batches:
            if limit is not None:
                batch = batch.slice(0, limit - rows)
            if writer is None:
                writer = pa.ipc.new_file(sink, batch.schema)
            if batch.num_rows:
                writer.write_batch(batch)
            rows += batch.num_rows
            if rows == limit:
                break
        if writer is not None:
            writer.close()
    return rows


def _open(folder: Path, key: str, source: str) -> Rows:
    manifest = read_manifest(folder)
    path = folder / FILE
    if manifest.get("reader_version") != READER_VERSION or not path.is_file():
        raise ArtifactError("holds no rows of this version.", where=str(folder))
    if path.stat().st_size != manifest["files"][FILE]["bytes"]:
        raise ArtifactError(f"{FILE} is damaged.", where=str(folder))
    mixed = tuple((column, message) for column, message in manifest["mixed"])
    return Rows(open_arrow(path), source, key, repairs_of(manifest, source), mixed)
