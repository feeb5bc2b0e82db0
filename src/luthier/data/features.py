"""Features on disk: what a task made of rows, memory-mapped, and the collation of some of them to padded arrays.

A feature has a group (the row it came from; a row may make several), a cost vector, ragged fields (such as token ids)
and scalar fields (such as a class). A folder holds raw little-endian arrays beside `features.json`, so opening it
reads nothing.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from luthier.artifacts.files import home
from luthier.artifacts.manifest import new_folder, read_manifest, seal
from luthier.data.batches import Batch, pad
from luthier.errors import ArtifactError

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Field:
    """How a ragged field is padded.

    Attributes:
        pad: value on the right of shorter rows.
        mask: name of the (B, T) mask that goes with it in a batch, or None.
        tokens: whether the values are looked up in the model's input embedding.
        batch: whether batches hold it; what only decoding reads stays out of them.
    """

    pad: int = 0
    mask: str | None = None
    tokens: bool = False
    batch: bool = True


@dataclass(frozen=True)
class FeatureBlock:
    """Consecutive features, as a task makes them.

    Attributes:
        group: (N,) row number of each feature.
        cost: `{unit: (N,)}`, such as `encoder_tokens`.
        ragged: `{field: N arrays of int32}`.
        scalar: `{field: (N,)}`.
    """

    group: NDArray[np.int64]
    cost: Mapping[str, NDArray[np.int64]]
    ragged: Mapping[str, Sequence[NDArray[np.int32]]]
    scalar: Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Features:
    """A set of features.

    Attributes:
        group: (N,) row number of each feature.
        cost: `{unit: (N,)}`.
        values: `{field: all rows' values end to end}`.
        offsets: `{field: (N + 1,)}` where each row begins in `values`.
        scalar: `{field: (N,)}`.
        fields: how each ragged field is padded.
        fingerprint: sha256 of what they were made from.
    """

    group: NDArray[np.int64]
    cost: Mapping[str, NDArray[np.int64]]
    values: Mapping[str, NDArray[np.int32]]
    offsets: Mapping[str, NDArray[np.int64]]
    scalar: Mapping[str, NDArray[Any]]
    fields: Mapping[str, Field]
    fingerprint: str

    def __len__(self) -> int:
        return len(self.group)

    @property
    def total_cost(self) -> NDArray[np.int64]:
        """(N,) all units added up: what the budget of a batch is spent on."""
        total = np.zeros(len(self), dtype=np.int64)
        for cost in self.cost.values():
            total += cost
        return total

    def row(self, field: str, index: int) -> NDArray[np.int32]:
        """Return one feature's ragged values."""
        offsets = self.offsets[field]
        return self.values[field][offsets[index] : offsets[index + 1]]

    def collate(self, indices: Sequence[int] | NDArray[np.int64]) -> Batch:
        """Return padded arrays for some features: (B, T) per ragged field and mask, (B,) per scalar."""
        batch: dict[str, NDArray[Any]] = {}
        for name, field in self.fields.items():
            if not field.batch:
                continue
            batch[name], mask = pad([self.row(name, i) for i in indices], field.pad)
            if field.mask:
                batch[field.mask] = mask
        return {**batch, **self.scalars(indices)}

    def scalars(self, indices: Sequence[int] | NDArray[np.int64]) -> Batch:
        """Return (B,) per scalar of some features."""
        return {name: np.asarray(values[indices]) for name, values in self.scalar.items()}


def grouped(group: NDArray[np.integer[Any]]) -> list[NDArray[np.int64]]:
    """Return the positions of each group's features, in the groups' order, from their rising groups (N,)."""
    starts = np.flatnonzero(np.diff(group)) + 1
    return np.split(np.arange(len(group)), starts) if len(group) else []


