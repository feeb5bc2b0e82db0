"""The predictor: a loaded bundle that answers. `predict`, `serve` and evaluation use this one object."""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, SupportsIndex, overload

import numpy as np
from numpy.typing import NDArray

from luthier.artifacts.bundle import BundleManifest
from luthier.data.features import Features, in_memory
from luthier.data.outputs import Outputs, collect
from luthier.data.text import TextEncoder
from luthier.errors import DataError
from luthier.inference.generating import as_outputs, generate, stream
from luthier.inference.runtimes import Scorer, build_scorer
from luthier.inference.tokens import Token
from luthier.tasks import TASKS
from luthier.tasks.base import PER_TOKEN, CellError, Prediction, Scored, Task

BATCH_TOKENS, WRITING_TOKENS = 2048, 4096


class Predictions(Sequence[Prediction]):
    """Answers in the order of their inputs; a notebook shows them as a table."""

    def __init__(self, items: Iterable[Prediction]) -> None:
        self._items = list(items)

    @overload
    def __getitem__(self, index: SupportsIndex) -> Prediction: ...
    @overload
    def __getitem__(self, index: slice) -> Predictions: ...
    def __getitem__(self, index: Any) -> Any:
        return Predictions(self._items[index]) if isinstance(index, slice) else self._items[index]

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return f"Predictions({self._items!r})"

    def _repr_html_(self) -> str:
        rows = [item.as_columns() for item in self._items[:100]]
        if not rows:
            return "<p>no predictions</p>"
        head = "".join(f"<th>{html.escape(name)}</th>" for name in rows[0])
        body = "".join(f"<tr>{''.join(f'<td>{_cell(value)}</td>' for value in row.values())}</tr>" for row in rows)
        more = f"<p>and {len(self) - 100} more</p>" if len(self) > 100 else ""
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"


