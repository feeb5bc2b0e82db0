"""Token by token: against Transformers' own generate, and the rules of the loop against a made-up generator."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tests.tiny import build_decoder, questions
from tests.unit.generation.test_language_model import built
from transformers import AutoModelForCausalLM, AutoTokenizer

from luthier.inference.generating import as_outputs, generate, stream
from luthier.inference.torch_generator import TorchGenerator, _shared
from luthier.tasks import Decoding


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen2"])
def test_greedy_answers_are_those_of_transformers(family: str, tmp_path: Path) -> None:
    folder = build_decoder(tmp_path / "m", family=family)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    texts = [question * (1 + row % 3) for row, (question, _) in enumerate(questions(7))]
    prompts = [
        np.asarray(
            tokenizer.apply_chat_template([{"role": "user", "content": t}], add_generation_prompt=True)["input_ids"]
        )
        for t in texts
    ]
    assert _shared(prompts) > 20
    decoding = Decoding(max_new_tokens=15, max_length=200, end_id=1)
    ours = generate(TorchGenerator(built(folder).model.eval()), prompts, decoding, budget=400)
    for prompt, answer in zip(prompts, ours, strict=True):
        found = model.generate(
            torch.from_numpy(prompt)[None], max_new_tokens=15, do_sample=False, output_logits=True,
            return_dict_in_generate=True, pad_token_id=1,
        )  # fmt: skip
        tokens = found.sequences[0, len(prompt) :].tolist()
        assert [token.id for token in answer] == tokens
        logs = [torch.log_softmax(step[0].double(), -1)[t] for step, t in zip(found.logits, tokens, strict=True)]
        assert np.allclose([token.logprob for token in answer], logs, atol=1e-4)


class Counting:
    """Says the number after the last token, up to the length of the vocabulary; remembers each row's last token."""

    def __init__(self, vocabulary: int = 50) -> None:
        self.vocabulary = vocabulary
        self.widths: list[int] = []

    def prefill(self, prompts: Sequence[NDArray[Any]]) -> tuple[NDArray[np.float32], Any]:
        return self.step(None, np.asarray([prompt[-1] for prompt in prompts]))

    def step(self, state: Any, tokens: NDArray[Any]) -> tuple[NDArray[np.float32], Any]:
        self.widths.append(len(tokens))
        assert state is None or len(state) == len(tokens)
        logits = np.zeros((len(tokens), self.vocabulary), np.float32)
        logits[np.arange(len(tokens)), (tokens + 1) % self.vocabulary] = 3.0
        return logits, tokens

    def keep(self, state: Any, rows: NDArray[np.int64]) -> Any:
        return state[rows]


def test_rows_end_on_their_own_and_finished_ones_are_dropped() -> None:
    generator = Counting()
    prompts = [np.asarray([start]) for start in (2, 8, 17, 40)]
    answers = generate(generator, prompts, Decoding(max_new_tokens=6, max_length=100, end_id=20), budget=10_000)
    assert [[t.id for t in answer] for answer in answers] == [
        [3, 4, 5, 6, 7, 8],
        [9, 10, 11, 12, 13, 14],
        [18, 19, 20],
        [41, 42, 43, 44, 45, 46],
    ]
    outputs = as_outputs(answers, Decoding(max_new_tokens=6, max_length=100, end_id=20))
    assert outputs["ended"].tolist() == [False, False, True, False]
    assert outputs["tokens"][2].tolist() == [18, 19, 20, -1, -1, -1]
    many = Counting()
    prompts = [np.asarray([start]) for start in (18, 18, 18, 1)]
    generate(many, prompts, Decoding(max_new_tokens=6, max_length=100, end_id=20), budget=10_000)
    assert many.widths == [4, 4, 1, 1, 1, 1]


def test_prompt_and_answer_together_keep_the_length_limit() -> None:
    answers = generate(
        Counting(), [np.arange(7), np.arange(30)], Decoding(max_new_tokens=6, max_length=10, end_id=49), budget=100
    )
    assert [len(answer) for answer in answers] == [3, 1]


def test_draws_belong_to_seed_and_prompt_alone() -> None:
    def drawn(prompts: Sequence[NDArray[Any]], **changes: Any) -> list[list[int]]:
        decoding = Decoding(**{"max_new_tokens": 20, "max_length": 99, "end_id": 99, "temperature": 1.5, **changes})
        return [[t.id for t in a] for a in generate(Counting(), prompts, decoding, budget=999)]

    a, b = np.asarray([1, 2]), np.asarray([3, 4])
    assert drawn([a, b])[0] == drawn([b, a])[1] == drawn([a])[0]
    assert drawn([a])[0] != drawn([a], seed=14)[0]
    assert drawn([a])[0] != drawn([a], temperature=0.0)[0]
    greedy = drawn([a], temperature=0.0)[0]
    assert drawn([a], top_p=1e-6)[0] == greedy
    decoding = Decoding(max_new_tokens=20, max_length=99, end_id=99, temperature=1.5)
    assert [t.id for t in stream(Counting(), a, decoding)] == drawn([a])[0]


def test_sampling_follows_the_probabilities() -> None:
    prompts = [np.asarray([number, 0]) for number in range(400)]
    decoding = Decoding(max_new_tokens=1, max_length=99, end_id=99, temperature=0.7)
    firsts = [answer[0].id for answer in generate(Counting(5), prompts, decoding, budget=9999)]
    expected = np.exp(3 / 0.7) / (np.exp(3 / 0.7) + 4)
    assert abs(np.mean(np.asarray(firsts) == 1) - expected) < 4 * np.sqrt(expected * (1 - expected) / 400)
    assert set(firsts) == {0, 1, 2, 3, 4}


def test_golden_texts_may_part_only_where_two_tokens_are_equally_likely() -> None:
    from luthier.inference.goldens import _gap, _until_tie

    old = {"tokens": [5.0, 6.0, 7.0, -1.0], "logprob": [-0.1, -0.7, -0.2, 0.0], "length": [3.0]}
    tied = {"tokens": [5.0, 8.0, 9.0, 9.0], "logprob": [-0.1, -0.70001, -3.0, -1.0], "length": [4.0]}
    before, after, cut = _until_tie(old, tied, 1e-4)
    assert cut
    assert _gap(before, after) == 0
    assert before["tokens"] == [5.0]
    other = {**tied, "logprob": [-0.1, -0.5, -3.0, -1.0]}
    before, after, cut = _until_tie(old, other, 1e-4)
    assert not cut
    assert _gap(before, after) > 1
    shifted = {**tied, "logprob": [-0.2, -0.70001, -3.0, -1.0]}
    assert _gap(*_until_tie(old, shifted, 1e-4)[:2]) > 0.05
    assert not _until_tie({"logits": [1.0]}, {"logits": [2.0]}, 1e-4)[2]
