"""A project file, with its overrides → a `Project`, or every mistake in it at once."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from luthier.config.document import Document, Place, dotted
from luthier.config.keys import key_table
from luthier.config.names import SAMPLE, Names, check_names
from luthier.config.parsing import MAX_BYTES, parse, read_scalar
from luthier.config.project import Project
from luthier.config.sentences import add_errors, show
from luthier.errors import Problem, ProjectError

DATA_ENDINGS = (".csv", ".tsv", ".txt", ".json", ".jsonl", ".ndjson", ".parquet", ".arrow", ".feather")


@dataclass(frozen=True)
class LoadedProject:
    """A project and where it came from.

    Attributes:
        project: what was written, paths as they were written.
        folder: the folder that relative paths start from: that of the file, or the working folder.
        file: the file, if there is one.
        text: the file's text, if there is one.
        document: the places of its keys.
    """

    project: Project
    folder: Path
    file: Path | None = None
    text: str | None = None
    document: Document = field(default_factory=Document, repr=False, compare=False)

    def where(self, key: str) -> str:
        """Return the place of a dotted key for a message: `project.yaml:14`, or that of the block around it."""
        return self.document.place(tuple(key.split("."))).where

    def problem(self, key: str, message: str) -> Problem:
        """Return a problem with a dotted key, found after loading, for a `ProjectError`."""
        return Problem(where=self.where(key), path=key, message=message)

    def locate(self, source: str) -> str:
        """Return a model or data source with a local path made absolute, see `locate`."""
        return locate(self.folder, source)


def locate(folder: Path, source: str) -> str:
    """Return a model or data source with a local path made absolute; samples and hub ids stay as they are.

    Args:
        folder: that relative paths start from.
        source: local is a path that starts with `.`, `/` or `~`, ends like a data file, or exists below the folder.
    """
    if source.startswith(SAMPLE):
        return source
    path = Path(source).expanduser()
    full = path if path.is_absolute() else folder / path
    local = source.startswith((".", "/", "~")) or path.is_absolute() or source.lower().endswith(DATA_ENDINGS)
    return str(full.resolve()) if local or full.exists() else source


def load_project(
    source: Path | str | Mapping[str, Any] | Project, *, overrides: Sequence[str] = (), names: Names | None = None
) -> Project:
    """Return a project from a file, a mapping or a typed project.

    Args:
        source: the path of a YAML file, its content as a mapping, or a `Project`.
        overrides: texts such as `train.epochs=5`, applied in order.
        names: what is registered; without it, names of tasks, methods, metrics and samples are not checked.

    Raises:
        ProjectError: every mistake, each with its place.
    """
    return read_project(source, overrides=overrides, names=names).project


def read_project(
    source: Path | str | Mapping[str, Any] | Project, *, overrides: Sequence[str] = (), names: Names | None = None
) -> LoadedProject:
    """Return a project together with its folder, text and line numbers; see `load_project`."""
    if isinstance(source, Project):
        source = source.model_dump(exclude_unset=True)
    if isinstance(source, Mapping):
        document = Document(value=_plain(source), places={(): Place("project")})
        project = _validated(document, overrides, names)
        return LoadedProject(project, Path.cwd(), document=document)
    file = Path(source)
    text = _read_text(file)
    document = parse(text, str(source))
    project = _validated(document, overrides, names)
    return LoadedProject(project, file.resolve().parent, file.resolve(), text, document)


def _read_text(file: Path) -> str:
    """Return a file's text, or say why it is none."""
    if "\n" in str(file):
        message = "a text is taken as the path of a file. Give a project's content as a mapping."
        raise _unreadable(str(file).partition("\n")[0], message)
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise _unreadable(file, "there is no such file. `luthier init DATA` writes one.") from None
    except IsADirectoryError:
        raise _unreadable(file, f"must be a file; this is a folder.{_projects_in(file)}") from None
    except (OSError, ValueError) as error:
        raise _unreadable(file, f"cannot be read: {error}.") from None
    if len(data) > MAX_BYTES:
        raise _unreadable(file, f"must be at most {MAX_BYTES // 1024} KiB; this is not a project file.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        byte = f"0x{data[error.start]:02x}"
        raise _unreadable(f"{file}:{line}", f"must be UTF-8 text; got the byte {byte}. Save it as UTF-8.") from None


def _projects_in(folder: Path) -> str:
    inside = sorted(path.name for path in folder.glob("*.yaml"))[:3]
    return f" Did you mean {folder / inside[0]}?" if inside else ""


def _unreadable(where: Path | str, message: str) -> ProjectError:
    return ProjectError([Problem(where=str(where), path="", message=message)])


def _plain(value: Any) -> Any:
    """Copy what a Python caller gave, with paths as text and typed blocks as mappings."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "model_dump"):
        return _plain(value.model_dump(exclude_unset=True))
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _validated(document: Document, overrides: Sequence[str], names: Names | None) -> Project:
    if document.value is None and not document.problems:
        document.add_problem((), "is empty. `luthier init DATA` writes a project file to start from.")
    elif document.value is not None and not isinstance(document.value, Mapping):
        document.add_problem((), f"must be a block of keys; got {show(document.value)}. Write version: 1 and so on.")
    if not isinstance(document.value, Mapping):
        raise ProjectError(document.sorted_problems())
    for position, override in enumerate(overrides):
        _apply(document, override, position)
    project = None
    try:
        project = Project.model_validate(document.value)
    except ValidationError as error:
        add_errors(document, error.errors(include_url=False), document.value, key_table())
    if names is not None:
        check_names(document, names)
    if document.problems or project is None:
        raise ProjectError(document.sorted_problems())
    return project


def _apply(document: Document, override: str, position: int) -> None:
    """Set one key of a document from a text such as `train.epochs=5`."""
    place = Place(f"--set {override}", (1, position))
    dotted_key, equals, text = override.partition("=")
    path = tuple(part.strip() for part in dotted_key.split("."))
    if not equals or not all(path):
        document.add_problem((), "must look like key=value or block.key=value.", place=place)
        return
    block = document.value
    for depth in range(1, len(path)):
        inner = _open(block, path[:depth], path[depth])
        if inner is None:
            message = f'must be a block of keys to set "{path[depth]}" in; got {show(block[path[depth - 1]])}.'
            document.add_problem(path[:depth], message, place=place)
            return
        block = inner
    for known in [known for known in document.places if known[: len(path)] == path]:
        del document.places[known]
    document.problems = [pair for pair in document.problems if pair[1].path != dotted(path)]  # overridden, so cured
    document.places[path] = place
    block[path[-1]] = _override_value(document, text.strip(), path, place)


def _open(block: dict[Any, Any], path: tuple[str, ...], key: str) -> dict[Any, Any] | None:
    """Return the block at a path, below `block`, to set a key in; a short form becomes the long one it stands for."""
    value = block.get(path[-1])
    if value is None:
        block[path[-1]] = {}
    elif isinstance(value, str) and path == ("model",):
        block[path[-1]] = {"id": value}
    elif isinstance(value, str) and path in (("task",), ("method",)):
        block[path[-1]] = {key: {}}
    inner = block[path[-1]]
    return inner if isinstance(inner, dict) else None


def _override_value(document: Document, text: str, path: tuple[str, ...], place: Place) -> Any:
    """Return the value of an override: a list, mapping or quoted text as YAML, anything else as one scalar."""
    if not text.startswith(("[", "{", '"', "'")):
        return read_scalar(text)
    value = parse(text, place.where, lines=False)
    for _, problem in value.problems:
        document.add_problem(path, problem.message, place=place)
    return value.value
