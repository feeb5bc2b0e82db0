"""Every model family: the plain folder answers like our modules, and is read back to the same. Tiny random models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file
from tests.tiny import build_decoder
from tests.tiny_families import SIZES, build_backbone
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification

from luthier.errors import ModelError
from luthier.models.assembly import Assembled, assemble
from luthier.models.families import FAMILIES
from luthier.models.folder import manifest_parts, read_folder, write_folder
from luthier.models.heads import HEADS
from luthier.models.source import ModelSource, locate
from luthier.tasks.base import HeadSpec


def able(head: str) -> list[str]:
    return [name for name, family in FAMILIES.items() if head in family.plain]


def pairs(head: str) -> list[tuple[str, str]]:
    return [(name, kernel) for name in able(head) for kernel in FAMILIES[name].attention]


ALL_LINES = [(name, head) for name, family in FAMILIES.items() for head in family.plain]
PER_TOKEN = ("token-classification", "span")


def batch(*, left: bool = False) -> dict[str, torch.Tensor]:
    """Return two texts that begin with 2 and end with 3; the pad token is 0."""
    short = [0, 0, 2, 11, 3] if left else [2, 11, 3, 0, 0]
    ids = torch.tensor([[2, 7, 8, 9, 3], short])
    return {"input_ids": ids, "attention_mask": (ids != 0).long()}


def louder(assembled: Assembled) -> Assembled:
    """Return the model with larger weights in its head, so that answers differ from text to text."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        for parameter in assembled.model.heads.parameters():
            parameter.data.add_(0.3 * torch.randn_like(parameter))
    assembled.model.eval()
    return assembled


def test_every_family_is_covered() -> None:
    assert SIZES.keys() == FAMILIES.keys()


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(("name", "attention"), [pair for pair in pairs("language-model") if pair[0] != "qwen3"])
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


@pytest.mark.parametrize(("name", "attention"), pairs("classification"))
def test_the_plain_folder_answers_like_our_modules(name: str, attention: str, tmp_path: Path) -> None:
    head = HeadSpec("classification", {"outputs": 3})
    options = {"pooling": "auto", "attention": attention, "dropout": None, "seed": 5}
    assembled = louder(assemble(locate(str(build_backbone(tmp_path / "from", name, spread=0.1))), head, **options))
    inputs = batch()
    (tmp_path / "to").mkdir()
    write_folder(assembled, tmp_path / "to", labels=["a", "b", "c"])
    plain, info = AutoModelForSequenceClassification.from_pretrained(tmp_path / "to", output_loading_info=True)
    assert not any(info.values()), info
    assert type(plain).__name__ == assembled.plain.architecture
    backbone, part = manifest_parts(assembled, source="here")
    again = read_folder(tmp_path / "to", backbone, [part])
    padded = batch(left=True) if name == "xlnet" else inputs  # its plain class reads the last place, a pad or not
    with torch.no_grad():
        ours, theirs, reread = (
            m for m in (assembled.model(inputs)["logits"], plain.eval()(**padded).logits, again(inputs)["logits"])
        )
    assert ours.std() > 1e-3
    assert not torch.allclose(ours[0], ours[1], atol=1e-3), "the answer does not depend on the text"
    assert torch.allclose(ours, theirs, atol=1e-5)
    assert torch.allclose(ours, reread, atol=1e-5)
    assert plain.config.id2label == {0: "a", 1: "b", 2: "c"}


@pytest.mark.parametrize(("name", "attention"), pairs("classification"))
def test_padding_changes_no_answer(name: str, attention: str, tmp_path: Path) -> None:
    options = {"pooling": "auto", "attention": attention, "dropout": None, "seed": 5}
    found = locate(str(build_backbone(tmp_path, name, spread=0.1)))
    model = louder(assemble(found, HeadSpec("classification", {"outputs": 3}), **options)).model
    inputs = batch()
    alone = {key: value[1:, :3] for key, value in inputs.items()}
    with torch.no_grad():
        assert torch.allclose(model(inputs)["logits"][1:], model(alone)["logits"], atol=1e-5)