def in_memory(blocks: Iterable[FeatureBlock], fields: Mapping[str, Field]) -> Features:
    """Return features held in memory, for prediction."""
    parts = list(blocks)
    ragged = {name: [row for part in parts for row in part.ragged[name]] for name in fields}
    return Features(
        group=np.concatenate([part.group for part in parts]) if parts else np.empty(0, np.int64),
        cost={unit: np.concatenate([part.cost[unit] for part in parts]) for unit in (parts[0].cost if parts else ())},
        values={name: np.concatenate(rows) if rows else np.empty(0, np.int32) for name, rows in ragged.items()},
        offsets={
            name: np.concatenate(([0], np.cumsum([len(row) for row in rows], dtype=np.int64)))
            for name, rows in ragged.items()
        },
        scalar={name: np.concatenate([p.scalar[name] for p in parts]) for name in (parts[0].scalar if parts else ())},
        fields=fields,
        fingerprint="",
    )


def cached(
    fingerprint: str, make: Iterable[FeatureBlock], fields: Mapping[str, Field], *, folder: Path | None = None
) -> Features:
    """Return the features of a fingerprint from the cache, or make and keep them.

    Args:
        fingerprint: of data, tokenizer, settings and code version.
        make: yields the blocks; it is not touched when the cache has them.
        fields: how ragged fields are padded.
        folder: the cache; default `LUTHIER_HOME/cache/features`.
    """
    target = (folder or home() / "cache" / "features") / fingerprint
    try:
        return _open(target, fields, fingerprint)
    except ArtifactError:
        shutil.rmtree(target, ignore_errors=True)
    with new_folder(target) as temporary:
        _write(temporary, make, fields)
    return _open(target, fields, fingerprint)


def _write(folder: Path, blocks: Iterable[FeatureBlock], fields: Mapping[str, Field]) -> None:
    arrays: dict[str, dict[str, Any]] = {}
    with ExitStack() as stack:
        streams: dict[str, BinaryIO] = {}

        def append(name: str, array: NDArray[Any]) -> None:
            if name not in streams:
                streams[name] = stack.enter_context((folder / f"{name}.bin").open("wb"))
                arrays[name] = {"dtype": array.dtype.newbyteorder("<").str, "length": 0}
            streams[name].write(np.ascontiguousarray(array).tobytes())
            arrays[name]["length"] += len(array)

        for name in fields:
            append(f"offsets.{name}", np.zeros(1, np.int64))
        for block in blocks:
            append("group", block.group)
            for unit, cost in block.cost.items():
                append(f"cost.{unit}", cost)
            for name, values in block.scalar.items():
                append(f"scalar.{name}", values)
            for name in fields:
                _append_ragged(append, arrays, name, block.ragged[name])
    seal(folder, {"kind": "features", "format_version": FORMAT_VERSION, "arrays": arrays})


def _append_ragged(
    append: Any, arrays: dict[str, dict[str, Any]], name: str, rows: Sequence[NDArray[np.int32]]
) -> None:
    start = arrays.get(f"values.{name}", {"length": 0})["length"]
    append(f"values.{name}", np.concatenate(rows) if len(rows) else np.empty(0, np.int32))
    append(f"offsets.{name}", start + np.cumsum([len(row) for row in rows], dtype=np.int64))


def _open(folder: Path, fields: Mapping[str, Field], fingerprint: str) -> Features:
    manifest = read_manifest(folder)
    for name, entry in manifest["files"].items():
        if not (folder / name).exists() or (folder / name).stat().st_size != entry["bytes"]:
            raise ArtifactError(f"{name} is damaged.", where=str(folder))

    def array(name: str) -> NDArray[Any]:
        entry = manifest["arrays"][name]
        if entry["length"] == 0:
            return np.empty(0, entry["dtype"])
        return np.memmap(folder / f"{name}.bin", dtype=entry["dtype"], mode="r", shape=(entry["length"],))

    def group_of(prefix: str) -> dict[str, NDArray[Any]]:
        return {n.removeprefix(prefix): array(n) for n in manifest["arrays"] if n.startswith(prefix)}

    return Features(
        group=array("group"),
        cost=group_of("cost."),
        values=group_of("values."),
        offsets=group_of("offsets."),
        scalar=group_of("scalar."),
        fields=fields,
        fingerprint=fingerprint,
    )
