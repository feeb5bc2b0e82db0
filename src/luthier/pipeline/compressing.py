"""The compress stage: a search judged by validation rows, and the test rows read once for the point that was chosen."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from luthier.artifacts.bundle import BundleManifest
from luthier.artifacts.checkpoint import CheckpointStore
from luthier.artifacts.compression import CompressionReport, LossValues, PointRow
from luthier.artifacts.files import fingerprint, sha256_file
from luthier.artifacts.manifest import MANIFEST
from luthier.artifacts.run import RunDir
from luthier.compression.derived import torch_manifest
from luthier.compression.export.traceable import Batch
from luthier.compression.search import searching, width
from luthier.compression.search.candidates import entry_of, opened, write_bundle
from luthier.compression.search.contract import (
    Contract,
    Loss,
    Point,
    best,
    front,
    misses,
    nearest,
    quality_misses,
    rows_needed,
)
from luthier.compression.search.rates import SINGLES
from luthier.config import CompressSpec
from luthier.config.plan import changed_contract
from luthier.data.features import Features
from luthier.errors import ArtifactError, ContractError, StoppedError
from luthier.inference.loading import load
from luthier.inference.predictor import Predictor
from luthier.models.assembly import TaskModel
from luthier.models.tuning.base import Method
from luthier.objectives.distillation import TAUGHT, Distillation, TokenDistillation
from luthier.objectives.relations import RelationDistillation
from luthier.pipeline.judging import Judge
from luthier.pipeline.prepared import Prepared
from luthier.pipeline.resuming import reopened
from luthier.pipeline.training import TrainJob, choose, engine, used_rows
from luthier.training.events import StepDone, Stopped
from luthier.training.hardware import processor
from luthier.training.loop import Fit
from luthier.training.world import LocalWorld
from luthier.version import __version__

FOLDER, REPORT, COMPRESSED = "compress", "compression.json", "compressed"
RATE_ROWS = 256
WRITTEN_ROWS, WRITTEN_SINGLES = 16, 8
"""Rows that a model writes answers to, for its rates: together, and one at a time."""
BATCHES, BATCH_ROWS = 12, 16
MOST_TAUGHT = 2**31
"""Bytes of answers that are kept for models to learn from; more are computed batch by batch, again in every epoch."""
BOUND = 0.95
"""The confidence of the bound that is reported where the contract asks for none."""


def compress(
    run: str | Path,
    *,
    changes: Mapping[str, Any],
    fresh: bool = False,
    tell: Callable[[str], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> CompressionReport:
    """Search for a smaller and faster form of a finished run's bundle.

    Args:
        run: its folder, or that of its bundle.
        changes: keys of the project's `compress` block with values that take the place of the project's.
        fresh: begin the search anew.
        tell: told what happens.
        stop: asked between two candidates and steps.

    Raises:
        ArtifactError: the folder is no finished run, its rows changed, or its bundle is of a kind that is left alone.
        LuthierError: a value is out of its bounds.
        StoppedError: `stop` said yes.
    """
    from luthier.reporting.report import write_report

    folder = run_of(run)
    if not (folder / "bundle" / MANIFEST).exists() or not (folder / "plan.json").exists():
        fix = "Give the folder of a finished run, or its bundle there: the rows are needed."
        raise ArtifactError("is not a finished run.", where=str(run), fix=fix)
    record = RunDir(folder.resolve())
    with record.lock():
        prepared = reopened(record)
        if fresh:
            shutil.rmtree(record.path / FOLDER, ignore_errors=True)
        work = Compression(prepared, record, changed_contract(prepared.plan, changes), tell, stop)
        report = work.do()
        write_report(record, prepared.plan, record.path / "report.html")
    return report


def run_of(path: str | Path) -> Path:
    """Return the folder of a run, from it or from that of its bundle."""
    folder = Path(path)
    return folder if (folder / "plan.json").exists() else folder.parent


def compressed_bundle(path: str | Path) -> Path:
    """Return where a run's compressed bundle lies."""
    return run_of(path) / COMPRESSED


def refuse_broken(report: CompressionReport, folder: Path) -> None:
    """Raise a `ContractError` with the nearest miss where the contract is not kept."""
    if report.kept:
        return
    point = report.chosen or report.nearest
    needed = "" if report.rows_needed is None else f" The bound would take about {report.rows_needed:,} rows."
    time = "" if report.complete else " The time was up before everything was tried: raise compress.seconds."
    raise ContractError(
        f"no point keeps the contract; the nearest of {len(report.points)} is {point}: {', '.join(report.misses)}.",
        where=str(folder),
        fix=f"Loosen it, or see the points in report.html.{needed}{time}",
    )


