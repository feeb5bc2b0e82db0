"""Token classification: the named parts of a text, such as persons and places."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from luthier.data.features import FeatureBlock, Field
from luthier.data.text import TextEncoder
from luthier.errors import DataError
from luthier.metrics.calibration import softmax
from luthier.tasks.base import (
    BaseTask,
    Calibration,
    CellError,
    Declared,
    HeadSpec,
    Role,
    Scored,
    Targets,
    text_cell,
    token_fields,
)
from luthier.tasks.entities import (
    Cell,
    Document,
    Place,
    Span,
    as_objects,
    check_apart,
    check_inside,
    document_of,
    json_text,
    overlapping,
    parsed,
    shown,
    span_of,
    words_cell,
)
from luthier.tasks.tags import OUTSIDE, Scheme, Tagging, as_bio, best_path, classes_of, spans_of_tags, tags_of
from luthier.tasks.windows import (
    check_stride,
    context,
    first_tokens,
    overlap,
    places_of,
    window_block,
    windows_of_lines,
    windows_of_texts,
)

IGNORED = -100  # the label of a token that is not learnt, as in Transformers


def _about(sentence: str) -> dict[str, str]:
    return {"description": sentence}


@dataclass(frozen=True)
class TokenSettings:
    """How texts and tags are read, and what is learnt."""

    input: Literal["auto", "text", "words"] = field(
        default="auto",
        metadata=_about(
            "What a text cell holds: text, words (a JSON list, or text that is cut at white space), or auto: a JSON "
            "list of texts is words, anything else text."
        ),
    )
    scheme: Scheme = field(
        default="auto",
        metadata=_about(
            "How tags of words are written: bio, bioes, plain (labels alone), or auto: seen from each row."
        ),
    )
    tagging: Tagging = field(
        default="bio",
        metadata=_about("The classes that are learnt: bio, or bioes, which has twice as many and marks ends too."),
    )
    stride: Annotated[int, Ge(0)] = field(
        default=64,
        metadata=_about("Tokens that two neighbouring windows of a long text share; more give context and cost time."),
    )
    context: Literal["text", "line"] = field(
        default="text",
        metadata=_about(
            "What a window may hold: text that goes on beyond a line, or one line alone. With line a text has the "
            "entities that its lines have one by one, and steps cost less; with text its neighbours are read as well."
        ),
    )


@dataclass(frozen=True)
class Entity:
    """A part of a text that the model names; `score` is the mean probability of its tokens' classes."""

    start: int
    end: int
    label: str
    text: str
    score: float


