"""Encoder-decoders: plain folders, losses and generation, compared with Transformers. Tiny random models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.tiny import build_decoder
from tests.tiny_seq import build_writer
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

from luthier.errors import ModelError
from luthier.inference.generating import generate, stream
from luthier.inference.tokens import Generator
from luthier.inference.torch_answers import AnswerGenerator
from luthier.inference.torch_generator import TorchGenerator
from luthier.models.assembly import Assembled, assemble
from luthier.models.folder import manifest_parts, read_folder, write_folder
from luthier.models.heads import SequenceToSequenceHead
from luthier.models.source import locate
from luthier.tasks.base import Decoding, HeadSpec

FAMILIES = ("t5", "bart", "marian")
END = 1
SPREAD = {"t5": 4.0, "bart": 8.0, "marian": 4.0}  # at which answers depend on the text
PROMPTS = [np.asarray(ids) for ids in ([5, 9, 40, 7, END], [30, END], [8, 8, 100, 9, 10, 11, END])]


def assembled(folder: Path, attention: str = "eager", kind: str = "sequence-to-sequence") -> Assembled:
    head = HeadSpec(kind, {})
    return assemble(locate(str(folder)), head, pooling="auto", attention=attention, dropout=0.0, seed=5)


def batch() -> dict[str, torch.Tensor]:
    ids = torch.tensor([[5, 9, 40, 7, END], [30, 12, END, 0, 0]])
    labels = torch.tensor([[50, 60, END, 0], [9, 50, 44, END]])
    return {
        "input_ids": ids,
        "attention_mask": (ids > 0).long(),
        "label_ids": labels,
        "label_mask": (labels > 0).long(),
    }


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_plain_folder_answers_like_our_modules(family: str, attention: str, tied: bool, tmp_path: Path) -> None:
    made = assembled(build_writer(tmp_path / "from", family=family, tied=tied), attention)
    with torch.no_grad():
        for parameter in made.model.parameters():
            if parameter.requires_grad:  # Marian's positions never train
                parameter.add_(0.01)
    (tmp_path / "to").mkdir()
    write_folder(made, tmp_path / "to", labels=[])
    plain, info = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "to", output_loading_info=True)
    assert not any(info.values())
    names = load_file(tmp_path / "to" / "model.safetensors").keys()
    assert ("lm_head.weight" in names) != tied
    inputs = batch()
    plain.eval()
    made.model.eval()
    head: Any = made.model.heads["main"]
    with torch.no_grad():
        states = made.model.backbone(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            decoder_input_ids=torch.tensor([[0, 50, 60], [0, 9, 50]]),
        ).last_hidden_state
        theirs = plain(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            decoder_input_ids=torch.tensor([[0, 50, 60], [0, 9, 50]]),
        ).logits
        assert theirs.std() > 1e-3
        assert torch.allclose(head.logits(states), theirs, atol=1e-5)
        labels = torch.where(inputs["label_mask"] == 1, inputs["label_ids"], -100)
        loss = plain(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], labels=labels).loss
        ours = made.model(inputs)
        assert float(ours["nll"].sum() / ours["tokens"].sum()) == pytest.approx(float(loss), abs=1e-5)
        backbone, part = manifest_parts(made, source="here")
        again = read_folder(tmp_path / "to", backbone, [part], root=tmp_path)(inputs)
        assert torch.allclose(ours["nll"], again["nll"], atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_gradient_is_that_of_plain_transformers(family: str, tmp_path: Path) -> None:
    made = assembled(build_writer(tmp_path, family=family))
    plain = AutoModelForSeq2SeqLM.from_pretrained(tmp_path).eval()
    inputs = batch()
    labels = torch.where(inputs["label_mask"] == 1, inputs["label_ids"], -100)
    plain(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], labels=labels).loss.backward()
    made.model.train()
    outputs = made.model(inputs)
    (outputs["nll"].sum() / outputs["tokens"].sum()).backward()
    theirs = {name.removeprefix("model."): p.grad for name, p in plain.named_parameters() if p.grad is not None}
    ours = {name.removeprefix("backbone."): p.grad for name, p in made.model.named_parameters() if p.grad is not None}
    assert ours.keys() == theirs.keys()
    assert float(ours["shared.weight"].abs().max()) > 1e-4
    for name, gradient in ours.items():
        assert torch.allclose(gradient, theirs[name], atol=1e-5), name


@pytest.mark.parametrize("family", FAMILIES)
def test_padding_changes_nothing(family: str, tmp_path: Path) -> None:
    model = assembled(build_writer(tmp_path, family=family, spread=3.0)).model.eval()
    whole = batch()
    alone = {name: values[:1, : 5 if name in {"input_ids", "attention_mask"} else 3] for name, values in whole.items()}
    with torch.no_grad():
        assert torch.allclose(model(whole)["nll"][:1], model(alone)["nll"], atol=1e-5)


def test_a_model_with_two_vocabularies_is_refused(tmp_path: Path) -> None:
    from transformers import MarianConfig

    config = MarianConfig(share_encoder_decoder_embeddings=False, decoder_vocab_size=10, vocab_size=12, pad_token_id=0)
    with pytest.raises(ModelError, match="has a vocabulary for each side; this version reads one tokenizer"):
        SequenceToSequenceHead.follow(config)


# --- generation -------------------------------------------------------------------------------------------------------


def loaded(folder: Path, kind: str = "sequence-to-sequence") -> Generator:
    model = assembled(folder, kind=kind).model.eval()
    return AnswerGenerator(model) if kind == "sequence-to-sequence" else TorchGenerator(model)


def answers(generator: Generator, decoding: Decoding, prompts: Sequence[Any] = PROMPTS) -> list[list[int]]:
    found = generate(generator, prompts, decoding, budget=4096)
    assert all(answer[-1].last and not any(token.last for token in answer[:-1]) for answer in found)
    return [[token.id for token in answer] for answer in found]


def plain_answers(plain: Any, prompt: np.ndarray, start: int, **options: Any) -> list[int]:
    ids = torch.from_numpy(prompt)[None]
    mask = torch.ones_like(ids)
    with torch.no_grad():
        found = plain.generate(ids, attention_mask=mask, do_sample=False, eos_token_id=END, pad_token_id=0, **options)
    row: list[int] = found[0, start:].tolist()
    return row[: row.index(END) + 1] if END in row else row


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_answers_are_those_of_transformers(family: str, tmp_path: Path) -> None:
    folder = build_writer(tmp_path, family=family, spread=SPREAD[family])
    plain = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    decoding = Decoding(max_new_tokens=9, max_length=None, end_id=END)
    generator = loaded(folder)
    found = answers(generator, decoding)
    assert found == [plain_answers(plain, prompt, 1, max_new_tokens=9) for prompt in PROMPTS]
    assert len({tuple(one) for one in found}) > 1
    assert [token.id for token in stream(generator, PROMPTS[0], decoding)] == found[0]


@pytest.mark.parametrize("family", [*FAMILIES, "llama"])
def test_beams_are_those_of_transformers(family: str, tmp_path: Path) -> None:
    decoder = family == "llama"
    folder = build_decoder(tmp_path) if decoder else build_writer(tmp_path, family=family, spread=SPREAD[family])
    plain = (AutoModelForCausalLM if decoder else AutoModelForSeq2SeqLM).from_pretrained(folder).eval()
    favour_end(folder, plain)
    generator = loaded(folder, "language-model" if decoder else "sequence-to-sequence")
    prompts = [prompt[:-1] for prompt in PROMPTS] if decoder else PROMPTS
    start = [len(prompt) if decoder else 1 for prompt in prompts]
    greedy = answers(generator, Decoding(max_new_tokens=9, max_length=None, end_id=END), prompts)
    seen = []
    for penalty, early in [(0.0, True), (0.0, False), (1.0, True), (1.0, False), (2.0, True), (2.0, False)]:
        own = {"num_beams": 4, "length_penalty": penalty, "early_stopping": early}
        found = answers(generator, Decoding(max_new_tokens=9, max_length=None, end_id=END, **own), prompts)
        wanted = [plain_answers(plain, p, s, max_new_tokens=9, **own) for p, s in zip(prompts, start, strict=True)]
        assert found == wanted, own
        seen.append(found)
    assert greedy != seen[-1], "beams must be seen to do something"
    assert len({len(one) for found in seen for one in found}) > 1, "some must end by themselves"


def favour_end(folder: Path, plain: Any) -> None:
    """Let answers end at different lengths, in the folder's weights and in the plain model's."""
    with torch.no_grad():
        weight = plain.get_output_embeddings().weight
        weight[END] = weight[7:11].mean(dim=0) * 2.5
        if hasattr(plain, "final_logits_bias"):
            plain.final_logits_bias[0, END] = 0.5
        plain.save_pretrained(folder)


def test_a_prompt_has_one_drawn_answer_whatever_stands_beside_it(tmp_path: Path) -> None:
    folder = build_writer(tmp_path, spread=2.0)
    decoding = Decoding(max_new_tokens=9, max_length=None, end_id=END, temperature=1.0, top_p=0.9, seed=3)
    generator = loaded(folder)
    together = answers(generator, decoding)
    alone = [[token.id for token in stream(generator, prompt, decoding)] for prompt in PROMPTS]
    assert together == alone
    other = Decoding(max_new_tokens=9, max_length=None, end_id=END, temperature=1.0, top_p=0.9, seed=4)
    assert answers(generator, other) != together