@dataclass(frozen=True)
class Compression:
    """A search in a run's folder.

    Attributes:
        prepared: the inputs of the run.
        record: its folder, which holds a bundle.
        spec: the contract.
        tell: told what happens.
        stop: asked between two candidates and steps.
    """

    prepared: Prepared
    record: RunDir
    spec: CompressSpec
    tell: Callable[[str], None] = lambda _: None
    stop: Callable[[], bool] = lambda: False

    @property
    def folder(self) -> Path:
        """Where the search leaves its files."""
        return self.record.path / FOLDER

    @property
    def target(self) -> Path:
        """The compressed bundle."""
        return self.record.path / COMPRESSED

    @property
    def contract(self) -> Contract:
        """What must be kept."""
        return Contract(**self.spec.model_dump(include=set(Contract.__dataclass_fields__)))

    @cached_property
    def judge(self) -> Judge:
        """Compares with the run's bundle."""
        return Judge(self.prepared, self._source, self.spec.confidence or BOUND)

    @cached_property
    def _source(self) -> Predictor:
        manifest: BundleManifest = torch_manifest(self.record.bundle)
        return Predictor(self.record.bundle, manifest)

    def do(self) -> CompressionReport:
        """Search, choose by validation rows, read the test rows once, and write the bundle where all is kept.

        Raises:
            ArtifactError: the bundle is of a kind that is not compressed.
            StoppedError: `stop` said yes.
        """
        searching.begin(self.folder, self._made_from())
        search = self._search()
        found = search.run()
        # The model as it is keeps every limit on quality; it is the answer only where it is what was asked for.
        chosen = best(self.contract, found.points[1:]) or best(self.contract, found.points[:1])
        test = None
        wrong = [str(miss) for miss in ([] if chosen is None else misses(self.contract, chosen))]
        if chosen is not None and chosen is not found.points[0]:
            test = self._tested(search.candidate(chosen))
            wrong = [f"{miss} on the test rows" for miss in quality_misses(self.contract, test)]
        near = nearest(self.contract, found.points) if chosen is None else None
        if near is not None:
            wrong = [str(miss) for miss in near[1]]
        report = self._report(found, chosen, near[0] if near else None, test, wrong)
        self._write(search, chosen, report, found.points[0])
        report.write(self.folder / REPORT)
        return report

    def _made_from(self) -> dict[str, Any]:
        return {
            "bundle": sha256_file(self.record.bundle / MANIFEST),
            "rows": self.prepared.fingerprint,
            "recovery": [self.spec.epochs, self.spec.learning_rate, self.spec.relations],
            "confidence": self.judge.confidence,
            "processor": processor(),
            "version": __version__,
        }

    def _search(self) -> searching.Search:
        cells = self.prepared.dataset.inputs_of("validation", self.prepared.task)
        writes = self._source.decoding is not None
        places = np.unique(np.linspace(0, len(cells) - 1, WRITTEN_ROWS if writes else RATE_ROWS).round().astype(int))
        return searching.Search(
            source=self._source,
            folder=self.folder,
            variants=self.spec.moves == "all",
            seconds=self.spec.seconds,
            cells=[cells[place] for place in places],
            batches=self._batches(),
            tokens=used_rows(*self.prepared.part("train")),
            judge=self.judge.loss,
            recover=self._recover,
            tell=self.tell,
            stop=self.stop,
            singles=WRITTEN_SINGLES if writes else SINGLES,
        )

    def _batches(self) -> list[Batch]:
        """Return batches of training rows from all over the lengths."""
        features, index = self.prepared.part("train")
        by_length = index[np.argsort(features.total_cost[index], kind="stable")]
        number = min(BATCHES * BATCH_ROWS, len(by_length))
        spread = by_length[np.linspace(0, len(by_length) - 1, number).round().astype(int)]
        parts = [spread[i : i + BATCH_ROWS] for i in range(0, len(spread), BATCH_ROWS)]
        return [features.collate(part) for part in parts if len(part) > 1 or len(parts) == 1]

    def _recover(self, teacher: TaskModel, student: TaskModel, folder: Path, method: Method) -> TaskModel:
        """Train a model by a method to answer the training rows as another one does."""
        choices = choose(self.prepared)
        job = TrainJob(self.prepared, choices)
        numbers = job.numbers(self.spec.epochs, learning_rate=self.spec.learning_rate)
        made_from = fingerprint([self._made_from(), folder.name, asdict(numbers)])
        folder.mkdir(parents=True, exist_ok=True)
        objective = self._objective(teacher, student)
        fit = Fit(
            model=student,
            method=method,
            objective=objective,
            features=self._lessons if isinstance(objective, Distillation) else self.prepared.part("train")[0],
            order=self.prepared.order,
            numbers=numbers,
            world=LocalWorld(choices["device"].value),
            used_rows=used_rows(*self.prepared.part("train")),
            store=CheckpointStore(folder / "checkpoints", run_fingerprint=made_from, keep=1),
            stop=self.stop,
        )
        with engine(choices), ExitStack() as ending:
            if isinstance(objective, RelationDistillation):
                ending.callback(objective.close)
            for event in fit:
                if isinstance(event, Stopped):
                    raise StoppedError(
                        "stopped; a checkpoint was written.",
                        where=str(folder),
                        fix="Give the same command again to go on from there.",
                    )
                if isinstance(event, StepDone) and event.step % 100 == 0:
                    self.tell(f"{folder.name}: step {event.step}, loss {event.loss:.4f}")
        teacher.requires_grad_(True)
        return fit.model

    @cached_property
    def _lessons(self) -> Features:
        """The training rows with what the run's model answers to each, where that is one answer and not too much."""
        features, index = self.prepared.part("train")
        if self._source.per_token:
            return features
        outputs = self._source.outputs(features, index)
        if sum(values.nbytes for values in outputs.values()) > MOST_TAUGHT:
            return features
        taught = {}
        for name, values in outputs.items():
            taught[f"{TAUGHT}{name}"] = np.zeros((len(features), *values.shape[1:]), dtype=np.float32)
            taught[f"{TAUGHT}{name}"][index] = values
        return replace(features, scalar={**features.scalar, **taught})

    def _objective(
        self, teacher: TaskModel, student: TaskModel
    ) -> Distillation | RelationDistillation | TokenDistillation:
        """Return how far a model's answers are from another one's, with its tokens' relations where asked for."""
        if self._source.decoding is not None:
            return TokenDistillation(teacher)
        outputs = Distillation(teacher, per_token=teacher.per_token)
        taught, learning = width.projections(teacher), width.projections(student)
        if not taught or self.spec.relations == 0:
            return outputs
        return RelationDistillation(outputs, taught=taught, learning=learning, weight=self.spec.relations)

    def _tested(self, candidate: Path) -> Loss:
        """Return what the chosen point lost on the test rows."""
        rows = len(self.prepared.dataset.target("test"))
        digest = entry_of(candidate).weights_sha256
        self.record.note_test_read(split="test", rows=rows, weights_sha256=digest, stage="compress")
        return self.judge.loss(opened(candidate), "test")

    def _write(self, search: searching.Search, chosen: Point | None, report: CompressionReport, whole: Point) -> None:
        """Write the compressed bundle where the contract is kept; one of an earlier search goes."""
        shutil.rmtree(self.target, ignore_errors=True)
        if chosen is None or not report.kept or chosen is whole:
            return
        candidate = search.candidate(chosen)
        evaluation = self.judge.report(opened(candidate), "test")
        content = f"{evaluation.model_dump_json(indent=2)}\n".encode()
        write_bundle(candidate, self.target, evaluation=content, card=_card(chosen, report, whole))
        load(self.target)

    def _report(
        self,
        found: searching.Searched,
        chosen: Point | None,
        near: Point | None,
        test: Loss | None,
        wrong: Sequence[str],
    ) -> CompressionReport:
        shown = chosen or near
        asked = self.contract.confidence is not None and shown is not None
        best_points = {point.name for point in front(found.points)}
        return CompressionReport(
            contract=asdict(self.contract),
            headline=self.judge.metric,
            points=[_row(self.contract, point, point.name in best_points) for point in found.points],
            left_out=found.left_out,
            complete=found.complete,
            seconds=round(found.seconds, 1),
            chosen=None if chosen is None else chosen.name,
            nearest=None if near is None else near.name,
            test=None if test is None else LossValues(**asdict(test)),
            kept=chosen is not None and not wrong,
            misses=list(wrong),
            rows_needed=rows_needed(test or shown.loss, self.contract.max_drop) if asked and shown else None,
            processor={name: str(value) for name, value in processor().items()},
        )