@pytest.mark.parametrize(("name", "head"), ALL_LINES)
def test_a_line_names_a_class_and_layers_of_the_family(name: str, head: str, tmp_path: Path) -> None:
    """What a head of ours is mapped to is there in the class, and the backbone stands where the prefix says."""
    family = FAMILIES[name]
    plain = family.plain[head]
    config = AutoConfig.from_pretrained(build_backbone(tmp_path, name))
    model = getattr(transformers, plain.architecture)(config)
    names = set(model.state_dict())
    for layer in plain.layers.values():
        assert any(found == layer or found.startswith(f"{layer}.") for found in names), layer
    kind = getattr(transformers, plain.backbone or "AutoModel")
    options = dict(family.backbone_options)
    backbone = kind.from_config(config, **options) if plain.backbone is None else kind(config)
    tied = {"decoder.embed_tokens.weight", "encoder.embed_tokens.weight"}
    below = {f"{family.prefix_of(head)}{one}" for one in backbone.state_dict() if one not in tied}
    assert below <= names
    heads = names - below - {f"{family.prefix_of(head)}{one}" for one in tied}
    mapped = {one for one in heads if any(one == own or one.startswith(f"{own}.") for own in plain.layers.values())}
    assert {one for one in heads - mapped if "pooler" not in one} == set()


@pytest.mark.parametrize(("name", "head"), [line for line in ALL_LINES if line[1] in PER_TOKEN])
def test_the_plain_folder_of_a_head_per_token_answers_like_our_modules(name: str, head: str, tmp_path: Path) -> None:
    """Skipped by absence: the heads are registered where their tasks are."""
    if head not in HEADS:
        pytest.skip(f"no {head} head here yet")
    spec = HeadSpec(head, {} if head == "span" else {"outputs": 3})
    for attention in FAMILIES[name].attention:
        found = locate(str(build_backbone(tmp_path / attention, name, spread=0.1)))
        assembled = louder(assemble(found, spec, pooling="auto", attention=attention, dropout=None, seed=5))
        to = tmp_path / f"to-{attention}"
        to.mkdir()
        write_folder(assembled, to, labels=["a", "b", "c"] if head == "token-classification" else [])
        plain, info = getattr(transformers, assembled.plain.architecture).from_pretrained(to, output_loading_info=True)
        assert not any(info.values()), info
        backbone, part = manifest_parts(assembled, source="here")
        again = read_folder(to, backbone, [part])
        inputs = batch()
        real = inputs["attention_mask"].bool()
        with torch.no_grad():
            ours, reread = (model(inputs)["logits"][real] for model in (assembled.model, again))
            said = plain.eval()(**inputs)
        theirs = (
            said.logits if head == "token-classification" else torch.stack([said.start_logits, said.end_logits], -1)
        )
        assert ours.std() > 1e-3
        assert torch.allclose(ours, theirs[real], atol=1e-5)
        assert torch.allclose(ours, reread, atol=1e-5)


@pytest.mark.parametrize("name", able("embedding"))
def test_the_plain_folder_of_an_embedding_holds_the_backbone_alone(name: str, tmp_path: Path) -> None:
    """Skipped by absence, as above."""
    if "embedding" not in HEADS:
        pytest.skip("no embedding head here yet")
    found = locate(str(build_backbone(tmp_path / "from", name, spread=0.1)))
    options = {"attention": FAMILIES[name].attention[-1], "dropout": None, "seed": 5}
    assembled = assemble(found, HeadSpec("embedding", {"normalize": True}), pooling="auto", **options)
    assembled.model.eval()
    (tmp_path / "to").mkdir()
    write_folder(assembled, tmp_path / "to", labels=[])
    plain = getattr(transformers, assembled.plain.architecture).from_pretrained(tmp_path / "to").eval()
    backbone, part = manifest_parts(assembled, source="here")
    again = read_folder(tmp_path / "to", backbone, [part])
    inputs = batch()
    with torch.no_grad():
        ours, reread = assembled.model(inputs), again(inputs)
        states = plain(**inputs).last_hidden_state
    (key,) = ours
    assert torch.allclose(ours[key], reread[key], atol=1e-5)
    mask = inputs["attention_mask"][..., None].float()
    mean = (states * mask).sum(dim=1) / mask.sum(dim=1)
    turned = torch.nn.functional.cosine_similarity(ours[key], mean)  # of unit length or not
    assert torch.allclose(turned, torch.ones(2), atol=1e-5)