@dataclass(frozen=True)
class Entities:
    """The named parts of one text.

    Attributes:
        entities: in the order of the text, none overlapping.
        tags: one per word in the BIO or BIOES scheme, where the text came as words; None otherwise.
    """

    entities: tuple[Entity, ...]
    tags: tuple[str, ...] | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the answer as JSON-like values."""
        found: dict[str, Any] = {"entities": [dict(vars(one)) for one in self.entities]}
        return found if self.tags is None else {**found, "tags": list(self.tags)}

    def as_columns(self) -> dict[str, Any]:
        """Return the answer as cells, lists; CSV holds them as JSON."""
        return self.as_dict()


class TokenClassification(BaseTask):
    """The named parts of a text, learnt as a class per word.

    The text (or, with `context: line`, each line of it) is read through overlapping windows, so nothing of it is cut.
    The first token of each word (in Chinese, of each character) carries its class; following tokens are not learnt. A
    token that covers several Chinese characters stands for all of them. Decoding takes each token's logits from the
    window in which it has most context, and the most probable valid sequence of classes (Viterbi).
    """

    name: ClassVar[str] = "token-classification"
    settings: ClassVar[type] = TokenSettings
    roles: ClassVar[tuple[Role, ...]] = (Role("text"), Role("spans", target=True))
    objective: ClassVar[str] = "token-classification"
    evaluation: ClassVar[str] = "entities"
    headline: ClassVar[str] = "entity_f1"
    windows: ClassVar[bool] = True

    options: TokenSettings

    def input_cell(self, role: str, value: Any) -> Cell:
        """Return text, or a list of words."""
        mode = self.options.input
        words = None if mode == "text" and isinstance(value, str) else words_cell(value)
        if words is not None:
            return words
        if mode == "words" and isinstance(value, str) and value.strip():
            return value.split()
        return text_cell(value)

    def target_cell(self, value: Any) -> str:
        """Return JSON text: of a list of spans in their order, or of a list of tags, whatever their scheme, as BIO."""
        if value is None or (isinstance(value, str) and not value.strip()):
            raise CellError("is absent; a text without entities has []")
        found = parsed(value)
        if isinstance(found, str) and found.lstrip()[:1] not in {"[", "{"}:
            found = found.split()  # tags between spaces
        if not isinstance(found, list):
            raise CellError(f"must be a list of spans or of tags; got {shown(value)}")
        if found and all(isinstance(one, str) for one in found):
            return json_text(as_bio(found, self.options.scheme))
        return json_text(as_objects(sorted(span_of(one) for one in found)))

    def check_row(self, inputs: Mapping[str, Any], target: str | None) -> None:
        """Refuse offsets outside of the text, spans that overlap, tags that are not as many as words or broken."""
        if target is not None:
            self.gold(inputs["text"], target)

    def gold(self, cell: Cell, target: str) -> list[Span]:
        """Return the spans that a row's target marks, of the whole text.

        Raises:
            CellError: they do not go with the text.
        """
        document, found = document_of(cell), json.loads(target)
        if found and isinstance(found[0], str):
            if document.words is None:
                raise CellError("holds tags, so the text must come as words: a list of texts")
            if len(found) != len(document.words):
                raise CellError(f"must have as many tags as words; got {len(found)} for {len(document.words)} words")
            return spans_of_tags(found, document.words, "bio")
        spans = [Span(one["start"], one["end"], one["label"]) for one in found]
        for span in spans:
            check_inside(span, document.text)
        check_apart(spans)
        return spans

    def fit_targets(self, counts: Mapping[str, int], declared: Declared) -> Targets:
        """Return `{entities, classes}`: the labels of spans, and the classes of tokens."""
        found = sorted({label for cell in counts for label in self._labels_in(cell)})
        if not found:
            raise DataError(
                "the training rows must have entities; got none.", fix="Check data.columns.spans and the data."
            )
        if declared is not None:
            found = self._declared(found, declared)
        return {"entities": found, "classes": classes_of(found, self.options.tagging)}

    def _labels_in(self, cell: str) -> set[str]:
        found = json.loads(cell)
        if found and isinstance(found[0], str):
            return {tag[2:] for tag in found if tag != OUTSIDE}
        return {one["label"] for one in found}

    def _declared(self, found: Sequence[str], declared: Sequence[Any] | Mapping[Any, str]) -> list[str]:
        labels = [] if isinstance(declared, Mapping) else [str(one) for one in declared]
        if sorted(labels) != list(found):
            raise DataError(
                f"data.labels must list the labels of the training entities ({', '.join(found)}); got {declared}.",
                fix="Correct it, or take it out.",
            )
        return labels

    def plain_labels(self, targets: Targets) -> list[str]:
        """Return the classes of tokens."""
        return list(targets["classes"])

    def fields(self, encoder: TextEncoder) -> dict[str, Field]:
        """Return the padding; `labels` is -100 where nothing is learnt, places stay out of batches."""
        return {
            **token_fields(encoder, types=encoder.single_types),
            "labels": Field(pad=IGNORED),
            "place_starts": Field(pad=-1, batch=False),
            "place_ends": Field(pad=-1, batch=False),
        }

    def encode(
        self,
        columns: Mapping[str, Sequence[Any]],
        rows: NDArray[np.int64],
        encoder: TextEncoder,
        target: NDArray[np.int64] | None,
        targets: Targets,
    ) -> FeatureBlock:
        """Return a feature per window: `input_ids`, `labels`, and the place in the text that each token stands for."""
        check_stride(self.options.stride, encoder)
        documents = [document_of(cell) for cell in columns["text"]]
        cut = windows_of_lines if self.options.context == "line" else windows_of_texts
        windows = cut(encoder, [one.text for one in documents], self.options.stride)
        number_of = {name: number for number, name in enumerate(targets["classes"])}
        lists: dict[str, list[NDArray[np.int32]]] = {"labels": [], "place_starts": [], "place_ends": []}
        for row, (document, parts) in enumerate(zip(documents, windows, strict=True)):
            stand_for = first_tokens(document, parts)
            known = {} if target is None else self._classes(columns, row, stand_for, number_of)
            for part in parts:
                places = places_of(part, stand_for)
                lists["labels"].append(np.asarray([known.get(place, IGNORED) for place in places], np.int32))
                lists["place_starts"].append(np.asarray([start for start, _ in places], np.int32))
                lists["place_ends"].append(np.asarray([end for _, end in places], np.int32))
        labelled = np.asarray([int((row >= 0).sum()) for row in lists["labels"]], np.int32)
        scalar = {} if target is None else {"labelled": labelled}
        return window_block(rows, windows, types=encoder.single_types, ragged=lists, scalar=scalar)

    def _classes(
        self,
        columns: Mapping[str, Sequence[Any]],
        row: int,
        stand_for: Mapping[Place, Place],
        number_of: Mapping[str, int],
    ) -> dict[Place, int]:
        """Return the class of each place; a label that training did not have is outside."""
        spans = self.gold(columns["text"][row], columns["spans"][row])
        places = list(stand_for.values())
        tags = tags_of([overlapping(spans, place) for place in places], spans, self.options.tagging)
        return {place: number_of.get(tag, 0) for place, tag in zip(places, tags, strict=True)}

    def head(self, targets: Targets) -> HeadSpec:
        """Return a head with an output per class for each token."""
        return HeadSpec("token-classification", {"outputs": len(targets["classes"])})

    def decode(self, scored: Scored, targets: Targets, calibration: Calibration) -> list[Entities]:
        """Return the entities of each text, from `logits` (N,) of (T, C) each."""
        return [
            self._entities(document_of(cells["text"]), *merged(scored, group), targets)
            for cells, group in zip(scored.inputs, scored.groups(), strict=True)
        ]

    def probe(self, text: str) -> dict[str, Any]:
        """Return the text, as words where words are asked for."""
        return {"text": text.split() if self.options.input == "words" else text}

    def plain_texts(self, inputs: Mapping[str, Any]) -> None:
        """Return nothing: words are joined, and texts are read through windows."""
        return

    def _entities(
        self, document: Document, places: NDArray[np.int64], logits: NDArray[np.float64], targets: Targets
    ) -> Entities:
        probability = softmax(logits)
        logs = np.log(np.clip(probability, 1e-300, 1.0))
        breaks = line_breaks(document.text, places) if self.options.context == "line" else []
        path = np.concatenate(
            [best_path(part, targets["classes"], self.options.tagging) for part in np.split(logs, breaks)]
        )
        names = [targets["classes"][one] for one in path]
        spans = spans_of_tags(names, [(int(start), int(end)) for start, end in places], self.options.tagging)
        chosen = probability[np.arange(len(path)), path]
        entities = []
        for span in spans:
            inside = (places[:, 0] >= span.start) & (places[:, 1] <= span.end)
            text = document.text[span.start : span.end]
            entities.append(Entity(span.start, span.end, span.label, text, float(chosen[inside].mean())))
        if document.words is None:
            return Entities(tuple(entities))
        owners = [overlapping(spans, word) for word in document.words]
        return Entities(tuple(entities), tuple(tags_of(owners, spans, self.options.tagging)))


def line_breaks(text: str, places: NDArray[np.int64]) -> list[int]:
    """Return the positions of the places, (P, 2), that are the first of a line, without the text's first one."""
    return [one for one in range(1, len(places)) if "\n" in text[places[one - 1, 1] : places[one, 0]]]


def merged(scored: Scored, group: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the places of a text, (P, 2), and the logits of each from the window that gives it most context, (P, C).

    Args:
        scored: with `logits` (N,) of (T, C) each.
        group: (n,) positions of the text's windows, in their order.
    """
    features, parts = scored.features, []
    found = [int(scored.index[position]) for position in group]
    starts_of = [features.row("place_starts", feature) for feature in found]
    ends_of = [features.row("place_ends", feature) for feature in found]
    joined = [False, *map(overlap, ends_of, starts_of[1:]), False]
    for number, (position, starts, ends) in enumerate(zip(group, starts_of, ends_of, strict=True)):
        around = context(len(starts), first=not joined[number], last=not joined[number + 1])
        own = np.flatnonzero(starts >= 0)
        parts.append((starts[own], ends[own], around[own], scored.outputs["logits"][position][own]))
    starts, ends, around, logits = (np.concatenate([part[i] for part in parts]) for i in range(4))
    order = np.lexsort((-around, starts))  # of equal contexts the earlier window's
    kept = order[np.unique(starts[order], return_index=True)[1]]
    return np.stack([starts[kept], ends[kept]], axis=1).astype(np.int64), logits[kept]