def _row(contract: Contract, point: Point, on_front: bool) -> PointRow:
    return PointRow(
        name=point.name,
        runtime=point.runtime,
        precision=point.precision,
        bytes=point.bytes,
        rows_per_second=point.rate.rows_per_second,
        ratio=point.rate.ratio,
        p50_ms=point.rate.p50_ms,
        p95_ms=point.rate.p95_ms,
        loss=LossValues(**asdict(point.loss)),
        on_front=on_front,
        misses=[str(miss) for miss in misses(contract, point)],
    )


def _card(point: Point, report: CompressionReport, whole: Point) -> str:
    """Return what the model card says of the compression."""
    test = report.test
    assert test is not None, "a chosen point was tested"
    bound = "" if test.bound is None else f" (at most {test.bound:.2f} at {test.confidence:.0%})"
    flips = "" if test.flips is None else f", {100 * test.flips:.2f} % of the answers changed"
    return (
        f"\n## Compression\n\nThis bundle is the point `{point.name}` of a search over {len(report.points)} points, "
        f"chosen by validation rows. On the {test.rows} test rows it lost {test.drop:.2f} points of "
        f"{report.headline}{bound}{flips}. It answers {point.rate.ratio:.1f} times as many rows per second as the "
        f"model as it is in torch, on the processor that it was made on, and takes {point.bytes / whole.bytes:.0%} of "
        "the bytes. What stands above about training is about the model that it was made of.\n"
    )
