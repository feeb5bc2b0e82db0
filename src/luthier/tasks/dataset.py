"""A task's rows: read, checked cell by cell, split, and turned into features. No torch."""

from __future__ import annotations

import hashlib
import inspect
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier.artifacts.files import fingerprint, sha256_file
from luthier.data import batches, features, splits, text
from luthier.data.features import FeatureBlock, Features, cached
from luthier.data.rows import Repair, Rows
from luthier.data.text import TextEncoder
from luthier.errors import DataError
from luthier.tasks import encoding, entities, tags, templates, windows
from luthier.tasks import labels as label_maps
from luthier.tasks.base import CellError, Declared, Targets, Task, Truth
from luthier.tasks.cells import RowCells

SHOWN = 5
ENCODE_ROWS = 4096
SHARED = (
    encoding,
    entities,
    label_maps,
    tags,
    templates,
    windows,
    text,
    features,
    batches,
)  # modules that decide features, beside the task's
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Table:
    """One source with what was read off its cells.

    Attributes:
        rows: the source.
        usable: (U,) numbers of the rows whose cells are all right, rising.
        target: (U,) class number of each usable row.
        key: (U,) 64-bit hash of each usable row's inputs.
    """

    rows: Rows
    usable: IntArray
    target: IntArray
    key: NDArray[np.uint64]


@dataclass(frozen=True)
class Part:
    """The rows of one split.

    Attributes:
        name: `train`, `validation` or `test`.
        table: key in `Dataset.tables`.
        index: positions in the table's `usable`, and so in its features.
    """

    name: str
    table: str
    index: IntArray


@dataclass(frozen=True)
class Dataset:
    """All rows of a task, split.

    Attributes:
        tables: `{train, validation, test}` for the sources that were given.
        parts: the three splits.
        targets: what the task needs to decode.
        columns: `{role: column name}`.
        repairs: what was changed or left out on the way, by the readers and here.
    """

    tables: Mapping[str, Table]
    parts: Mapping[str, Part]
    targets: Targets
    columns: Mapping[str, str]
    repairs: tuple[Repair, ...] = ()
    inputs: tuple[str, ...] = field(default=())

    def target(self, part: str) -> IntArray:
        """Return (N,) class numbers of a split's rows."""
        chosen = self.parts[part]
        return self.tables[chosen.table].target[chosen.index]

    def row_numbers(self, part: str) -> IntArray:
        """Return (N,) numbers of a split's rows in their source."""
        chosen = self.parts[part]
        return self.tables[chosen.table].usable[chosen.index]

    def keys(self, part: str) -> NDArray[np.uint64]:
        """Return (N,) hashes of a split's inputs."""
        chosen = self.parts[part]
        return self.tables[chosen.table].key[chosen.index]

    def feature_index(self, part: str, found: Mapping[str, Features]) -> IntArray:
        """Return the numbers of a split's features among those of its table, from what `encode` returned."""
        group = found[self.parts[part].table].group
        return np.flatnonzero(np.isin(group, self.row_numbers(part)))

    def rows(self, part: str) -> Rows:
        """Return the source that a split's rows come from."""
        return self.tables[self.parts[part].table].rows

    def cells(self, part: str, column: str, positions: IntArray | None = None) -> list[Any]:
        """Return a column's cells for a split's rows, or for some positions among them."""
        numbers = self.row_numbers(part)
        return self.rows(part).column(column, numbers if positions is None else numbers[positions])

    def inputs_of(self, part: str, task: Task) -> Sequence[Mapping[str, Any]]:
        """Return the input cells by role of a split's rows, as the task reads them."""
        names = [role.name for role in task.roles if role.asked and role.name in self.columns]

        def read(row: Mapping[str, Any]) -> Mapping[str, Any]:
            return {role: task.input_cell(role, cell) for role, cell in row.items()}

        return RowCells(self.rows(part), self.row_numbers(part), {one: self.columns[one] for one in names}, read)

    def truth(self, part: str, task: Task) -> Truth:
        """Return what is true of a split's rows."""
        role = next(role.name for role in task.roles if role.target)

        def read(row: Mapping[str, Any]) -> str:
            return task.target_cell(row[role])

        cells = RowCells(self.rows(part), self.row_numbers(part), {role: self.columns[role]}, read)
        return Truth(self.target(part), cells)

    def fingerprint(self) -> str:
        """Return a hash over the rows of every split, their targets and the label map."""
        parts = {
            name: [
                self.tables[part.table].rows.fingerprint,
                _digest(self.row_numbers(name)),
                _digest(self.target(name)),
            ]
            for name, part in self.parts.items()
        }
        return fingerprint({"parts": parts, "targets": self.targets, "columns": dict(self.columns)})


