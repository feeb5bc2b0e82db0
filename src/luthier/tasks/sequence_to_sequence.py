"""Translation and summarisation: a text to another one, by an encoder that reads and a decoder that writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from luthier.data.features import FeatureBlock, Field
from luthier.data.text import TextEncoder
from luthier.errors import ModelError
from luthier.tasks.answering import AnswerSettings, Completion, about, completions
from luthier.tasks.base import BaseTask, Calibration, CellError, Decoding, HeadSpec, Role, Scored, Segment, Targets

LANGUAGE = "{language}"


@dataclass(frozen=True)
class WritingSettings(AnswerSettings):
    """How texts are read and answers are written."""

    prefix: str = field(
        default="",
        metadata=about(
            "Written before each text; a model that was trained with one needs it, such as "
            '"translate English to French: ". In a translation {language} stands for the cell of the language column.'
        ),
    )
    max_target_length: Annotated[int, Ge(2)] = field(
        default=128, metadata=about("True answers lose what lies behind this many tokens, the end token included.")
    )
    max_new_tokens: Annotated[int, Ge(1)] = field(
        default=128, metadata=about("An answer is cut after this many tokens; longer answers take longer.")
    )


class SequenceToSequence(BaseTask):
    """What translation and summarisation share; each names its columns.

    A row is one feature: `input_ids` for the encoder, and `label_ids`, the answer with the tokens that the tokenizer
    puts around a text, its end among them. Without an answer (predicting) `label_ids` is empty.
    """

    settings: ClassVar[type] = WritingSettings
    objective: ClassVar[str] = "causal-lm"
    writes: ClassVar[bool] = True

    options: WritingSettings

    def fields(self, encoder: TextEncoder) -> dict[str, Field]:
        """Return the padding of both sides; the output layer may be the whole table, so no row of it is left out."""
        return {
            "input_ids": Field(pad=encoder.pad_id, mask="attention_mask"),
            "label_ids": Field(pad=encoder.pad_id, mask="label_mask"),
        }

    def text(self, inputs: Mapping[str, Any]) -> str:
        """Return what the encoder reads of a row."""
        source = self.roles[0].name
        return f"{self.options.prefix.replace(LANGUAGE, str(inputs.get('language') or ''))}{inputs[source]}"

    def encode(
        self,
        columns: Mapping[str, Sequence[Any]],
        rows: NDArray[np.int64],
        encoder: TextEncoder,
        target: NDArray[np.int64] | None,
        targets: Targets,
    ) -> FeatureBlock:
        """Return one feature per row, with scalars for the check. An answer that is cut teaches no end."""
        names = [role.name for role in self.roles if not role.target and role.name in columns]
        cells = [dict(zip(names, row, strict=True)) for row in zip(*(columns[name] for name in names), strict=True)]
        read = encoder.encode([self.text(one) for one in cells])
        true = [np.empty(0, np.int32)] * len(read) if target is None else self._labels(columns, encoder)
        kept = [ids[: self.options.max_target_length] for ids in true]
        unknown = -1 if encoder.unknown_id is None else encoder.unknown_id
        number = len(read)
        return FeatureBlock(
            group=rows,
            cost={
                "encoder_tokens": np.fromiter((len(one.ids) for one in read), np.int64, number),
                "decoder_tokens": np.fromiter((len(ids) for ids in kept), np.int64, number),
            },
            ragged={"input_ids": [one.ids for one in read], "label_ids": kept},
            scalar={
                "full_length": np.fromiter((one.full_length for one in read), np.int32, number),
                "unknown": np.fromiter(
                    (one.unknown + int((ids == unknown).sum()) for one, ids in zip(read, kept, strict=True)),
                    np.int32,
                    number,
                ),
                "labelled": np.fromiter((len(ids) for ids in kept), np.int32, number),
                "cut_labels": np.fromiter(
                    (len(whole) > len(ids) for whole, ids in zip(true, kept, strict=True)), np.int32, number
                ),
            },
        )

    def _labels(self, columns: Mapping[str, Sequence[Any]], encoder: TextEncoder) -> list[NDArray[np.int32]]:
        """Return the true answers' tokens with their end."""
        target = next(role.name for role in self.roles if role.target)
        end = np.asarray([_end(encoder)], np.int32)
        found = encoder.ids(columns[target], special=True)
        return [ids if len(ids) and ids[-1] == end[0] else np.concatenate((ids, end)) for ids in found]

    def decoding(self, encoder: TextEncoder) -> Decoding:
        """Return how answers are made."""
        return self.options.decoding(max_length=None, end_id=_end(encoder))

    def head(self, targets: Targets) -> HeadSpec:
        """Return the sequence-to-sequence head."""
        return HeadSpec("sequence-to-sequence", {})

    def decode(self, scored: Scored, targets: Targets, calibration: Calibration) -> list[Completion]:
        """Return the texts that a generator made, from `text`, `length` and `ended` (N,)."""
        return completions(scored.outputs)

    def plain_texts(self, inputs: Mapping[str, Any]) -> tuple[str, ...]:
        """Return what the encoder reads."""
        return (self.text(inputs),)

    def segments(self, ids: Mapping[str, NDArray[np.int32]], encoder: TextEncoder) -> list[Segment]:
        """Return what is read, and the answer that is learnt."""
        return [Segment(encoder.written(ids["input_ids"])), Segment(encoder.written(ids["label_ids"]), learnt=True)]


class Translation(SequenceToSequence):
    """A text in another language. One model may know several: the language column says which is wanted."""

    name: ClassVar[str] = "translation"
    roles: ClassVar[tuple[Role, ...]] = (
        Role("source"),
        Role("target", target=True),
        Role("language", required=False),
    )
    evaluation: ClassVar[str] = "translation"
    headline: ClassVar[str] = "chrf"

    def check_row(self, inputs: Mapping[str, Any], target: str | None) -> None:
        """Refuse a prefix without the language that it asks for, and in training a language that is not read."""
        asked = LANGUAGE in self.options.prefix
        if asked and "language" not in inputs:
            raise CellError(f"needs a language beside it: {LANGUAGE} stands in the task's prefix")
        if not asked and "language" in inputs and target is not None:
            raise CellError(f"has a language beside it, but the task's prefix has no {LANGUAGE} that reads it")

    def probe(self, text: str) -> dict[str, Any]:
        """Return the text as source, and a made-up language where one is read."""
        return {"source": text, **({"language": "fr"} if LANGUAGE in self.options.prefix else {})}


class Summarisation(SequenceToSequence):
    """A shorter text that says what matters."""

    name: ClassVar[str] = "summarisation"
    roles: ClassVar[tuple[Role, ...]] = (Role("document"), Role("summary", target=True))
    evaluation: ClassVar[str] = "summary"
    headline: ClassVar[str] = "rouge_l"


def _end(encoder: TextEncoder) -> int:
    if encoder.end_id is None:
        raise ModelError("the model's tokenizer has no end-of-text token.", where=str(encoder.folder))
    return encoder.end_id
