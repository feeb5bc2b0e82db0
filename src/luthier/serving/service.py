"""A predictor behind a batching window: from a request's bytes to its answer, without a word of HTTP routing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from luthier.errors import DataError
from luthier.inference.predictor import Predictor
from luthier.serving.batching import Batcher, Cells
from luthier.serving.metrics import Metrics
from luthier.serving.refusals import RefusedError
from luthier.serving.schemas import parse
from luthier.serving.settings import ServeSettings
from luthier.version import __version__

WARM_UP = "A first sentence, so that the first real one does not wait."
EXAMPLE = "A wonderful film."


class Service:
    """Answers requests with one predictor.

    Args:
        predictor: verified; nothing else may use it while the service is open.
        settings: bounds.
    """

    def __init__(self, predictor: Predictor, settings: ServeSettings) -> None:
        self.predictor = predictor
        self.settings = settings
        manifest = predictor.manifest
        self.model = {"name": manifest.name, "weights_sha256": manifest.weights_sha256}
        build = {"version": __version__, "model": manifest.name, "weights_sha256": manifest.weights_sha256}
        self.metrics = Metrics(build=build, queue_depth=lambda: self.batcher.waiting)
        self.batcher = self._batcher()
        self.ready = False
        names = predictor.entry.preprocess.columns
        self.columns = [names.get(role, role) for role in predictor.required]
        self._columns = names
        self._known = {*predictor.inputs, *(names.get(role, role) for role in predictor.inputs)}

    def _batcher(self) -> Batcher:
        return Batcher(
            self.predictor.predict_cells,
            window_ms=self.settings.window_ms,
            max_batch_rows=self.settings.max_batch_rows,
            max_queue_rows=self.settings.max_queue_rows,
            on_batch=self.metrics.batches.observe,
        )

    async def open(self) -> None:
        """Start scoring and answer one made-up row, so that the first real one is not slower."""
        self.batcher = self._batcher()
        self.batcher.start()
        row = self.predictor.task.probe(WARM_UP)
        await self.batcher.run_alone(lambda: self.predictor.predict([row]))
        self.ready = True

    def example(self) -> dict[str, Any]:
        """Return a made-up row as a client sends it, by column."""
        row = self.predictor.task.probe(EXAMPLE)
        return {self._columns.get(role, role): cell for role, cell in row.items()}

    async def close(self) -> None:
        """Let nothing more in, and answer what is under way."""
        self.ready = False
        await self.batcher.drain(self.settings.drain_seconds)

    async def predict(self, body: bytes) -> dict[str, Any]:
        """Return the JSON-like answer to a request's body.

        Raises:
            RefusedError: with the HTTP status that says why.
        """
        request = parse(body)
        total = len(request.inputs)
        if total > self.settings.max_request_rows:
            text = f"inputs must have at most {self.settings.max_request_rows} rows; got {total}."
            raise RefusedError(413, "too-many-rows", f"{text} Send them in several requests.", where="inputs")
        good, bad = self._split(request.inputs)
        if bad and request.on_error == "fail":
            self.metrics.count_rows("refused", total)
            raise _bad_rows(bad)
        try:
            answers = await self.batcher.submit(list(good.values()))
        except RefusedError:
            self.metrics.count_rows("refused", total)
            raise
        self.metrics.count_rows("answered", len(good))
        self.metrics.count_rows("bad", len(bad))
        found = {place: answer.as_dict() for place, answer in zip(good, answers, strict=True)}
        found |= {place: error.body() for place, error in bad.items()}
        return {"predictions": [found[place] for place in range(total)], "model": self.model}

    def row(self, item: Any) -> Cells:
        """Return the cells of a request's only row.

        Raises:
            RefusedError: it cannot be read.
        """
        good, bad = self._split([item])
        if bad:
            self.metrics.count_rows("refused", 1)
            raise bad[0]
        return good[0]

    def _split(self, rows: Sequence[Any]) -> tuple[dict[int, Cells], dict[int, RefusedError]]:
        """Return the cells of the rows that can be read, and what is wrong with the others, by place."""
        good: dict[int, Cells] = {}
        bad: dict[int, RefusedError] = {}
        for place, row in enumerate(rows):
            try:
                good[place] = self._cells(row, f"inputs[{place}]")
            except DataError as error:
                what = error.what if error.fix is None else f"{error.what} {error.fix}"
                bad[place] = RefusedError(422, "bad-row", what, where=error.where)
        return good, bad

    def _cells(self, row: Any, place: str) -> Cells:
        if isinstance(row, Mapping) and (unknown := sorted(set(row) - self._known)):
            listed = ", ".join(f'"{name}"' for name in self.columns)
            raise DataError(f'has the unknown field "{unknown[0][:100]}"; the bundle reads {listed}.', where=place)
        cells = self.predictor.cells(row, place)
        for role, cell in cells.items():
            length = len(cell) if isinstance(cell, str) else max(map(len, map(str, cell)), default=0)
            if length > self.settings.max_text_characters:
                limit = f"{self.settings.max_text_characters:,}"
                raise DataError(f'"{role}" must be at most {limit} characters; got {length:,}.', where=place)
        return cells


def _bad_rows(bad: Mapping[int, RefusedError]) -> RefusedError:
    first = next(iter(bad.values()))
    more = f" ({len(bad) - 1} more rows are bad.)" if len(bad) > 1 else ""
    return RefusedError(422, first.code, f"{first.where}: {first.message}{more}", where=first.where)
