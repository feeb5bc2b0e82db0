"""The search: variants of the model in every form that this machine runs, measured, within a time budget.

Forms of the model as it is come first; then variants with fewer, narrower and thinner layers, which learn from the
model to answer as it does, in those forms that were on the Pareto front. What does best is tried with a smaller
vocabulary too, before the variants and after them. Each point is written to `points.jsonl` when it is measured, so a
search that is continued measures nothing twice. Points are judged by validation rows alone.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from luthier.artifacts.bundle import MODEL
from luthier.artifacts.files import append_line, read_json, write_json_atomic
from luthier.artifacts.manifest import new_folder
from luthier.compression.derived import copy_parts
from luthier.compression.export.traceable import Batch
from luthier.compression.search import layers, low_rank, sparse, vocabulary, width
from luthier.compression.search.candidates import (
    Variant,
    graph_of,
    opened,
    read_variant,
    size_of,
    write_candidate,
    write_packed_candidate,
    write_variant,
)
from luthier.compression.search.contract import Loss, Point, front
from luthier.compression.search.forms import FORMS, Form
from luthier.compression.search.rates import SINGLES, Cells, rates
from luthier.compression.search.shapes import Shape, shallower, shapes
from luthier.compression.search.weight_only import WEIGHT_FORMS, WeightForm
from luthier.errors import LuthierError, ModelError, StoppedError
from luthier.inference.predictor import Predictor
from luthier.inference.runtimes import TorchScorer
from luthier.models.assembly import TaskModel
from luthier.models.tuning.base import Method
from luthier.models.tuning.full import Full

LEDGER = "points.jsonl"
AS_IS = "as it is"
MOST_FORMS = 3
"""How many forms a variant is tried in, and how many points with a smaller vocabulary."""

AnyForm = Form | WeightForm
Recover = Callable[[TaskModel, TaskModel, Path, Method], TaskModel]


@dataclass(frozen=True)
class Searched:
    """What a search found.

    Attributes:
        points: in the order in which they were measured; the first is the model as it is, with torch.
        left_out: `{name: why it was not measured}`.
        seconds: of work, over all its parts.
        complete: whether everything was tried; False where the time was up.
    """

    points: list[Point]
    left_out: dict[str, str]
    seconds: float
    complete: bool


@dataclass
class Search:
    """A search in a folder.

    Args:
        source: the bundle, with torch.
        folder: for what it leaves; a new search has a new one.
        variants: whether models with fewer and narrower layers and smaller vocabularies are tried too.
        seconds: of work, after which no new candidate is begun.
        cells: validation rows for rates.
        batches: of training rows, for ranges of activations and for the importance of layers.
        tokens: rising numbers of the tokens in the training rows; None where rows are more than tokens.
        judge: a predictor to what its answers lost on validation rows.
        recover: trains the second model by a method to answer as the first one does; it may keep checkpoints in the
            folder.
        tell: told what happens.
        stop: asked between two candidates.
        singles: how many rows are asked one at a time.
    """

    source: Predictor
    folder: Path
    variants: bool
    seconds: float
    cells: Cells
    batches: Sequence[Batch]
    tokens: NDArray[np.int64] | None
    judge: Callable[[Predictor], Loss]
    recover: Recover
    tell: Callable[[str], None] = lambda _: None
    stop: Callable[[], bool] = lambda: False
    singles: int = SINGLES
    _lines: list[dict[str, Any]] = field(default_factory=list)
    _whole: dict[str, tuple[Shape | None, AnyForm]] = field(default_factory=dict)
    """What each point with the whole vocabulary is."""

    def run(self) -> Searched:
        """Measure everything that was not measured yet.

        Raises:
            ModelError: no runtime is installed that a form could run on.
            StoppedError: `stop` said yes.
        """
        if all(form.refusal() for form in self._forms()):
            raise ModelError(
                "nothing can be tried: neither ONNX Runtime nor OpenVINO is installed.",
                fix='Install them: pip install "luthier[compress]".',
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / LEDGER
        whole = path.read_text("utf-8").split("\n")[:-1] if path.exists() else []  # a kill may leave half a line
        self._lines = [json.loads(line) for line in whole]
        complete = all(self._step(name, work) for name, work in self._plan())
        return Searched(
            points=self._points(),
            left_out={line["name"]: line["why"] for line in self._lines if "why" in line},
            seconds=self._spent(),
            complete=complete,
        )

    def candidate(self, point: Point) -> Path:
        """Return the folder of a point that is not the model as it is."""
        return self.folder / "candidates" / _slug(point.name)

    def _plan(self) -> Iterator[tuple[str, Callable[[], Point]]]:
        """Yield the name of each point and what measures it, one after another: later ones depend on earlier ones."""
        whole = size_of(self.source.folder)
        yield AS_IS, lambda: self._measured(AS_IS, self.source, whole, time.monotonic())
        forms = [form for form in self._forms() if self._allowed(form)]
        for form in forms:
            yield form.name, self._work(form.name, None, form)
        if self.variants and self.source.decoding is not None:
            yield from self._shallower(forms)
        elif self.variants:
            yield from self._fewer_tokens()
            yield from self._smaller(forms)
            yield from self._fewer_tokens()

    def _forms(self) -> Sequence[AnyForm]:
        """Return what is tried: graphs, or packed weights of a model that writes text."""
        return list(FORMS.values() if self.source.decoding is None else WEIGHT_FORMS.values())

    def _shallower(self, forms: Sequence[AnyForm]) -> Iterator[tuple[str, Callable[[], Point]]]:
        """Yield a model that writes text with fewer layers."""
        model = self._model(self.source)
        why = layers.refusal(model)
        if why is not None:
            self._leave_out("layers", why)
            return
        tried = self._fitting(forms)
        for shape in shallower(layers.depth(model)):
            for form in tried:
                name = f"{shape.name}, {form.name}"
                yield name, self._work(name, shape, form)

    def _smaller(self, forms: Sequence[AnyForm]) -> Iterator[tuple[str, Callable[[], Point]]]:
        model = self._model(self.source)
        why = layers.refusal(model)
        if why is not None:
            self._leave_out("layers", why)
        narrow = width.refusal(model)
        if narrow is not None:
            self._leave_out("width", narrow)
        thin = low_rank.refusal(model)
        if thin is not None:
            self._leave_out("low rank", thin)
        tried = self._fitting(forms)
        may = {"layers_may_go": why is None, "may_be_narrow": narrow is None, "may_be_thin": thin is None}
        for shape in shapes(layers.depth(model), **may):
            stored = [one for one in (sparse.STORED.get(shape.sparse),) if one is not None and self._allowed(one)]
            for form in stored if shape.sparse else tried:
                name = f"{shape.name}, {form.name}"
                yield name, self._work(name, shape, form)

    def _fewer_tokens(self) -> Iterator[tuple[str, Callable[[], Point]]]:
        """Yield the best points so far with smaller vocabularies."""
        folder = self.source.folder / MODEL
        model = self._model(self.source)
        why = "the rows are not tokens alone" if self.tokens is None else vocabulary.refusal(model, folder)
        if why is not None or self.tokens is None:
            self._leave_out("vocabulary", str(why))
            return
        rows = cast(Any, model.backbone).get_input_embeddings().num_embeddings
        best = self._best([point for point in self._points() if point.name in self._whole])
        for level in vocabulary.LEVELS:
            if len(vocabulary.kept_tokens(folder, self.tokens, level)) > (1 - vocabulary.WORTH) * rows:
                self._leave_out(level, f"{1 - vocabulary.WORTH:.0%} of the vocabulary or more would stay")
                continue
            for point in best:
                shape, form = self._whole[point.name]
                name = ", ".join([*([] if shape is None else [shape.name]), level, form.name])
                yield name, self._work(name, shape, form, level)

    def _fitting(self, forms: Sequence[AnyForm]) -> list[AnyForm]:
        """Return the forms that variants are tried in: of those on the front the fastest, and the smallest."""
        names = {form.name: form for form in forms}
        best = self._best([point for point in self._points() if point.name in names])
        return [names[point.name] for point in best] or list(forms)[:MOST_FORMS]

    @staticmethod
    def _best(points: Sequence[Point]) -> list[Point]:
        """Return a few of the points on the front: the fastest, the smallest, and the others by speed."""
        found = sorted(front(points), key=lambda one: -one.rate.ratio)
        small = min(found, key=lambda one: one.bytes, default=None)
        return list({one.name: one for one in [*found[:1], *([small] if small else []), *found]}.values())[:MOST_FORMS]

    def _work(self, name: str, shape: Shape | None, form: AnyForm, level: str | None = None) -> Callable[[], Point]:
        if level is None:
            self._whole[name] = shape, form

        def work() -> Point:
            started = time.monotonic()
            target = self.folder / "candidates" / _slug(name)
            if not target.exists():
                variant = self.source if shape is None else self._answering(self._variant(shape))
                batches, graph = self.batches, "as it is" if shape is None else shape.name
                if level is not None:
                    variant, batches = self._cut(variant, level)
                    graph = f"{graph}, {level}"
                if isinstance(form, WeightForm):
                    write_packed_candidate(variant, form, target, batches, self.source.folder)
                else:
                    names = graph_of(variant, self.folder / "graphs" / _slug(graph))
                    write_candidate(variant, form, names, target, batches, self.source.folder)
            return self._measured(name, opened(target), size_of(target), started)

        return work

    def _cut(self, variant: Predictor, level: str) -> tuple[Predictor, Sequence[Batch]]:
        """Return a variant with a smaller vocabulary, and the batches of training rows in its numbers."""
        assert self.tokens is not None, "the rows are tokens"
        kept = vocabulary.kept_tokens(self.source.folder / MODEL, self.tokens, level)
        folder = self.folder / "vocabularies" / _slug(level)
        if not folder.exists():
            with new_folder(folder) as made:
                copy_parts(self.source.folder, made)
                vocabulary.write_tokenizer(made / MODEL, kept)
        scorer = TorchScorer(vocabulary.with_tokens(self._model(variant), kept))
        fields = self.source.task.fields(self.source.encoder).items()
        names = {name for name, one in fields if one.tokens}
        batches = [
            {
                name: np.searchsorted(kept, array).astype(array.dtype) if name in names else array
                for name, array in one.items()
            }
            for one in self.batches
        ]
        return Predictor(folder, variant.manifest, scorer), batches

    def _answering(self, variant: Variant) -> Predictor:
        return Predictor(self.source.folder, self.source.manifest, TorchScorer(variant.model))

    def _variant(self, shape: Shape) -> Variant:
        """Return the model in a shape, which learnt from the whole one; made at the first call.

        It begins as the next larger one, so that little goes at a time, with learning between.
        """
        folder = self.folder / "variants" / _slug(shape.name)
        teacher = self._model(self.source)
        if folder.exists():
            return read_variant(teacher, folder)
        whole = Variant(teacher, list(range(layers.depth(teacher))))
        before = whole if shape.larger is None else self._variant(shape.larger)
        student, kept = before.model, before.layers
        if shape.layers < len(kept):
            gone = layers.order_of_removal(student, self.batches)[: len(kept) - shape.layers]
            student = layers.without_layers(student, gone)
            kept = [layer for place, layer in enumerate(kept) if place not in gone]
        elif shape.rank < 1:
            student = low_rank.factored(student, float(shape.rank), self.batches)
        elif shape.sparse:
            student = sparse.halved(student, shape.sparse, self.batches)
        else:
            wide = 1 if shape.larger is None else shape.larger.width
            student = width.narrowed(student, float(shape.width / wide), self.batches)
        self.tell(f"{shape.name}: learning from the whole model")
        method = sparse.KeepsZeros() if shape.sparse else Full()
        trained = self.recover(teacher, student, self.folder / "recovery" / _slug(shape.name), method)
        made = Variant(trained.eval(), kept)
        write_variant(made, folder)
        return made

    def _measured(self, name: str, predictor: Predictor, size: int, started: float) -> Point:
        runtime = predictor.manifest.runtimes[0]
        loss = self.judge(predictor)
        return Point(
            name=name,
            runtime=runtime.name,
            precision=runtime.precision,
            bytes=size,
            loss=loss,
            rate=rates(predictor, self.source, self.cells, singles=self.singles),
            seconds=time.monotonic() - started,
        )

    def _step(self, name: str, work: Callable[[], Point]) -> bool:
        """Measure one point unless it was; return False where the time is up."""
        if any(line["name"] == name for line in self._lines):
            return True
        if self.stop():
            raise StoppedError(
                "stopped between two candidates.", where=str(self.folder), fix="Give the same command to go on."
            )
        if self._spent() >= self.seconds and len(self._points()) > 1:
            return False
        started = time.monotonic()
        try:
            point = work()
        except StoppedError:
            raise
        except LuthierError as error:
            self._leave_out(name, str(error), time.monotonic() - started)
            return True
        self._write({"name": name, "point": point.as_dict(), "seconds": time.monotonic() - started})
        self.tell(
            f"{name}: {point.rate.ratio:.2f} times as fast, {point.mib:.1f} MiB, "
            f"{point.loss.drop:+.2f} points lost on validation"
        )
        return True

    def _allowed(self, form: AnyForm) -> bool:
        why = form.refusal()
        if why is not None:
            self._leave_out(form.name, why)
        return why is None

    def _leave_out(self, name: str, why: str, seconds: float = 0.0) -> None:
        if all(line["name"] != name for line in self._lines):
            self._write({"name": name, "why": why, "seconds": seconds})
            self.tell(f"{name}: left out: {why}")

    def _write(self, line: dict[str, Any]) -> None:
        append_line(self.folder / LEDGER, json.dumps(line))
        self._lines.append(line)

    def _points(self) -> list[Point]:
        return [Point.of(line["point"]) for line in self._lines if "point" in line]

    def _spent(self) -> float:
        return sum(float(line["seconds"]) for line in self._lines)

    @staticmethod
    def _model(predictor: Predictor) -> TaskModel:
        scorer = predictor.scorer
        assert isinstance(scorer, TorchScorer), "the search begins with torch"
        return scorer.model


def begin(folder: Path, made_from: Mapping[str, Any]) -> bool:
    """Make a search's folder; return whether it was there, from the same inputs.

    Args:
        folder: of the search.
        made_from: what decides its points, JSON-like.

    Raises:
        LuthierError: the folder holds a search from other inputs.
    """
    path = folder / "inputs.json"
    if path.exists():
        if read_json(path) != json.loads(json.dumps(made_from)):
            raise LuthierError(
                "holds a search from other inputs (bundle, rows, learning, confidence, processor or version).",
                where=str(folder),
                fix="Start it over with --fresh.",
            )
        return True
    with new_folder(folder) as made:
        write_json_atomic(made / "inputs.json", dict(made_from))
    return False


def _slug(name: str) -> str:
    return "-".join("".join(char if char.isalnum() else " " for char in name).split())
