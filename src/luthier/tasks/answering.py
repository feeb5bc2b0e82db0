"""Answers that are texts: how they are made, and what is said of one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from annotated_types import Ge, Gt, Le
from numpy.typing import NDArray

from luthier.tasks.base import Decoding


def about(sentence: str) -> dict[str, str]:
    """Return a settings field's metadata."""
    return {"description": sentence}


@dataclass(frozen=True)
class AnswerSettings:
    """How answers are made."""

    max_new_tokens: Annotated[int, Ge(1)] = field(
        default=64, metadata=about("An answer is cut after this many tokens; longer answers take longer.")
    )
    num_beams: Annotated[int, Ge(1), Le(64)] = field(
        default=1,
        metadata=about("Answers that are followed at the same time; more are better, up to a point, and slower."),
    )
    length_penalty: Annotated[float, Ge(-10), Le(10)] = field(
        default=1.0, metadata=about("Of beams: above 0 favours long answers, below 0 short ones.")
    )
    early_stopping: bool = field(
        default=False, metadata=about("Of beams: end as soon as so many answers are finished as there are beams.")
    )
    temperature: Annotated[float, Ge(0), Le(10)] = field(
        default=0.0, metadata=about("0 always takes the likeliest token; higher draws more freely.")
    )
    top_p: Annotated[float, Gt(0), Le(1)] = field(
        default=1.0, metadata=about("Draws only from the likeliest tokens that hold this share together.")
    )
    seed: Annotated[int, Ge(0)] = field(
        default=13, metadata=about("Of the draws: one seed and one prompt give one answer.")
    )

    def __post_init__(self) -> None:
        if self.num_beams > 1 and self.temperature > 0:
            raise ValueError(f"temperature must be 0 with num_beams {self.num_beams}; got {self.temperature:g}.")

    def decoding(self, *, max_length: int | None, end_id: int) -> Decoding:
        """Return how answers are made.

        Args:
            max_length: of prompt and answer together; None where they stand apart.
            end_id: the token that ends an answer.
        """
        return Decoding(
            max_new_tokens=self.max_new_tokens,
            max_length=max_length,
            end_id=end_id,
            temperature=self.temperature,
            top_p=self.top_p,
            seed=self.seed,
            num_beams=self.num_beams,
            length_penalty=self.length_penalty,
            early_stopping=self.early_stopping,
        )


@dataclass(frozen=True)
class Completion:
    """A generated text.

    Attributes:
        completion: the text.
        tokens: how many were made, the end token included.
        finish: `end` where the model ended by itself, `length` where it was cut.
    """

    completion: str
    tokens: int
    finish: str

    def as_dict(self) -> dict[str, Any]:
        """Return the answer as JSON-like values."""
        return {"completion": self.completion, "tokens": self.tokens, "finish": self.finish}

    def as_columns(self) -> dict[str, Any]:
        """Return the answer as flat cells."""
        return self.as_dict()


def completions(outputs: Mapping[str, NDArray[Any]]) -> list[Completion]:
    """Return the texts that a generator made.

    Args:
        outputs: `text`, `length` and `ended`, (N,) each.
    """
    rows = zip(outputs["text"], outputs["length"], outputs["ended"], strict=True)
    return [Completion(str(text), int(length), "end" if ended else "length") for text, length, ended in rows]