def build(
    task: Task,
    sources: Mapping[str, Rows],
    *,
    columns: Mapping[str, str],
    labels: Declared = None,
    group: str | None = None,
    test: float = 0.2,
    validation: float = 0.1,
    seed: int = 13,
    stratified: bool = False,
    skip_bad_rows: bool = False,
) -> Dataset:
    """Return a task's rows, split.

    Args:
        task: what is predicted.
        sources: `train`, and `validation` and `test` where they were given.
        columns: `{role: column name}`.
        labels: `data.labels`.
        group: column whose equal values stay in one split.
        test: share of the train source to test on, where no test source is given.
        validation: share of the train source to validate on, where no validation source is given.
        seed: of the splits.
        stratified: see `splits.assign`.
        skip_bad_rows: leave out rows with a bad cell and count them, instead of refusing.

    Raises:
        DataError: everything that is wrong with the cells, at once.
    """
    task.check_columns(columns)
    read = {name: _read(task, rows, columns, group, seed) for name, rows in sources.items()}
    repairs = [repair for rows in sources.values() for repair in rows.repairs]
    repairs += _refuse_or_count(read, skip_bad_rows)
    train = read["train"]
    targets = task.fit_targets(train.counts, labels)
    tables = {name: _table(task, one, targets) for name, one in read.items()}
    kept, conflicts = _without_conflicts(tables["train"])
    if conflicts is not None:
        repairs.append(conflicts)
    groups = train.group_key if group else tables["train"].key
    split = splits.assign(
        groups[kept],
        test=0.0 if "test" in tables else test,
        validation=0.0 if "validation" in tables else validation,
        stratify=tables["train"].target[kept] if stratified else None,
    )
    parts = {}
    for number, name in splits.NAMES.items():
        own = name in tables and name != "train"
        index = np.arange(len(tables[name].usable)) if own else kept[split == number]
        parts[name] = Part(name, name if own else "train", index)
    _check_parts(parts)
    inputs = tuple(columns[role.name] for role in task.roles if role.asked and role.name in columns)
    return Dataset(tables, parts, targets, dict(columns), tuple(repairs), inputs)


def encode(task: Task, dataset: Dataset, encoder: TextEncoder, tokenizer: Path) -> dict[str, Features]:
    """Return the features of every table, from the cache where they were made before.

    Args:
        task: what is predicted.
        dataset: from `build`.
        encoder: with its length limit.
        tokenizer: the folder that the encoder was read from.
    """
    found = {}
    for name, table in dataset.tables.items():
        made_from = {
            "rows": table.rows.fingerprint,
            "usable": _digest(table.usable),
            "target": _digest(table.target),
            "columns": dict(dataset.columns),
            "tokenizer": {path.name: sha256_file(path) for path in sorted(tokenizer.iterdir()) if path.is_file()},
            "task": [task.name, repr(sorted(vars(task).items()))],
            "targets": dataset.targets,
            "max_length": encoder.max_length,
            "truncation_side": encoder.truncation_side,
            "code": _code_version(task),
        }
        blocks = _blocks(task, table, dataset, encoder)
        found[name] = cached(fingerprint(made_from), blocks, task.fields(encoder))
    return found


def _blocks(task: Task, table: Table, dataset: Dataset, encoder: TextEncoder) -> Iterator[FeatureBlock]:
    columns = dataset.columns
    roles = [role.name for role in task.roles if not role.target and role.name in columns]
    target = next(role.name for role in task.roles if role.target)
    for start in range(0, len(table.usable), ENCODE_ROWS):
        numbers = table.usable[start : start + ENCODE_ROWS]
        cells = {role: table.rows.column(columns[role], numbers) for role in roles}
        clean = {role: [task.input_cell(role, cell) for cell in values] for role, values in cells.items()}
        _check_fit(task, table.rows, numbers, clean, columns, encoder)
        answers = table.rows.column(columns[target], numbers)
        clean[target] = [task.target_cell(cell) for cell in answers]
        known = table.target[start : start + ENCODE_ROWS]
        yield task.encode(clean, numbers, encoder, known, dataset.targets)


def _check_fit(
    task: Task,
    rows: Rows,
    numbers: IntArray,
    cells: Mapping[str, Sequence[Any]],
    columns: Mapping[str, str],
    encoder: TextEncoder,
) -> None:
    """Refuse rows that cannot be encoded.

    Raises:
        DataError: names the first ones.
    """
    complaints = []
    for place, number in enumerate(numbers):
        try:
            task.check_fit({role: values[place] for role, values in cells.items()}, encoder)
        except CellError as error:
            column = "" if error.role is None else f'column "{columns[error.role]}" '
            complaints.append(f"{rows.place(int(number))}: {column}{error}")
    if complaints:
        more = f"\nand {len(complaints) - SHOWN} more" if len(complaints) > SHOWN else ""
        raise DataError("\n".join(complaints[:SHOWN]) + more, fix="\nMend these rows, or raise model.max_length.")