class Predictor:
    """A bundle that answers. `loading.load` makes one that is verified.

    Args:
        folder: the bundle.
        manifest: its manifest, verified.
        scorer: runs the model; default the bundle's first runtime.
    """

    def __init__(self, folder: Path, manifest: BundleManifest, scorer: Scorer | None = None) -> None:
        self.folder = folder
        self.manifest = manifest
        self.entry = manifest.entry_points[0]
        self.scorer = scorer or build_scorer(folder, manifest)
        self.task: Task = build_task(self.entry.task, self.entry.task_settings)
        self.encoder = TextEncoder(
            folder / manifest.backbone.folder,
            max_length=self.entry.preprocess.max_length,
            truncation_side=self.entry.preprocess.truncation_side,
        )
        self.decoding = self.task.decoding(self.encoder)
        self.inputs = tuple(role.name for role in self.task.roles if role.asked)
        self.required = tuple(role.name for role in self.task.roles if role.asked and role.required)
        self.per_token = PER_TOKEN.get(manifest.heads[0].kind, ())

    def calibrated(self, calibration: Mapping[str, float]) -> Predictor:
        """Return the same predictor with another calibration."""
        entry = self.entry.model_copy(update={"calibration": dict(calibration)})
        manifest = self.manifest.model_copy(update={"entry_points": [entry, *self.manifest.entry_points[1:]]})
        return Predictor(self.folder, manifest, self.scorer)

    def predict(self, inputs: Sequence[str | Mapping[str, Any]]) -> Predictions:
        """Return one answer per input, in order.

        Args:
            inputs: texts, where the task reads one column, or mappings from column name (the one trained with, or the
                task's own) to cell.

        Raises:
            DataError: an input cannot be read; the message says which.
        """
        if isinstance(inputs, (str, bytes, Mapping)):
            raise DataError("inputs must be a list of texts or mappings; got a single one.", fix="Put it in a list.")
        cells = [self.cells(item, f"input {number}") for number, item in enumerate(inputs)]
        return self.predict_cells(cells)

    def cells(self, item: str | Mapping[str, Any], place: str) -> dict[str, Any]:
        """Return one input's cells by role.

        Raises:
            DataError: a column is absent or its cell is not what the task reads.
        """
        if isinstance(item, str):
            item = {self.required[0]: item} if len(self.required) == 1 else {}
        if not isinstance(item, Mapping):
            raise DataError(f"must be text or a mapping; got {type(item).__name__}.", where=place)
        found = {}
        for role in self.inputs:
            column = self.entry.preprocess.columns.get(role, role)
            if column not in item and role not in item:
                if role not in self.required:
                    continue
                raise DataError(f'must have "{column}"; got {_listed(item)}.', where=place)
            try:
                found[role] = self.task.input_cell(role, item.get(column, item.get(role)))
            except CellError as error:
                raise DataError(f'"{column}" {error}.', where=place) from None
        try:
            self.task.check_row(found, None)
            self.task.check_fit(found, self.encoder)
        except CellError as error:
            column = "" if error.role is None else f'"{self.entry.preprocess.columns.get(error.role, error.role)}" '
            raise DataError(f"{column}{error}.", where=place) from None
        return found

    def predict_cells(self, cells: Sequence[Mapping[str, Any]]) -> Predictions:
        """Return one answer per row of cells that `cells` returned."""
        if not cells:
            return Predictions([])
        features = self.features(cells)
        return Predictions(self.decode(self.answers(features, cells)))

    def features(self, cells: Sequence[Mapping[str, Any]]) -> Features:
        """Return the features of some rows of cells."""
        roles = [role for role in self.inputs if any(role in row for row in cells)]
        columns = {role: [row.get(role) for row in cells] for role in roles}
        block = self.task.encode(columns, np.arange(len(cells)), self.encoder, None, self.entry.targets)
        return in_memory([block], self.task.fields(self.encoder))

    def outputs(
        self, features: Features, index: NDArray[np.int64] | None = None, *, batch_tokens: int = BATCH_TOKENS
    ) -> Outputs:
        """Return the model's named outputs for features in the order given, see `data.outputs.collect`.

        Args:
            features: any number.
            index: (N,) which of them; default all.
            batch_tokens: rows x longest row of a batch.
        """
        index = np.arange(len(features)) if index is None else index
        return collect(features, index, self.scorer.scores, budget=batch_tokens, per_token=self.per_token)

    def answers(self, features: Features, cells: Sequence[Mapping[str, Any]]) -> Scored:
        """Return what `decode` reads: the model's outputs, or the texts that it writes token by token.

        Args:
            features: of the cells.
            cells: rows by role.
        """
        index = np.arange(len(features))
        if self.decoding is None:
            return Scored(self.outputs(features), features, index, cells)
        prompts = [features.row("input_ids", row) for row in range(len(features))]
        written = generate(self.scorer.generator(), prompts, self.decoding, budget=WRITING_TOKENS)
        text = [self.encoder.text([token.id for token in answer]) for answer in written]
        found = {**as_outputs(written, self.decoding), "text": np.asarray(text, dtype=object)}
        return Scored(found, features, index, cells)

    def stream(self, cells: Mapping[str, Any]) -> Iterator[str | Prediction]:
        """Yield the pieces of one answer as they are written, and last the prediction that `predict` gives.

        Args:
            cells: one row's, from `cells`.
        """
        assert self.decoding is not None, "only a model that writes text can stream it"
        features = self.features([cells])
        prompt = features.row("input_ids", 0)
        written: list[Token] = []
        told = text = ""
        for token in stream(self.scorer.generator(), prompt, self.decoding):
            written.append(token)
            text = self.encoder.text([one.id for one in written])
            if text != told and (token.last or not text.endswith("\ufffd")):  # half a character waits for the rest
                yield text[len(told) :]
                told = text
        outputs = {**as_outputs([written], self.decoding), "text": np.asarray([text], dtype=object)}
        yield self.decode(Scored(outputs, features, np.arange(1), [cells]))[0]

    def decode(self, scored: Scored) -> Sequence[Prediction]:
        """Return the task's predictions, one per row of cells."""
        return self.task.decode(scored, self.entry.targets, self.entry.calibration)


def build_task(name: str, settings: Mapping[str, Any] | None = None) -> Task:
    """Return a task by name.

    Args:
        name: a key of `TASKS`.
        settings: JSON-like values of its settings class.
    """
    from luthier.config import build_settings

    if name not in TASKS:
        raise DataError(f'task must be one of {", ".join(TASKS)}; got "{name}".')
    kind = TASKS[name]
    return kind(build_settings(getattr(kind, "settings", None), settings or {}))


def _cell(value: Any) -> str:
    return html.escape(f"{value:.4f}" if isinstance(value, float) else str(value))


def _listed(item: Mapping[str, Any]) -> str:
    return ", ".join(f'"{key}"' for key in item) or "no columns"
