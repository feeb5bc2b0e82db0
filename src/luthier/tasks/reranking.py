"""Reranking: passages in the order of how well each answers a query, every pair of texts read together."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from luthier.data.features import FeatureBlock, Field
from luthier.data.text import TextEncoder
from luthier.tasks.base import (
    BaseTask,
    Calibration,
    CellError,
    HeadSpec,
    Role,
    Scored,
    Targets,
    text_cell,
    token_fields,
)
from luthier.tasks.cells import json_cell, number_cell, text_key
from luthier.tasks.encoding import text_block

LOSSES = ("pointwise", "pairwise", "listwise")


@dataclass(frozen=True)
class RerankingSettings:
    """How scores are learnt."""

    loss: str = field(
        default="pointwise",
        metadata={
            "description": "pointwise judges each passage by itself, pairwise that the better one of two stands first, "
            "listwise that the right ones of a list stand first; the last two need rows with lists of passages."
        },
    )

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise ValueError(f'loss must be one of {", ".join(LOSSES)}; got "{self.loss}".')


@dataclass(frozen=True)
class Ranking:
    """Scored passages.

    Attributes:
        passages: as they came.
        scores: of each; a higher one answers better. No probabilities.
    """

    passages: tuple[str, ...]
    scores: tuple[float, ...]

    @property
    def order(self) -> list[int]:
        """The places of the passages, best first; of equal ones the first comes first."""
        return sorted(range(len(self.scores)), key=lambda place: -self.scores[place])

    def as_dict(self) -> dict[str, Any]:
        """Return the answer as JSON-like values: `scores` as the passages came, and `order`, best first."""
        return {"scores": list(self.scores), "order": self.order}

    def as_columns(self) -> dict[str, Any]:
        """Return the answer as flat cells: the best passage, and scores and order as JSON lists."""
        scores = json.dumps([round(score, 6) for score in self.scores])
        return {"best": self.passages[self.order[0]], "scores": scores, "order": json.dumps(self.order)}


class Reranking(BaseTask):
    """A score for each passage, given the query (a cross-encoder).

    `passages` is a list of texts (or its JSON text), or one text. `relevance` is, for a list, a number for each passage
    or the place of the right one counted from 0; for one text, its number. 0 is not relevant.
    """

    name: ClassVar[str] = "reranking"
    settings: ClassVar[type] = RerankingSettings
    roles: ClassVar[tuple[Role, ...]] = (Role("query"), Role("passages"), Role("relevance", target=True))
    objective: ClassVar[str] = "ranking"
    evaluation: ClassVar[str] = "ranking"
    headline: ClassVar[str] = "mrr"
    problem_type: ClassVar[str | None] = "regression"

    options: RerankingSettings

    def input_cell(self, role: str, value: Any) -> Any:
        """Return a text, or for `passages` a text or a list of texts."""
        if role != "passages":
            return text_cell(value)
        found = json_cell(value)
        if not isinstance(found, list):
            return text_cell(value)
        if not found:
            raise CellError("must have at least one passage; got an empty list")
        for number, passage in enumerate(found):
            try:
                text_cell(passage)
            except CellError as error:
                raise CellError(f"passage {number} {error}") from None
        return found

    def target_cell(self, value: Any) -> str:
        """Return relevance as the JSON text of a number or of a list of numbers."""
        found = json_cell(value)
        numbers = [number_cell(one) for one in found] if isinstance(found, list) else number_cell(found)
        if min(numbers if isinstance(numbers, list) else [numbers], default=0.0) < 0:
            raise CellError(f"must be 0 or more; got {value!r}")
        return json.dumps(numbers)

    def check_row(self, inputs: Mapping[str, Any], target: str | None) -> None:
        """Refuse relevance that does not fit the passages, and rows that the loss can learn nothing from."""
        if target is None:
            return
        passages = inputs["passages"]
        gains = relevances(passages, target)
        if self.options.loss == "pointwise" and max(gains) > 1:
            raise CellError(f"must be between 0 and 1 for the loss pointwise; got {max(gains):g}")
        if self.options.loss == "pointwise" and isinstance(passages, str):
            return
        if isinstance(passages, str):
            raise CellError(f"must come with a list of passages for the loss {self.options.loss}; got one text")
        if not any(gains):
            raise CellError("must name a relevant passage in the list; got none")
        if self.options.loss != "pointwise" and min(gains) == max(gains):
            raise CellError("must differ between the passages of the list; got one number for all")

    def fields(self, encoder: TextEncoder) -> dict[str, Field]:
        """Return the padding of token ids and token types."""
        return token_fields(encoder, types=True)

    def encode(
        self,
        columns: Mapping[str, Sequence[Any]],
        rows: NDArray[np.int64],
        encoder: TextEncoder,
        target: NDArray[np.int64] | None,
        targets: Targets,
    ) -> FeatureBlock:
        """Return a feature for each passage.

        Scalars: `query` (a hash of the query) and `list` (the row's number); unless predicting, `relevance`.
        """
        lists = [listed(cell) for cell in columns["passages"]]
        sizes = [len(passages) for passages in lists]
        rows_of = np.repeat(rows, sizes)
        pairs = [(query, text) for query, texts in zip(columns["query"], lists, strict=True) for text in texts]
        keys = np.fromiter(map(text_key, columns["query"]), np.int64, len(rows))
        scalar: dict[str, NDArray[Any]] = {"query": np.repeat(keys, sizes), "list": rows_of}
        if target is not None:
            cells = zip(columns["passages"], columns["relevance"], strict=True)
            scalar["relevance"] = np.asarray([gain for passages, cell in cells for gain in relevances(passages, cell)])
        return text_block(rows_of, encoder.encode(pairs), encoder, scalar, types=True)

    def head(self, targets: Targets) -> HeadSpec:
        """Return a classification head with one output: the score."""
        return HeadSpec("classification", {"outputs": 1})

    def plain_labels(self, targets: Targets) -> list[str]:
        """Return the name of the one output."""
        return ["relevance"]

    def objective_settings(self, targets: Targets) -> dict[str, Any]:
        """Return the loss."""
        return {"loss": self.options.loss}

    def decode(self, scored: Scored, targets: Targets, calibration: Calibration) -> list[Ranking]:
        """Return the scores of each row's passages, from `logits` (N, 1)."""
        scores = np.asarray(scored.outputs["logits"])[:, 0]
        groups = zip(scored.inputs, scored.groups(), strict=True)
        return [Ranking(tuple(listed(row["passages"])), tuple(map(float, scores[own]))) for row, own in groups]

    def probe(self, text: str) -> dict[str, Any]:
        """Return the text as a query with two passages, its first half and itself."""
        return {"query": text, "passages": [text[: max(1, len(text) // 2)].strip() or text, text]}

    def plain_texts(self, inputs: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the query and the first passage."""
        return inputs["query"], listed(inputs["passages"])[0]


def listed(passages: str | Sequence[str]) -> list[str]:
    """Return passages as a list; one text is a list of one."""
    return [passages] if isinstance(passages, str) else list(passages)


def relevances(passages: str | Sequence[str], cell: str) -> list[float]:
    """Return a number for each passage.

    Args:
        passages: from `Reranking.input_cell`.
        cell: from `Reranking.target_cell`.

    Raises:
        CellError: they do not fit the passages.
    """
    found = json.loads(cell)
    if isinstance(found, list):
        if len(found) != len(listed(passages)):
            raise CellError(f"must have a number for each of {len(listed(passages))} passages; got {len(found)}")
        return [float(one) for one in found]
    if isinstance(passages, str):
        return [float(found)]
    if not (float(found).is_integer() and 0 <= found < len(passages)):
        raise CellError(f"must be the place of one of {len(passages)} passages, counted from 0; got {found:g}")
    return [float(place == found) for place in range(len(passages))]