def _code_version(task: Task) -> str:
    """Return a hash of the code that decides features, so that an upgrade never meets old ones."""
    kinds = [kind for kind in type(task).__mro__ if kind.__module__ not in {"builtins", "typing"}]
    modules = [*(inspect.getmodule(kind) for kind in kinds), *SHARED]
    sources = [inspect.getsource(module) for module in modules if module is not None]
    return hashlib.sha256("".join(sources).encode()).hexdigest()


@dataclass(frozen=True)
class _Read:
    """A source's cells, before the label map is known."""

    rows: Rows
    usable: IntArray
    cells: list[str]
    key: NDArray[np.uint64]
    group_key: NDArray[np.uint64]
    bad: int
    complaints: list[str]

    @property
    def counts(self) -> Counter[str]:
        return Counter(self.cells)


def _read(task: Task, rows: Rows, columns: Mapping[str, str], group: str | None, seed: int) -> _Read:
    inputs = [role.name for role in task.roles if not role.target and role.name in columns]
    asked = [role.name for role in task.roles if role.asked and role.name in columns]
    target = next(columns[role.name] for role in task.roles if role.target)
    names = dict.fromkeys([*(columns[role] for role in inputs), target, *([group] if group else [])])
    usable, keys, groups = array("q"), array("Q"), array("Q")
    cells: list[str] = []
    interned: dict[str, str] = {}
    complaints: list[str] = []
    bad = number = 0
    for block in rows.blocks(list(names)):
        for position in range(len(block[target])):
            column = target
            try:
                values = {}
                for role in inputs:
                    column = columns[role]
                    values[role] = task.input_cell(role, block[column][position])
                column = target
                cell = task.target_cell(block[target][position])
                task.check_row(values, cell)
            except CellError as error:
                column = column if error.role is None else columns[error.role]
                bad += 1
                if len(complaints) < SHOWN:
                    complaints.append(f'{rows.place(number)}: column "{column}" {error}')
            else:
                usable.append(number)
                cells.append(interned.setdefault(cell, cell))
                keys.append(splits.row_key(seed, [values[role] for role in asked]))
                groups.append(splits.row_key(seed, [block[group][position]]) if group else 0)
            number += 1
    return _Read(rows, _array(usable), cells, _array(keys), _array(groups), bad, complaints)


def _array(values: array[int]) -> Any:
    return np.array(values, dtype=np.uint64 if values.typecode == "Q" else np.int64)


def _refuse_or_count(read: Mapping[str, _Read], skip: bool) -> list[Repair]:
    bad = {name: one for name, one in read.items() if one.bad}
    if bad and not skip:
        lines = []
        for one in bad.values():
            more = (
                f"\nand {one.bad - len(one.complaints)} more in {one.rows.source}"
                if one.bad > len(one.complaints)
                else ""
            )
            lines.append("\n".join(one.complaints) + more)
        raise DataError("\n".join(lines), fix="\nMend these rows, or set data.bad_rows: skip to leave them out.")
    return [
        Repair("bad-row", f"rows of {one.rows.source} with a bad cell were left out", one.bad, tuple(one.complaints))
        for one in bad.values()
    ]


def _table(task: Task, read: _Read, targets: Targets) -> Table:
    numbers = {cell: task.target_number(cell, targets) for cell in read.counts}
    unknown = sorted(cell for cell, number in numbers.items() if number is None)
    if unknown:
        shown = ", ".join(f'"{cell}" ({read.counts[cell]} rows)' for cell in unknown[:20])
        raise DataError(
            f"every label must be one of the training rows; {shown} is not.",
            where=read.rows.source,
            fix="Add training rows with it, or take those rows out.",
        )
    target = np.fromiter((numbers[cell] for cell in read.cells), np.int64, len(read.cells))
    return Table(read.rows, read.usable, target, read.key)


def _without_conflicts(table: Table) -> tuple[IntArray, Repair | None]:
    """Return the positions to keep, and what was dropped: equal inputs with different labels."""
    conflicts = splits.find_conflicts(table.key, table.target)
    kept = np.setdiff1d(np.arange(len(table.key)), conflicts.rows)
    if not conflicts.texts:
        return kept, None
    places = tuple(table.rows.place(int(table.usable[row])) for row in conflicts.rows[:SHOWN])
    message = f"rows were dropped: {conflicts.texts} distinct inputs stand with different labels"
    return kept, Repair("conflicting-labels", message, len(conflicts.rows), places)


def _check_parts(parts: Mapping[str, Part]) -> None:
    for part in parts.values():
        if len(part.index) == 0:
            raise DataError(
                f"the {part.name} split must have rows; got none.",
                fix=f"Give more rows, or raise data.split.{part.name}." if part.name != "train" else "Give more rows.",
            )


def _digest(values: NDArray[Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()
