"""Sources: where rows come from. Each format is one file here and one line in `SOURCES`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier.artifacts.files import home, sha256_file
from luthier.data.rows import Rows
from luthier.data.sources.columnar import read_arrow, read_parquet
from luthier.data.sources.data_sets import open_folder, open_hub
from luthier.data.sources.delimited import check_delimiter, read_csv, read_tsv
from luthier.data.sources.encoded import check_encoding
from luthier.data.sources.json_lines import read_json_lines
from luthier.data.sources.locate import FILE_FORMATS, Place, locate
from luthier.data.sources.reading import Opened, Options, Reading
from luthier.data.sources.store import rows_of
from luthier.data.sources.tables import open_frame, open_table
from luthier.errors import DataError

if TYPE_CHECKING:
    import pandas
    import pyarrow

_IN_MEMORY = (("pandas", "DataFrame", "DataFrame", "frame"), ("pyarrow", "Table", "Arrow table", "table"))
TEXT_FORMATS = ("csv", "tsv", "jsonl")
FileReader = Callable[[Path, Reading], Iterator[Any]]
Opener = Callable[[Any, Reading], Opened]


def read(
    source: str | os.PathLike[str] | pandas.DataFrame | pyarrow.Table,
    *,
    folder: Path,
    format: str = "auto",
    delimiter: str | None = None,
    encoding: str = "utf-8",
    bad_rows: str = "error",
    limit: int | None = None,
    cache: Path | None = None,
    split: str = "train",
) -> Rows:
    """Return the rows of a source, memory-mapped; the same bytes read in the same way are read once.

    Args:
        source: a file, `sample:NAME`, a saved data set's folder, a hub data set `id`, `id:config` or `id@split`, a
            pandas DataFrame or an Arrow table.
        folder: what relative paths start from: the folder of the project file.
        format: `auto` (by the file's ending), `csv`, `tsv`, `jsonl`, `parquet` or `arrow`.
        delimiter: the character between the cells of a CSV file; None takes a comma (a tab for TSV).
        encoding: of text files.
        bad_rows: `error`, or `skip` to leave out rows that cannot be read and count them in `Rows.repairs`.
        limit: read only the first rows.
        cache: where rows are kept; default `LUTHIER_HOME/cache/rows`.
        split: the part to take of a data set that has several.

    Raises:
        DataError: the source cannot be read so; one sentence with file, line and what to do.
        SampleError: a sample cannot be fetched.
    """
    assert format == "auto" or format in FILE_FORMATS, f"format {format!r} is none of {FILE_FORMATS}"
    assert bad_rows in ("error", "skip"), f"bad_rows {bad_rows!r} is neither error nor skip"
    name, place = _find(source, folder, format)
    options = Options(delimiter, check_encoding(encoding), bad_rows == "skip", limit, split)
    _check_options(options, place, format, name)
    reading = Reading(name, options)
    return rows_of(SOURCES[place.format](place.target, reading), reading, cache or home() / "cache" / "rows")


def _find(source: Any, folder: Path, format: str) -> tuple[str, Place]:
    """Return a source's name in messages, and where it is."""
    if isinstance(source, (str, os.PathLike)):
        name = os.fspath(source)
        return name, locate(name, folder, format)
    kind = type(source)
    library = kind.__module__.partition(".")[0]
    for owner, class_name, shown, own_format in _IN_MEMORY:
        if library == owner and kind.__name__ == class_name:
            return shown, Place(own_format, source)
    raise DataError(
        f"must be a path, a data set id, a pandas DataFrame or an Arrow table; got {kind.__name__}.",
        where="data.train",
        fix="Put the rows in one of these.",
    )


def _check_options(options: Options, place: Place, format: str, name: str) -> None:
    """Refuse options that the source's format has no use for.

    Raises:
        DataError: there is one.
    """
    check_delimiter(options.delimiter)
    given = {
        "data.format": (format != "auto", FILE_FORMATS, format),
        "data.delimiter": (options.delimiter is not None, ("csv", "tsv"), repr(options.delimiter)),
        "data.encoding": (options.encoding != "utf-8", TEXT_FORMATS, options.encoding),
    }
    for key, (is_given, meant_for, value) in given.items():
        if is_given and place.format not in meant_for:
            raise DataError(
                f"must be left out for {name}; got {value}.", where=key, fix=f"It is for {', '.join(meant_for)} files."
            )


def _file(read_file: FileReader, format: str) -> Opener:
    """Return an opener of files that are read in a format."""

    def opened(path: Path, reading: Reading) -> Opened:
        try:
            before = _stamp(path)
            identity: dict[str, Any] = {"format": format, "sha256": sha256_file(path)}
        except OSError as error:
            raise reading.error(f"cannot be read ({error.strerror or error}).", fix="Check the file.") from None
        if format in TEXT_FORMATS:
            identity |= {"delimiter": reading.options.delimiter, "encoding": reading.options.encoding}
        return Opened(identity, partial(read_file, path), lambda: _stamp(path) == before)

    return opened


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _sample(name: str, reading: Reading) -> Opened:
    """Open a data sample, fetching it if it is not on this machine."""
    from luthier.samples import resolve

    sample = resolve(name)
    if sample.kind != "data":
        raise reading.error("must be a data sample; it is a model.", fix="See `luthier samples list`.")
    return SOURCES["arrow"](sample.file, reading)


SOURCES: Mapping[str, Opener] = {
    "csv": _file(read_csv, "csv"),
    "tsv": _file(read_tsv, "tsv"),
    "jsonl": _file(read_json_lines, "jsonl"),
    "parquet": _file(read_parquet, "parquet"),
    "arrow": _file(read_arrow, "arrow"),
    "sample": _sample,
    "folder": open_folder,
    "hub": open_hub,
    "frame": open_frame,
    "table": open_table,
}
