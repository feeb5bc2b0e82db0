"""From a prompt to the text that a language model goes on from: one object, used in training and in serving."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any, NoReturn

from luthier.data.text import TextEncoder
from luthier.errors import ModelError
from luthier.tasks.base import CellError, text_cell
from luthier.tasks.cells import json_cell

Message = Mapping[str, str]
Prompt = str | Sequence[Message]
"""What an answer is to: a text, or a conversation whose last message is the user's."""

SYSTEM, USER, ASSISTANT = "system", "user", "assistant"
PLACE = "{prompt}"
NAMED = {"plain": PLACE, "instruction": f"### Instruction:\n{PLACE}\n\n### Response:\n"}
CHAT = "chat"
MARK = "\x02completion\x03"
TOKENS = ("bos_token", "eos_token", "pad_token", "unk_token")


class Template:
    """How a prompt is put before a completion, and which token ends the completion.

    Args:
        setting: `auto` (the tokenizer's chat template where it has one, else `instruction`), `chat`, `instruction`,
            `plain`, or a text that holds `{prompt}`.
        encoder: the tokenizer.
        system: what a chat template puts first; None leaves it to the template.

    Raises:
        ModelError: the tokenizer has no chat template, the template has no place for the answer, or nothing ends one.
    """

    def __init__(self, setting: str, encoder: TextEncoder, system: str | None = None) -> None:
        if setting == "auto":
            setting = CHAT if encoder.chat_template else "instruction"
        if setting == CHAT and encoder.chat_template is None:
            raise ModelError(
                "the model's tokenizer has no chat template.",
                where=str(encoder.folder),
                fix="Choose the template instruction or plain, or a model that was made for chat.",
            )
        self.encoder = encoder
        self.system = system
        self.chat = setting == CHAT
        self.text = NAMED.get(setting, setting)

    def render(self, prompt: Prompt) -> str:
        """Return the text that the completion follows.

        Raises:
            ModelError: the chat template has no place for an answer, or fails.
        """
        if not self.chat:
            assert isinstance(prompt, str), "only a chat template can write a conversation"
            return self.text.replace(PLACE, prompt)
        whole = self._rendered(prompt, answer=True)
        asked = self._rendered(prompt, answer=False)
        if whole.startswith(asked + MARK):
            return asked
        return whole[: whole.index(MARK)]

    def messages(self, prompt: Prompt) -> list[Message]:
        """Return a prompt as the messages that a chat template writes."""
        messages = [_message(USER, prompt)] if isinstance(prompt, str) else list(prompt)
        if self.system is not None and messages[0]["role"] != SYSTEM:
            messages.insert(0, _message(SYSTEM, self.system))
        return messages

    @cached_property
    def end_id(self) -> int:
        """The token that ends a completion: the one that ends the assistant's turn, else the end-of-text token.

        Raises:
            ModelError: there is neither.
        """
        if self.chat:
            after = self._rendered("a", answer=True).partition(MARK)[2]
            first = self.encoder.ids([after])[0][:1].tolist()
            if first and after.startswith(self.encoder.token(first[0])) and after.strip():
                return int(first[0])
        if self.encoder.end_id is None:
            raise ModelError("the model's tokenizer has no end-of-text token.", where=str(self.encoder.folder))
        return self.encoder.end_id

    @property
    def adds_special(self) -> bool:
        """Whether the tokenizer's own start token comes before the text; chat templates write theirs themselves."""
        return not self.chat

    def _rendered(self, prompt: Prompt, *, answer: bool) -> str:
        import jinja2

        messages = self.messages(prompt)
        if answer:
            messages.append(_message(ASSISTANT, MARK))
        tokens = {kind: self.encoder.special_token(kind) for kind in TOKENS}
        try:
            text = self._compiled.render(messages=messages, add_generation_prompt=not answer, **tokens)
        except (jinja2.TemplateError, TypeError, ValueError) as error:
            raise ModelError(f"its chat template fails: {error}", where=str(self.encoder.folder)) from None
        if answer and MARK not in text:
            raise ModelError(
                "its chat template has no place for the assistant's turn.",
                where=str(self.encoder.folder),
                fix="Choose the template instruction or plain.",
            )
        return str(text)

    @cached_property
    def _compiled(self) -> Any:
        """The compiled template, in a sandbox with what Transformers offers to one."""
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        environment.filters["tojson"] = _json
        environment.globals["raise_exception"] = _refuse
        environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
        return environment.from_string(self.encoder.chat_template or "")


def conversation(value: Any) -> list[Message] | None:
    """Return the messages of a cell that holds a list of them, as a list or as JSON text; None for any other cell.

    Raises:
        CellError: one of them has no role that is known, no text, or not its turn.
    """
    found = json_cell(value)
    if not isinstance(found, list) or not all(isinstance(one, Mapping) for one in found):
        return None
    if not found:
        raise CellError("must have at least one message; got an empty list")
    messages: list[Message] = []
    for number, one in enumerate(found):
        role = one.get("role")
        first = not messages or messages[-1]["role"] == SYSTEM
        turns = {USER} | ({SYSTEM} if not messages else set()) if first else {USER, ASSISTANT} - {messages[-1]["role"]}
        if role not in turns:
            raise CellError(f"message {number} must be of the role {' or '.join(sorted(turns))}; got {role!r}")
        try:
            messages.append(_message(role, text_cell(one.get("content"))))
        except CellError as error:
            raise CellError(f"message {number}: content {error}") from None
    return messages


def _message(role: str, content: str) -> Message:
    return {"role": role, "content": content}


def _json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _refuse(message: str) -> NoReturn:
    raise ValueError(message)
