"""Text generation: the completion of a prompt, learnt from the completion's tokens alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from luthier.data.features import FeatureBlock, Field
from luthier.data.text import TextEncoder
from luthier.tasks.answering import AnswerSettings, Completion, about, completions
from luthier.tasks.base import (
    BaseTask,
    Calibration,
    CellError,
    Decoding,
    HeadSpec,
    Role,
    Scored,
    Segment,
    Targets,
    text_cell,
)
from luthier.tasks.templates import ASSISTANT, CHAT, NAMED, PLACE, SYSTEM, USER, Message, Prompt, Template, conversation


@dataclass(frozen=True)
class GenerationSettings(AnswerSettings):
    """How prompts are written and how answers are made."""

    template: str = field(
        default="auto",
        metadata=about(
            "What is written around a prompt: chat (the tokenizer's own), instruction, plain, or a text with {prompt}; "
            "auto takes chat where the tokenizer has a chat template, else instruction."
        ),
    )
    system: str | None = field(
        default=None, metadata=about("The system message of a chat; null leaves it to the template.")
    )
    packing: bool = field(
        default=False,
        metadata=about(
            "Train several rows in one sequence, none of which sees another: no padding, the same loss; for models of "
            "type gpt2, llama and qwen2."
        ),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.template not in {"auto", CHAT, *NAMED} and PLACE not in self.template:
            known = ", ".join(("auto", CHAT, *NAMED))
            raise ValueError(f'template must be one of {known}, or a text with {PLACE}; got "{self.template}".')


class TextGeneration(BaseTask):
    """The completion of a prompt.

    A row is one feature: the prompt in its template, the completion and the end token. `label_mask` is 1 on the tokens
    that are learnt: completion and end. Without a completion (predicting) a feature is the prompt alone.

    A prompt is a text or a conversation (a list of messages, each with role and content). A conversation that ends with
    the assistant's message is the prompt before it, and as a completion that message: one column can be both.
    """

    name: ClassVar[str] = "text-generation"
    settings: ClassVar[type] = GenerationSettings
    roles: ClassVar[tuple[Role, ...]] = (Role("prompt", shared=True), Role("completion", target=True, shared=True))
    objective: ClassVar[str] = "causal-lm"
    writes: ClassVar[bool] = True
    evaluation: ClassVar[str] = "generation"
    headline: ClassVar[str] = "perplexity"

    options: GenerationSettings

    def input_cell(self, role: str, value: Any) -> Prompt:
        """Return a text, or the messages before an answer."""
        messages = conversation(value)
        if messages is None:
            return text_cell(value)
        prompt = messages[:-1] if messages[-1]["role"] == ASSISTANT else messages
        if not prompt or prompt[-1]["role"] == SYSTEM:
            raise CellError("must have a message of the user")
        return prompt

    def target_cell(self, value: Any) -> str:
        """Return a text, or that of a conversation's last message, which must be the assistant's."""
        messages = conversation(value)
        if messages is None:
            return text_cell(value)
        if messages[-1]["role"] != ASSISTANT:
            raise CellError("must end with a message of the assistant")
        return messages[-1]["content"]

    def check_fit(self, inputs: Mapping[str, Any], encoder: TextEncoder) -> None:
        """Refuse a conversation where no chat template writes it; what is too long is cut."""
        if not isinstance(inputs["prompt"], str) and not self.template(encoder).chat:
            raise CellError(
                "is a conversation, which only the chat template of a model made for chat can write", "prompt"
            )

    def fields(self, encoder: TextEncoder) -> dict[str, Field]:
        """Return the padding of `input_ids` and `label_mask`."""
        return {"input_ids": Field(pad=encoder.pad_id, mask="attention_mask"), "label_mask": Field(pad=0)}

    def template(self, encoder: TextEncoder) -> Template:
        """Return the template that training and serving share."""
        return Template(self.options.template, encoder, self.options.system)

    def encode(
        self,
        columns: Mapping[str, Sequence[Any]],
        rows: NDArray[np.int64],
        encoder: TextEncoder,
        target: NDArray[np.int64] | None,
        targets: Targets,
    ) -> FeatureBlock:
        """Return one feature per row: `input_ids` and `label_mask`, and scalars for the check.

        A row that is too long loses the end of its completion, or with `truncation_side: left` its start; what was cut
        off teaches no end.
        """
        template = self.template(encoder)
        if target is None:
            prompts = [self._prompt(template, text) for text in columns["prompt"]]
            return _block(rows, [(ids, np.zeros(len(ids), np.int32), len(ids)) for ids in prompts], encoder)
        texts = [template.render(text) for text in columns["prompt"]]
        prompts = encoder.ids(texts, special=template.adds_special)
        completions = encoder.ids(columns["completion"])
        pairs = zip(prompts, completions, strict=True)
        return _block(rows, [_example(_started(p, template), c, template) for p, c in pairs], encoder)

    def _prompt(self, template: Template, prompt: Prompt) -> NDArray[np.int32]:
        """Return a prompt's ids with room for the answer.

        For it a conversation forgets its oldest turns, and then the text inside the template is shortened.
        """
        encoder = template.encoder
        room = encoder.max_length - min(self.options.max_new_tokens, encoder.max_length // 2)

        def written(one: Prompt) -> NDArray[np.int32]:
            return _started(encoder.ids([template.render(one)], special=template.adds_special)[0], template)

        ids = written(prompt)
        while len(ids) > room and (later := _without_oldest(prompt)) is not None:
            prompt = later
            ids = written(prompt)
        before, text = ([], prompt) if isinstance(prompt, str) else (list(prompt[:-1]), prompt[-1]["content"])
        while len(ids) > room and text:
            kept = len(encoder.ids([text])[0]) - (len(ids) - room)
            text = min(encoder.shortened(text, max(0, kept)), text[:-1], key=len)
            ids = written([*before, {"role": USER, "content": text}] if before else text)
        return ids

    def decoding(self, encoder: TextEncoder) -> Decoding:
        """Return how answers are made, from the settings and the template's end token."""
        return self.options.decoding(max_length=encoder.max_length, end_id=self.template(encoder).end_id)

    def objective_settings(self, targets: Targets) -> dict[str, Any]:
        """Return whether rows share sequences."""
        return {"packing": True} if self.options.packing else {}

    def head(self, targets: Targets) -> HeadSpec:
        """Return the language-model head."""
        return HeadSpec("language-model", {})

    def decode(self, scored: Scored, targets: Targets, calibration: Calibration) -> list[Completion]:
        """Return the texts that a generator made, from `text`, `length` and `ended` (N,)."""
        return completions(scored.outputs)

    def probe(self, text: str) -> dict[str, Any]:
        """Return the text as a prompt."""
        return {"prompt": text}

    def plain_texts(self, inputs: Mapping[str, Any]) -> None:
        """Return nothing: a template stands around the prompt."""
        return

    def segments(self, ids: Mapping[str, NDArray[np.int32]], encoder: TextEncoder) -> list[Segment]:
        """Return the sequence in runs of tokens that are learnt, and of tokens that are not."""
        tokens, mask = ids["input_ids"], ids["label_mask"]
        starts = np.flatnonzero(np.diff(mask)) + 1
        parts = zip(np.split(tokens, starts), np.split(mask, starts), strict=True)
        return [Segment(encoder.written(part), learnt=bool(own[0])) for part, own in parts if len(part)]


