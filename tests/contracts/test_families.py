"""Every model family: the plain folder answers like our modules, and is read back to the same. Tiny random models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.tiny import build_decoder
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification

from luthier.errors import ModelError
from luthier.models.assembly import assemble
from luthier.models.families import FAMILIES
from luthier.models.folder import manifest_parts, read_folder, write_folder
from luthier.models.source import locate
from luthier.tasks.base import HeadSpec

COMMON = {"vocab_size": 50, "max_position_embeddings": 40, "pad_token_id": 0}
WIDE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
SIZES: dict[str, dict[str, Any]] = {
    "bert": WIDE,
    "roberta": {**WIDE, "pad_token_id": 1},
    "electra": {**WIDE, "embedding_size": 16},
    "distilbert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32},
}


DECODERS = ("gpt2", "llama", "qwen2")


def source(name: str, folder: Path) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = AutoModel.from_config(AutoConfig.for_model(name, **{**COMMON, **SIZES[name]}))
    model.save_pretrained(folder)
    return folder


def batch(pad: int) -> dict[str, torch.Tensor]:
    ids = torch.tensor([[2, 7, 8, 9, 3], [2, 11, 3, pad, pad]])
    return {"input_ids": ids, "attention_mask": (ids != pad).long()}


def test_every_family_is_covered() -> None:
    assert {name for name, family in FAMILIES.items() if family.plain_class("classification")} == SIZES.keys()
    assert {name for name, family in FAMILIES.items() if family.plain_class("language-model")} == set(DECODERS)
    assert SIZES.keys() | set(DECODERS) == FAMILIES.keys()


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("name", DECODERS)
def test_the_plain_folder_of_a_language_model_answers_like_our_modules(
    name: str, attention: str, tied: bool, tmp_path: Path
) -> None:
    folder = build_decoder(tmp_path / "from", family=name, tied=tied)
    head = HeadSpec("language-model", {})
    assembled = assemble(locate(str(folder)), head, pooling="auto", attention=attention, dropout=None, seed=5)
    with torch.no_grad():
        for parameter in assembled.model.parameters():
            parameter.add_(0.01)
    (tmp_path / "to").mkdir()
    write_folder(assembled, tmp_path / "to", labels=[])
    plain, info = AutoModelForCausalLM.from_pretrained(tmp_path / "to", output_loading_info=True)
    assert not any(info.values())
    names = load_file(tmp_path / "to" / "model.safetensors").keys()
    assert ("lm_head.weight" in names) != tied
    assert (plain.get_input_embeddings().weight is plain.get_output_embeddings().weight) == tied
    backbone, part = manifest_parts(assembled, source="here")
    again = read_folder(tmp_path / "to", backbone, [part], root=tmp_path)
    ids = torch.tensor([[0, 7, 8, 9, 3], [2, 11, 3, 5, 6]])
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "label_mask": (ids > 4).long()}
    with torch.no_grad():
        states = assembled.model.eval().backbone(ids).last_hidden_state
        ours = assembled.model.heads["main"].logits(states)  # type: ignore[operator]
        assert ours.std() > 1e-3
        assert torch.allclose(ours, plain.eval()(ids).logits, atol=1e-5)
        assert torch.allclose(assembled.model(inputs)["nll"], again(inputs)["nll"], atol=1e-5)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("name", SIZES)
def test_the_plain_folder_answers_like_our_modules(name: str, attention: str, tmp_path: Path) -> None:
    head = HeadSpec("classification", {"outputs": 3})
    options = {"pooling": "auto", "attention": attention, "dropout": None, "seed": 5}
    assembled = assemble(locate(str(source(name, tmp_path / "from"))), head, **options)
    inputs = batch(1 if name == "roberta" else 0)
    assembled.model.eval()
    (tmp_path / "to").mkdir()
    write_folder(assembled, tmp_path / "to", labels=["a", "b", "c"])
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "to").eval()
    backbone, part = manifest_parts(assembled, source="here")
    again = read_folder(tmp_path / "to", backbone, [part])
    with torch.no_grad():
        ours, theirs, reread = (
            m for m in (assembled.model(inputs)["logits"], plain(**inputs).logits, again(inputs)["logits"])
        )
    assert ours.std() > 1e-4
    assert torch.allclose(ours, theirs, atol=1e-6)
    assert torch.allclose(ours, reread, atol=1e-6)
    assert plain.config.id2label == {0: "a", 1: "b", 2: "c"}


def test_a_pretrained_hidden_layer_is_taken(tmp_path: Path) -> None:
    found = locate(str(source("bert", tmp_path)))
    head = HeadSpec("classification", {"outputs": 2})
    assembled = assemble(found, head, pooling="auto", attention="eager", dropout=0.0, seed=5)
    pooler = AutoModel.from_pretrained(tmp_path).pooler.dense.weight
    assert torch.equal(assembled.model.heads["main"].dense.weight, pooler)  # type: ignore[union-attr, arg-type]


def test_an_unknown_family_and_another_pooling_are_refused_by_name(tmp_path: Path) -> None:
    head = HeadSpec("classification", {"outputs": 2})
    options: dict[str, Any] = {"attention": "eager", "dropout": None, "seed": 5}
    AutoModel.from_config(AutoConfig.for_model("gpt2", n_embd=8, n_layer=1, n_head=1, vocab_size=20)).save_pretrained(
        tmp_path
    )
    with pytest.raises(ModelError, match=r'supported type \(bert, distilbert, electra, roberta\); got "gpt2"'):
        assemble(locate(str(tmp_path)), head, pooling="auto", **options)
    with pytest.raises(ModelError, match=r"model\.pooling must be auto or first"):
        assemble(locate(str(source("bert", tmp_path / "b"))), head, pooling="mean", **options)
