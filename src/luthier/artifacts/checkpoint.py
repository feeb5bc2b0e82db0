"""Checkpoints: whole or absent, verified before use, and the last good one never lost.

A checkpoint is a folder `step-00000123` with safetensors files (tensors by parameter name), `state.json` and, last,
`manifest.json`. It is written to a temporary folder on the same file system, flushed, and renamed. Older ones are
pruned only after the newer one was read back and verified. A damaged one is moved to `quarantine/` and named; the one
before it is used. `begun` marks that there was one, so that a folder whose checkpoints were all removed is told from
one that has none yet.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.artifacts.files import fsync_folder, read_json, write_bytes_atomic
from luthier.artifacts.manifest import new_folder, read_manifest, remove_leftovers, seal, verify_files
from luthier.errors import ArtifactError

PREFIX = "step-"
BEGUN = "begun"
CHECKPOINT_SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint: its folder, the step it stands after, and its state."""

    path: Path
    step: int
    state: dict[str, Any]


class CheckpointStore:
    """The checkpoints of one training stage.

    Args:
        folder: where they lie; made if absent.
        run_fingerprint: of everything that decides the weights; a checkpoint with another one is refused.
        keep: how many to keep.
    """

    def __init__(self, folder: Path, *, run_fingerprint: str, keep: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.run_fingerprint = run_fingerprint
        self.keep = keep
        remove_leftovers(folder)

    def steps(self) -> list[int]:
        """Return the steps of the checkpoints on disk, oldest first, good or not."""
        names = (path.name.removeprefix(PREFIX) for path in self.folder.glob(f"{PREFIX}*") if path.is_dir())
        return sorted(int(name) for name in names if name.isdigit())

    def save(self, step: int, state: dict[str, Any], write_tensors: Callable[[Path], None]) -> Path:
        """Write a checkpoint and prune the ones that it makes superfluous.

        Args:
            step: optimiser steps done.
            state: a JSON-like value.
            write_tensors: writes the tensor files into the folder it is given.
        """
        target = self._path(step)
        with new_folder(target) as folder:
            write_tensors(folder)
            (folder / "state.json").write_text(json.dumps(state, allow_nan=False), encoding="utf-8")
            seal(folder, self._head(step))
        verify_files(target, read_manifest(target))
        if not (self.folder / BEGUN).exists():
            write_bytes_atomic(self.folder / BEGUN, b"")
        for old in [one for one in self.steps() if one < step][: -self.keep + 1 or None]:
            shutil.rmtree(self._path(old))
        return target

    def states(self) -> list[dict[str, Any]]:
        """Return the state of each checkpoint on disk, without verifying it; one that cannot be read is left out."""
        found = []
        for step in self.steps():
            with suppress(OSError, ValueError):
                found.append(read_json(self._path(step) / "state.json"))
        return found

    def latest(
        self, check: Callable[[Mapping[str, Any]], None] = lambda _: None
    ) -> tuple[Checkpoint | None, list[str]]:
        """Return the newest whole checkpoint, and a sentence for each damaged one that was set aside.

        Args:
            check: given a checkpoint's state, raises an ArtifactError where what it speaks of is damaged.

        Returns:
            None and no sentence where no checkpoint was ever written.

        Raises:
            ArtifactError: a checkpoint of another run lies here.
        """
        notes: list[str] = []
        for step in reversed(self.steps()):
            path = self._path(step)
            try:
                found = self._read(path, step)
                check(found.state)
                return found, notes
            except _ForeignError as error:
                raise ArtifactError(
                    str(error.what),
                    where=str(path),
                    fix="Choose another --run-dir, or start over with --fresh.",
                ) from None
            except ArtifactError as error:
                notes.append(f"{error} The checkpoint was moved to {self._quarantine(path)}.")
        if not notes and (self.folder / BEGUN).exists():
            notes.append("They were all removed.")
        return None, notes

    def _read(self, path: Path, step: int) -> Checkpoint:
        manifest = read_manifest(path)
        verify_files(path, manifest)
        if manifest.get("run_fingerprint") != self.run_fingerprint:
            raise _ForeignError("is a checkpoint of another run (its data, model or settings differ).")
        if manifest.get("step") != step:
            raise ArtifactError(f"is damaged: its manifest speaks of step {manifest.get('step')}.", where=str(path))
        return Checkpoint(path, step, read_json(path / "state.json"))

    def _quarantine(self, path: Path) -> Path:
        parent = self.folder / "quarantine"
        parent.mkdir(exist_ok=True)
        number = 1
        while (target := parent / f"{path.name}-{number}").exists():
            number += 1
        path.rename(target)
        fsync_folder(self.folder)
        return target

    def _head(self, step: int) -> dict[str, Any]:
        return {
            "schema_version": CHECKPOINT_SCHEMA_VERSION,
            "kind": "checkpoint",
            "step": step,
            "run_fingerprint": self.run_fingerprint,
        }

    def _path(self, step: int) -> Path:
        return self.folder / f"{PREFIX}{step:08d}"


class _ForeignError(ArtifactError):
    """The checkpoint is whole but not this run's."""
