"""Embedding: a vector for a text, so that texts that belong together are near each other."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Gt, Le
from numpy.typing import NDArray

from luthier.data.features import FeatureBlock
from luthier.data.text import TextEncoder
from luthier.errors import DataError
from luthier.tasks.base import BaseTask, Calibration, CellError, HeadSpec, Role, Scored, Targets, text_cell
from luthier.tasks.cells import json_cell, number_cell, text_key
from luthier.tasks.encoding import text_block

TEXT, POSITIVE, NEGATIVE = 0, 1, 2  # which text of its row a feature is
READS = {"multiple-negatives": (), "cosine": ("score",), "contrastive": ("score",), "triplet": ("negative",)}
"""What each loss needs beside text and positive."""
KINDS = ("query", "passage")


def _about(sentence: str) -> dict[str, str]:
    return {"description": sentence}


@dataclass(frozen=True)
class EmbeddingSettings:
    """How vectors are learnt and made."""

    loss: str = field(
        default="auto",
        metadata=_about(
            "multiple-negatives (every other passage of the step is wrong), cosine or contrastive (with data.columns."
            "score), triplet (with data.columns.negative); auto takes cosine where there is a score, else "
            "multiple-negatives."
        ),
    )
    scale: Annotated[float, Gt(0)] = field(
        default=20.0,
        metadata=_about("Cosines are multiplied with it in multiple-negatives; higher looks at the hardest alone."),
    )
    margin: Annotated[float, Gt(0), Le(2)] = field(
        default=0.5, metadata=_about("How far apart contrastive and triplet push, in cosine distance.")
    )
    normalize: bool = field(default=True, metadata=_about("Whether vectors have unit length."))
    query_prefix: str = field(
        default="", metadata=_about("Written before texts that ask, such as E5's `query: `; it is part of the bundle.")
    )
    passage_prefix: str = field(
        default="", metadata=_about("Written before texts that answer, such as E5's `passage: `.")
    )

    def __post_init__(self) -> None:
        if self.loss not in {"auto", *READS}:
            raise ValueError(f'loss must be one of {", ".join(("auto", *READS))}; got "{self.loss}".')


@dataclass(frozen=True)
class Vector:
    """A text's vector."""

    embedding: tuple[float, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the answer as JSON-like values."""
        return {"embedding": list(self.embedding)}

    def as_columns(self) -> dict[str, Any]:
        """Return the answer as a flat cell: the vector as a JSON list."""
        return {"embedding": json.dumps([round(value, 7) for value in self.embedding])}


class Embedding(BaseTask):
    """A vector for each text (a bi-encoder).

    In training a row is two features, its text and its positive, and one for each of its negatives. When predicting it
    is one: `text`, which is a query unless `kind` says passage.
    """

    name: ClassVar[str] = "embedding"
    settings: ClassVar[type] = EmbeddingSettings
    roles: ClassVar[tuple[Role, ...]] = (
        Role("text"),
        Role("positive", target=True),
        Role("negative", required=False, training=True),
        Role("score", required=False, training=True),
        Role("kind", required=False),
    )
    objective: ClassVar[str] = "embedding"
    evaluation: ClassVar[str] = "retrieval"
    headline: ClassVar[str] = "mrr"

    options: EmbeddingSettings

    def check_columns(self, columns: Mapping[str, str]) -> None:
        """Refuse a loss without what it reads, and columns that it does not read."""
        loss = self.options.loss
        if loss == "auto":
            loss = "cosine" if "score" in columns else "multiple-negatives"
        missing = [role for role in READS[loss] if role not in columns]
        reads = {*READS[loss], *(["negative"] if loss == "multiple-negatives" else [])}
        unread = [role for role in ("negative", "score") if role in columns and role not in reads]
        if missing:
            fix = "Name the column, or choose another loss."
            raise DataError(f"data.columns.{missing[0]} must name a column for the loss {loss}.", fix=fix)
        if unread:
            fix = "Take it out, or choose another loss."
            raise DataError(f"data.columns.{unread[0]} must be absent: the loss {loss} does not read it.", fix=fix)

    def input_cell(self, role: str, value: Any) -> Any:
        """Return a text, a text or several as negatives, a score as a number, or a kind."""
        if role == "score":
            return self._score(value)
        if role == "negative":
            return self._negatives(value)
        if role != "kind":
            return text_cell(value)
        if value is None or value == "":
            return KINDS[0]
        if value not in KINDS:
            raise CellError(f"must be one of {', '.join(KINDS)}; got {value!r}")
        return value

    def _negatives(self, value: Any) -> str | list[str]:
        """Return one text, or the texts of a list."""
        found = json_cell(value)
        if not isinstance(found, list):
            return text_cell(value)
        if not found:
            raise CellError("must have at least one text; got an empty list")
        return [text_cell(one) for one in found]

    def _score(self, value: Any) -> float:
        found = number_cell(value)
        if self.options.loss == "contrastive" and found not in (0.0, 1.0):
            raise CellError(f"must be 0 or 1 for the loss contrastive; got {value!r}")
        if not -1 <= found <= 1:
            raise CellError(f"must be between -1 and 1; got {value!r}")
        return found

    def encode(
        self,
        columns: Mapping[str, Sequence[Any]],
        rows: NDArray[np.int64],
        encoder: TextEncoder,
        target: NDArray[np.int64] | None,
        targets: Targets,
    ) -> FeatureBlock:
        """Return the features of each row.

        Scalars: `part` (0 text, 1 positive, 2 negative), `key` (a hash of the text), and `score` where there is one.
        """
        kinds = columns.get("kind") or [KINDS[0]] * len(rows)
        query = [self._prefix(kind or KINDS[0]) + text for kind, text in zip(kinds, columns["text"], strict=True)]
        if target is None:
            return self._block(rows, [[one] for one in query], encoder)
        passage = self.options.passage_prefix
        texts = [[one, passage + positive] for one, positive in zip(query, columns["positive"], strict=True)]
        for row, cell in zip(texts, columns.get("negative", ()), strict=False):
            row += [passage + text for text in ([cell] if isinstance(cell, str) else cell)]
        return self._block(rows, texts, encoder, columns.get("score"))

    def _prefix(self, kind: str) -> str:
        return self.options.query_prefix if kind == KINDS[0] else self.options.passage_prefix

    def _block(
        self,
        rows: NDArray[np.int64],
        texts: Sequence[Sequence[str]],
        encoder: TextEncoder,
        score: Sequence[float] | None = None,
    ) -> FeatureBlock:
        """Return features from each row's texts: text, positive, negatives."""
        sizes = [len(row) for row in texts]
        flat = [text for row in texts for text in row]
        scalar = {
            "part": np.concatenate([np.minimum(np.arange(size), NEGATIVE) for size in sizes]),
            "key": np.fromiter(map(text_key, flat), np.int64, len(flat)),
        }
        if score is not None:
            scalar["score"] = np.repeat(np.asarray(score, np.float64), sizes)
        return text_block(np.repeat(rows, sizes), encoder.encode(flat), encoder, scalar)

    def head(self, targets: Targets) -> HeadSpec:
        """Return the head that pools and normalises."""
        return HeadSpec("embedding", {"normalize": self.options.normalize})

    def objective_settings(self, targets: Targets) -> dict[str, Any]:
        """Return loss, scale and margin."""
        return {"loss": self.options.loss, "scale": self.options.scale, "margin": self.options.margin}

    def decode(self, scored: Scored, targets: Targets, calibration: Calibration) -> list[Vector]:
        """Return the vector of each row's text, from `embedding` (N, H)."""
        vectors = np.asarray(scored.outputs["embedding"])[[own[0] for own in scored.groups()]]
        return [Vector(tuple(map(float, vector))) for vector in vectors]

    def plain_texts(self, inputs: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the text behind its prefix."""
        return (self._prefix(inputs.get("kind", KINDS[0])) + inputs["text"],)