def test_a_pretrained_hidden_layer_is_taken(tmp_path: Path) -> None:
    found = locate(str(build_backbone(tmp_path, "bert")))
    head = HeadSpec("classification", {"outputs": 2})
    assembled = assemble(found, head, pooling="auto", attention="eager", dropout=0.0, seed=5)
    pooler = AutoModel.from_pretrained(tmp_path).pooler.dense.weight
    assert torch.equal(assembled.model.heads["main"].dense.weight, pooler)  # type: ignore[union-attr, arg-type]


@pytest.mark.parametrize(
    ("name", "key", "value", "changed"),
    [
        ("modernbert", "classifier_pooling", "mean", True),
        ("modernbert", "classifier_bias", True, True),
        ("deberta-v2", "pooler_hidden_act", "tanh", True),
        ("modernbert", "classifier_activation", "silu", False),
        ("xlnet", "summary_type", "mean", False),
    ],
)
def test_a_head_follows_the_configuration_or_it_is_refused(
    name: str, key: str, value: Any, changed: bool, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"pooling": "auto", "attention": "eager", "dropout": None, "seed": 5}
    head = HeadSpec("classification", {"outputs": 3})
    found = locate(str(build_backbone(tmp_path / "from", name, spread=0.1, **{key: value})))
    if not changed:
        with pytest.raises(ModelError, match=rf"config\.json {key} must be one of .*; got {value}"):
            assemble(found, head, **options)
        return
    assembled = louder(assemble(found, head, **options))
    (tmp_path / "to").mkdir()
    write_folder(assembled, tmp_path / "to", labels=["a", "b", "c"])
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "to").eval()
    with torch.no_grad():
        ours, theirs = assembled.model(batch())["logits"], plain(**batch()).logits
    assert torch.allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize(
    ("config", "limit"),
    [
        ({"model_type": "bert", "max_position_embeddings": 512}, 512),
        ({"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1}, 512),
        ({"model_type": "xlm-roberta", "max_position_embeddings": 514, "pad_token_id": 1}, 512),
        ({"model_type": "gpt2", "n_positions": 1024}, 1024),
        ({"model_type": "t5", "n_positions": 512}, None),
        ({"model_type": "xlnet"}, None),
    ],
)
def test_the_most_tokens_that_a_model_takes(config: dict[str, Any], limit: int | None, tmp_path: Path) -> None:
    assert ModelSource("here", tmp_path, config).position_limit() == limit


@pytest.mark.parametrize("name", [name for name in FAMILIES if name not in {"t5", "xlnet", "llama", "qwen2", "qwen3"}])
def test_the_last_position_can_be_read_and_the_next_one_cannot(name: str, tmp_path: Path) -> None:
    found = locate(str(build_backbone(tmp_path, name, positions=12)))
    limit = found.position_limit()
    assert limit is not None
    model = AutoModel.from_pretrained(tmp_path).eval()
    ids = torch.full((1, limit), 7)
    more = {"decoder_input_ids": ids} if model.config.is_encoder_decoder else {}
    with torch.no_grad():
        assert model(input_ids=ids, **more).last_hidden_state.shape[1] == limit
        if name in {
            "deberta-v2",
            "modernbert",
        }:  # positions are relative or turned: a limit of training, not of a table
            return
        longer = torch.full((1, limit + 1), 7)
        more = {"decoder_input_ids": longer} if more else {}
        with pytest.raises((IndexError, RuntimeError, ValueError)):
            model(input_ids=longer, **more)


def test_an_unknown_family_and_another_pooling_are_refused_by_name(tmp_path: Path) -> None:
    head = HeadSpec("classification", {"outputs": 2})
    options: dict[str, Any] = {"attention": "eager", "dropout": None, "seed": 5}
    with pytest.raises(ModelError, match=r'classification head \(albert, bart, .*, xlnet\); got "marian"'):
        assemble(locate(str(build_backbone(tmp_path / "m", "marian"))), head, pooling="auto", **options)
    with pytest.raises(ModelError, match=r"model\.pooling must be auto or first"):
        assemble(locate(str(build_backbone(tmp_path / "b", "bert"))), head, pooling="mean", **options)