def _without_oldest(prompt: Prompt) -> list[Message] | None:
    """Return a conversation without its oldest turn and the answer to it; None where there is one turn."""
    if isinstance(prompt, str):
        return None
    first = 1 if prompt[0]["role"] == SYSTEM else 0
    return [*prompt[:first], *prompt[first + 2 :]] if len(prompt) > first + 2 else None


def _started(ids: NDArray[np.int32], template: Template) -> NDArray[np.int32]:
    """Return a prompt's ids without an end token that the tokenizer put behind them."""
    return ids[:-1] if template.adds_special and len(ids) > 1 and ids[-1] == template.end_id else ids


def _example(
    prompt: NDArray[np.int32], completion: NDArray[np.int32], template: Template
) -> tuple[NDArray[np.int32], NDArray[np.int32], int]:
    """Return ids, label mask and the length before the limit."""
    limit = template.encoder.max_length
    ids = np.concatenate((prompt, completion, np.asarray([template.end_id], np.int32)))
    mask = np.concatenate((np.zeros(len(prompt), np.int32), np.ones(len(completion) + 1, np.int32)))
    mask[0] = 0  # nothing comes before the first token, so nothing predicts it
    part = slice(-limit, None) if template.encoder.truncation_side == "left" else slice(None, limit)
    return ids[part], mask[part], len(ids)


def _block(
    rows: NDArray[np.int64], items: Sequence[tuple[NDArray[np.int32], NDArray[np.int32], int]], encoder: TextEncoder
) -> FeatureBlock:
    number = len(items)
    unknown = -1 if encoder.unknown_id is None else encoder.unknown_id
    return FeatureBlock(
        group=rows,
        cost={"tokens": np.fromiter((len(ids) for ids, _, _ in items), np.int64, number)},
        ragged={"input_ids": [ids for ids, _, _ in items], "label_mask": [mask for _, mask, _ in items]},
        scalar={
            "full_length": np.fromiter((full for _, _, full in items), np.int32, number),
            "unknown": np.fromiter((int((ids == unknown).sum()) for ids, _, _ in items), np.int32, number),
            "labelled": np.fromiter((int(mask[1:].sum()) for _, mask, _ in items), np.int32, number),
        },
    )
