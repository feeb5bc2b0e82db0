"""Conversations as cells, and as what a language model reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.tiny import build_decoder

from luthier.data.text import TextEncoder
from luthier.tasks.base import CellError
from luthier.tasks.text_generation import GenerationSettings, TextGeneration

ASKED = [{"role": "user", "content": "one?"}]
TALK = [*ASKED, {"role": "assistant", "content": "two!"}, {"role": "user", "content": "three?"}]
ANSWERED = [*TALK, {"role": "assistant", "content": "four!"}]
SYSTEM = {"role": "system", "content": "Be brief."}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_decoder(tmp_path_factory.mktemp("decoder"))


def prompt_of(encoder: TextEncoder, prompt: Any, **settings: Any) -> str:
    task = TextGeneration(GenerationSettings(**settings))
    block = task.encode({"prompt": [task.input_cell("prompt", prompt)]}, np.arange(1), encoder, None, {})
    return encoder.written(block.ragged["input_ids"][0])


@pytest.mark.parametrize("cell", [ANSWERED, json.dumps(ANSWERED)])
def test_one_cell_is_prompt_and_completion(cell: Any) -> None:
    task = TextGeneration()
    assert task.input_cell("prompt", cell) == TALK
    assert task.target_cell(cell) == "four!"


def test_other_lists_stay_text() -> None:
    assert TextGeneration().input_cell("prompt", '["not", "messages"]') == '["not", "messages"]'


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("[]", "must have at least one message"),
        ([SYSTEM], "must have a message of the user"),
        ([{"role": "assistant", "content": "a"}], "message 0 must be of the role system or user; got 'assistant'"),
        ([SYSTEM, SYSTEM], "message 1 must be of the role user; got 'system'"),
        ([*ASKED, *ASKED], "message 1 must be of the role assistant; got 'user'"),
        ([{"role": "user"}], "message 0: content is absent"),
        ([{"role": "user", "content": 3}], "message 0: content must be text; got int 3"),
        ([{"content": "a"}], "message 0 must be of the role system or user; got None"),
    ],
)
def test_conversations_that_are_none_are_refused(cell: Any, message: str) -> None:
    with pytest.raises(CellError, match=message):
        TextGeneration().input_cell("prompt", cell)


def test_a_completion_is_the_assistants() -> None:
    with pytest.raises(CellError, match="must end with a message of the assistant"):
        TextGeneration().target_cell(TALK)


def test_one_turn_is_the_same_as_its_text(folder: Path) -> None:
    encoder = TextEncoder(folder, max_length=128)
    assert prompt_of(encoder, ASKED) == prompt_of(encoder, "one?")
    assert prompt_of(encoder, ASKED, system="Be brief.") == prompt_of(encoder, [SYSTEM, *ASKED])


def test_the_oldest_turns_are_forgotten_first(folder: Path) -> None:
    whole = prompt_of(TextEncoder(folder, max_length=128), [SYSTEM, *TALK], max_new_tokens=4)
    assert whole.index("brief") < whole.index("one") < whole.index("two") < whole.index("three")
    encoder = TextEncoder(folder, max_length=128)
    last = len(encoder.ids([prompt_of(encoder, [SYSTEM, TALK[-1]])])[0])
    short = prompt_of(TextEncoder(folder, max_length=last + 6), [SYSTEM, *TALK], max_new_tokens=4)
    assert "one" not in short
    assert "two" not in short
    assert short.index("brief") < short.index("three")


def test_a_conversation_needs_a_chat_template(folder: Path) -> None:
    task = TextGeneration(GenerationSettings(template="plain"))
    with pytest.raises(CellError, match="only the chat template"):
        task.check_fit({"prompt": TALK}, TextEncoder(folder, max_length=128))


@pytest.mark.parametrize("side", ["right", "left"])
def test_a_long_prompt_of_characters_of_several_tokens_is_shortened(folder: Path, side: str) -> None:
    encoder = TextEncoder(folder, max_length=64, truncation_side=side)
    text = "你觉得早上好吗，股市什么样的硬件有趣😀" * 4
    task = TextGeneration(GenerationSettings(max_new_tokens=16))
    ids = task.encode({"prompt": [text]}, np.arange(1), encoder, None, {}).ragged["input_ids"][0]
    assert 40 < len(ids) <= 48
    assert "�" not in encoder.written(ids)
