"""A run's folder: which stages are done, from which inputs, with which outputs; one process at a time.

RUN/project.yaml      the project as the user wrote it, overrides included
RUN/plan.json         the resolved plan with everything `auto` chose
RUN/run.json          stage records: fingerprint, outputs, time
RUN/ledger.jsonl      each read of the test split, with the hash of the weights that were read against it
RUN/log.txt           what was printed, and tracebacks
RUN/<stage>/...       each stage's own files
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from luthier.artifacts.files import append_line, read_json, sha256_file, write_bytes_atomic, write_json_atomic
from luthier.errors import ArtifactError

RUN_SCHEMA_VERSION = 1


@dataclass(frozen=True)
class StageRecord:
    """A finished stage.

    Attributes:
        fingerprint: of everything the stage read.
        outputs: `{path below the run folder: sha256}`.
        seconds: wall time over all attempts that are known.
        cpu_seconds: processor time of the process during the stage.
        result: numbers that the closing JSON line quotes.
    """

    fingerprint: str
    outputs: dict[str, str]
    seconds: float
    cpu_seconds: float
    result: dict[str, Any] = field(default_factory=dict)


class RunDir:
    """A run folder and its record.

    Args:
        path: the folder; made if absent.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        self._stages: dict[str, StageRecord] = {}
        if self.record_path.exists():
            self._stages = _read_record(self.record_path)

    @property
    def record_path(self) -> Path:
        """The file with the stage records."""
        return self.path / "run.json"

    @property
    def plan_path(self) -> Path:
        """The file with the resolved plan."""
        return self.path / "plan.json"

    @property
    def bundle(self) -> Path:
        """The folder of the run's bundle."""
        return self.path / "bundle"

    @property
    def stages(self) -> Mapping[str, StageRecord]:
        """The finished stages by name."""
        return self._stages

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder for this process.

        Raises:
            ArtifactError: another process works in it.
        """
        from filelock import FileLock, Timeout

        lock = FileLock(self.path / ".lock", timeout=1)  # `luthier runs` holds it for an instant, to see who does
        try:
            lock.acquire()
        except Timeout:
            raise ArtifactError(
                "another process is working in this run folder.",
                where=str(self.path),
                fix="Wait for it, or choose another folder with --run-dir.",
            ) from None
        try:
            yield
        finally:
            lock.release()

    def done(self, stage: str, fingerprint: str) -> StageRecord | None:
        """Return a stage's record if it is finished, from these inputs, and its outputs are still what they were."""
        record = self._stages.get(stage)
        if record is None or record.fingerprint != fingerprint:
            return None
        whole = all(_matches(self.path / name, digest) for name, digest in record.outputs.items())
        return record if whole else None

    def finish(
        self,
        stage: str,
        *,
        fingerprint: str,
        outputs: list[Path],
        seconds: float,
        cpu_seconds: float,
        result: dict[str, Any],
    ) -> StageRecord:
        """Record a stage as finished."""
        hashes = {path.relative_to(self.path).as_posix(): sha256_file(path) for path in outputs}
        record = StageRecord(fingerprint, hashes, round(seconds, 3), round(cpu_seconds, 3), result)
        self._stages[stage] = record
        self._write()
        return record

    def forget(self, stage: str) -> None:
        """Drop a stage's record before it is done again, so that half of it is never taken for the whole."""
        if self._stages.pop(stage, None) is not None:
            self._write()

    def _write(self) -> None:
        stages = {name: asdict(one) for name, one in self._stages.items()}
        write_json_atomic(self.record_path, {"schema_version": RUN_SCHEMA_VERSION, "stages": stages})

    def note_test_read(self, *, split: str, rows: int, weights_sha256: str, stage: str = "evaluate") -> None:
        """Append to the ledger that the test split was read by a stage, before it is read."""
        line = {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "split": split, "rows": rows}
        line["stage"] = stage
        append_line(self.path / "ledger.jsonl", json.dumps({**line, "weights_sha256": weights_sha256}))

    def log(self, text: str) -> None:
        """Append a line to the run's log."""
        append_line(self.path / "log.txt", text)

    def write_text(self, name: str, text: str) -> None:
        """Write a small file of the run atomically."""
        write_bytes_atomic(self.path / name, text.encode())


def _matches(path: Path, digest: str) -> bool:
    return path.is_file() and sha256_file(path) == digest


def _read_record(path: Path) -> dict[str, StageRecord]:
    try:
        value = read_json(path)
        return {name: StageRecord(**record) for name, record in value["stages"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(
            f"is damaged: {error}.", where=str(path), fix="Start over with --fresh (the old folder is kept)."
        ) from None


def set_aside(folder: Path) -> Path | None:
    """Rename a run folder to the first free `<name>.old-N` and return that; None if there is no such folder."""
    if not folder.exists():
        return None
    number = 1
    while (aside := folder.with_name(f"{folder.name}.old-{number}")).exists():
        number += 1
    folder.rename(aside)
    return aside
