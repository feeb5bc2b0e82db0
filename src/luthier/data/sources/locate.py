"""From what the user wrote to a file, a folder, a sample or a data set id, and the format it is in."""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.errors import DataError
from luthier.samples import PREFIX

ENDINGS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".arrows": "arrow",
    ".ipc": "arrow",
    ".feather": "arrow",
}
FILE_FORMATS = ("csv", "tsv", "jsonl", "parquet", "arrow")
_PACKED = {".gz", ".zip", ".bz2", ".xz", ".zst", ".7z", ".rar", ".tar", ".tgz", ".lz4"}
_SHEETS = {".xlsx", ".xls", ".xlsm", ".xlsb", ".ods"}
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?(:[\w.+-]+)?(@[\w.+-]+)?")
_DATA_SET_FILES = ("dataset_info.json", "dataset_dict.json", "state.json")
_FORMAT_FIX = "Name a CSV, TSV, JSON Lines, Parquet or Arrow file"


@dataclass(frozen=True)
class Place:
    """Where the rows are.

    Attributes:
        format: a key of `sources.SOURCES`.
        target: a path, or the id for a hub data set, or the name of a sample.
    """

    format: str
    target: Any


def locate(source: str, folder: Path, format: str) -> Place:
    """Return where a source is and how it is written.

    Args:
        source: as the user wrote it.
        folder: what relative paths start from.
        format: `auto`, or one of `FILE_FORMATS`.

    Raises:
        DataError: there is no such thing, or it cannot be read as rows.
    """
    if not source.strip():
        raise DataError("must name a file, a sample or a data set; got an empty text.", where="data.train")
    if source.startswith(PREFIX):
        return Place("sample", source)
    path = folder / Path(source).expanduser()
    try:
        found = path.exists()
    except PermissionError:
        raise DataError(
            "may not be reached by this user.", where=source, fix="Check the rights of its folder."
        ) from None
    except (OSError, ValueError) as error:  # a name that is too long, or holds a NUL
        reason = getattr(error, "strerror", None) or error
        raise DataError(
            f"cannot be the name of a file ({reason}).", where=source[:200], fix=f"{_FORMAT_FIX}."
        ) from None
    if found and path.is_dir():
        return _folder(source, path, format)
    if found:
        return Place(_format_of(source, path, format), path)
    part = re.fullmatch(r"(.+)@([\w.+-]+)", source)
    if part and (folder / part[1]).is_dir():
        return _folder(source, folder / part[1], format, part[2])
    typo = difflib.get_close_matches(path.name, _names(path.parent), n=1, cutoff=0.75)
    if not typo and not path.is_symlink() and _looks_like_an_id(source, folder):
        return Place("hub", source)
    raise _missing(source, path)


def _format_of(source: str, path: Path, format: str) -> str:
    if not path.is_file():
        raise DataError("must be a plain file; it is a device or a pipe.", where=source, fix=f"{_FORMAT_FIX}.")
    if not os.access(path, os.R_OK):
        raise DataError("may not be read by this user.", where=source, fix=f"Allow it: chmod u+r {path.name}.")
    if format != "auto":
        return format
    ending = path.suffix.lower()
    if ending in _PACKED:
        raise DataError(f"is packed ({ending}).", where=source, fix="Unpack it and name the file inside.")
    if ending in _SHEETS:
        raise DataError(
            f"is a spreadsheet ({ending}).", where=source, fix='Save the sheet as "CSV UTF-8" and name that file.'
        )
    if ending not in ENDINGS:
        allowed = ", ".join(ENDINGS)
        raise DataError(
            f'must end in one of {allowed}; got "{ending}".' if ending else f"must end in one of {allowed}.",
            where=source,
            fix=f"Rename it, or set data.format to one of {', '.join(FILE_FORMATS)}.",
        )
    return ENDINGS[ending]


def _folder(source: str, path: Path, format: str, part: str | None = None) -> Place:
    if any((path / name).is_file() for name in _DATA_SET_FILES):
        return Place("folder", (path, part))
    inside = [name for name in _names(path) if Path(name).suffix.lower() in ENDINGS]
    fix = f"Name one of the files inside: {', '.join(inside[:10])}." if inside else f"{_FORMAT_FIX}."
    raise DataError("must be a file; it is a folder.", where=source, fix=fix)


def _looks_like_an_id(source: str, folder: Path) -> bool:
    """Tell whether something that is no file may be the id of a data set: no ending of a file, no folder before it."""
    if not _HUB_ID.fullmatch(source):
        return False
    ending = Path(source).suffix.lower()
    if ending in {*ENDINGS, *_PACKED, *_SHEETS, ".txt", ".dat", ".xml", ".yaml", ".yml", ".html", ".py"}:
        return False
    return not ("/" in source and (folder / source.split("/")[0]).is_dir())


def _missing(source: str, path: Path) -> DataError:
    if path.is_symlink():
        return DataError("is a link to something that is not there.", where=source, fix=f"{_FORMAT_FIX}.")
    parent = path.parent
    if not parent.is_dir():
        return DataError(f"does not exist; nor does the folder {parent}.", where=source, fix="Check the path.")
    names = _names(parent)
    close = difflib.get_close_matches(path.name, names, n=1, cutoff=0.5)
    data = [name for name in names if Path(name).suffix.lower() in ENDINGS][:10]
    if close:
        hint = f'Did you mean "{close[0]}"?'
    elif data:
        hint = f"That folder holds {', '.join(data)}."
    else:
        hint = "Check the path; it is taken relative to the project file."
    return DataError(f"does not exist in {parent}.", where=source, fix=hint)


def _names(folder: Path) -> list[str]:
    try:
        return sorted(file.name for file in folder.iterdir() if file.name[0] != ".")
    except OSError:
        return []
