"""Loss, masks and padding of language models, against Transformers with copied weights and against plain autograd."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.tiny import build_decoder, questions
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

from luthier.data.features import Features, in_memory
from luthier.data.text import TextEncoder
from luthier.errors import ModelError, TrainingError
from luthier.models import causal
from luthier.models.assembly import Assembled, assemble
from luthier.models.heads.language_model import token_loss
from luthier.models.source import locate
from luthier.objectives import build_objective
from luthier.tasks import HeadSpec, TextGeneration
from luthier.tasks.text_generation import GenerationSettings

FAMILIES = ("llama", "gpt2", "qwen2")


def built(folder: Path, attention: str = "sdpa") -> Assembled:
    head = HeadSpec("language-model", {})
    return assemble(locate(str(folder)), head, pooling="auto", attention=attention, dropout=0.0, seed=5)


def features_of(folder: Path, rows: int = 8, max_length: int = 128, **settings: object) -> Features:
    task, encoder = TextGeneration(GenerationSettings(**settings)), TextEncoder(folder, max_length=max_length)  # type: ignore[arg-type]
    pairs = questions(rows)
    columns = {"prompt": [q for q, _ in pairs], "completion": [a for _, a in pairs]}
    block = task.encode(columns, np.arange(rows), encoder, np.zeros(rows, np.int64), {})
    return in_memory([block], task.fields(encoder))


def tensors(features: Features, rows: list[int]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array) for name, array in features.collate(rows).items()}


def theirs(folder: Path, features: Features, rows: list[int]) -> torch.Tensor:
    """Return Transformers' own mean loss with labels of -100 outside the completion."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    batch = tensors(features, rows)
    labels = batch["input_ids"].masked_fill(batch["label_mask"] == 0, -100)
    loss: torch.Tensor = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=labels).loss
    return loss


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_is_that_of_transformers(family: str, attention: str, tmp_path: Path) -> None:
    folder = build_decoder(tmp_path / "m", family=family)
    features, rows = features_of(folder), [3, 0, 5, 6]
    loss, weight = build_objective("causal-lm", {}).step(built(folder, attention).model, tensors(features, rows))[
        "loss"
    ]
    assert weight == sum(features.scalar["labelled"][rows])
    assert float(loss.detach() / weight) == pytest.approx(float(theirs(folder, features, rows).detach()), abs=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_padding_changes_nothing(family: str, tmp_path: Path) -> None:
    folder = build_decoder(tmp_path / "m", family=family)
    features, rows = features_of(folder), [1, 4, 2, 7]
    assert len({len(features.row("input_ids", row)) for row in rows}) > 1
    model = built(folder).model.eval()
    with torch.no_grad():
        together = model(tensors(features, rows))
        alone = [model(tensors(features, [row])) for row in rows]
    for name in ("nll", "tokens", "correct"):
        assert torch.allclose(together[name], torch.cat([one[name] for one in alone]), atol=1e-4), name


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_shared_beginning_is_exact_in_values_and_gradients(
    family: str, attention: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = build_decoder(tmp_path / "m", family=family)
    batch = tensors(features_of(folder), [0, 1, 2, 3])
    assert causal.shared_tokens(batch) > 20
    found = []
    for limit in (8, 10_000):
        monkeypatch.setattr(causal, "LEAST_SHARED", limit)
        model = built(folder, attention).model.train()
        outputs = model(batch)
        outputs["nll"].sum().backward()
        found.append((outputs["nll"].detach(), {n: p.grad for n, p in model.named_parameters()}))
    assert torch.allclose(found[0][0], found[1][0], atol=1e-5)
    assert found[0][1].keys() == found[1][1].keys()
    for name, gradient in found[0][1].items():
        assert gradient is not None
        assert torch.allclose(gradient, found[1][1][name], atol=1e-4), name


def test_what_is_shared_stops_before_the_first_label() -> None:
    ids = torch.arange(20).repeat(3, 1)
    labels = torch.zeros_like(ids)
    labels[1, 12:] = 1
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "label_mask": labels}
    assert causal.shared_tokens(batch) == 11  # the state of token 11 predicts token 12, so it is each row's own
    batch["input_ids"] = ids.clone()
    batch["input_ids"][2, 9] = 50
    assert causal.shared_tokens(batch) == 8
    assert causal.shared_tokens({name: value[:1] for name, value in batch.items()}) == 0


@pytest.mark.parametrize("frozen", [True, False])
def test_chunked_cross_entropy_has_the_gradients_of_the_plain_one(
    frozen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("luthier.models.heads.language_model.CHUNK_LOGITS", 16 * 37)
    draw = torch.Generator().manual_seed(3)
    states, weight = (torch.randn(size, generator=draw, dtype=torch.float64) for size in ((50, 8), (37, 8)))
    target, scale = torch.randint(0, 37, (50,), generator=draw), torch.randn(50, generator=draw, dtype=torch.float64)
    found = []
    for ours in (True, False):
        a, b = states.clone().requires_grad_(), weight.clone().requires_grad_(not frozen)
        if ours:
            loss, correct = token_loss(a, b, target, count=True)
            assert torch.equal(correct, ((a @ b.T).argmax(dim=1) == target).float())
        else:
            loss = torch.nn.functional.cross_entropy(a @ b.T, target, reduction="none")
        (loss * scale).sum().backward()
        found.append((loss.detach().double(), a.grad, b.grad))
    for ours_value, plain in zip(*found, strict=True):
        assert (ours_value is None) == (plain is None)
        if plain is not None:
            assert torch.allclose(ours_value, plain, atol=1e-5)


def test_a_tied_head_has_no_parameter_of_its_own(tmp_path: Path) -> None:
    tied = built(build_decoder(tmp_path / "tied", tied=True)).model
    assert not list(tied.heads.parameters())
    assert not [name for name in tied.state_dict() if name.startswith("heads.")]
    tied.backbone.requires_grad_(False)
    assert not [name for name, parameter in tied.named_parameters() if parameter.requires_grad]
    untied = built(build_decoder(tmp_path / "untied", tied=False)).model
    assert [name for name, _ in untied.heads.named_parameters()] == ["main.output.weight"]
    AutoModel.from_pretrained(tmp_path / "untied").save_pretrained(tmp_path / "bare")
    with pytest.raises(ModelError, match=r"has no output layer \(lm_head\.weight\)"):
        built(tmp_path / "bare")


def test_settings_that_a_language_model_cannot_honour_are_refused() -> None:
    with pytest.raises(TrainingError, match=r"label_smoothing must be 0"):
        build_objective("causal-lm", {"label_smoothing": 0.1})
    with pytest.raises(TrainingError, match=r"class_weights must be none"):
        build_objective("causal-lm", {"class_weights": []})


def test_rows_are_written_as_transformers_writes_a_chat(tmp_path: Path) -> None:
    folder = build_decoder(tmp_path / "m")
    features = features_of(folder, rows=3)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for row, (question, answer) in enumerate(questions(3)):
        messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        asked = tokenizer.apply_chat_template(messages[:1], add_generation_prompt=True, return_dict=False)
        whole = tokenizer.apply_chat_template(messages, return_dict=False)
        ids, mask = features.row("input_ids", row).tolist(), features.row("label_mask", row).tolist()
        assert whole[: len(ids)] == ids
        assert ids[: len(asked)] == asked
        assert mask == [0] * len(asked) + [1] * (len(ids) - len(asked))
        assert ids[-1] == tokenizer.eos_token_id == tokenizer.pad_token_id
        assert mask[-1] == 1  # the end token is learnt although padding is the same token
        assert tokenizer.decode(ids[len(asked) : -1]) == answer


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"template": "plain"}, "a b?"),
        ({"template": "instruction"}, "### Instruction:\na b?\n\n### Response:\n"),
        ({"template": "Q: {prompt}\nA: "}, "Q: a b?\nA: "),
        (
            {"system": "You are terse."},
            "<start>system\nYou are terse.<end>\n<start>user\na b?<end>\n<start>assistant\n",
        ),
    ],
)
def test_templates(settings: dict[str, str], text: str, tmp_path: Path) -> None:
    encoder = TextEncoder(build_decoder(tmp_path / "m"), max_length=64)
    template = TextGeneration(GenerationSettings(**settings)).template(encoder)  # type: ignore[arg-type]
    assert template.render("a b?") == text
    assert template.end_id == 1


def test_templates_that_cannot_work_are_refused(tmp_path: Path) -> None:
    bare = TextEncoder(build_decoder(tmp_path / "a", template=None), max_length=64)
    assert TextGeneration().template(bare).render("x").startswith("### Instruction")
    with pytest.raises(ModelError, match="has no chat template"):
        TextGeneration(GenerationSettings(template="chat")).template(bare)
    silent = "{% for m in messages %}{% if m['role'] == 'user' %}{{ m['content'] }}{% endif %}{% endfor %}"
    mute = TextEncoder(build_decoder(tmp_path / "b", template=silent), max_length=64)
    with pytest.raises(ModelError, match="no place for the assistant's turn"):
        TextGeneration().template(mute).render("x")
    with pytest.raises(ValueError, match="template must be one of"):
        GenerationSettings(template="nonsense")


def test_long_rows_keep_part_of_the_completion_and_long_prompts_are_counted(tmp_path: Path) -> None:
    folder = build_decoder(tmp_path / "m")
    encoder = TextEncoder(folder, max_length=20)
    task = TextGeneration(GenerationSettings(template="plain"))
    columns = {"prompt": ["p" * 12, "p" * 20, "p"], "completion": ["c" * 30, "c" * 30, "c"]}
    block = task.encode(columns, np.arange(3), encoder, np.zeros(3, np.int64), {})
    assert block.scalar["labelled"].tolist() == [8, 0, 2]
    assert block.scalar["full_length"].tolist() == [43, 51, 3]
    assert [len(ids) for ids in block.ragged["input_ids"]] == [20, 20, 3]
    assert block.ragged["input_ids"][0][-1] != 1  # what was cut off teaches no end
    left = TextEncoder(folder, max_length=20, truncation_side="left")
    block = task.encode(columns, np.arange(3), left, np.zeros(3, np.int64), {})
    assert block.scalar["labelled"].tolist() == [19, 19, 2]
    assert block.ragged["input_ids"][0][-1] == 1


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_long_prompt_leaves_room_for_the_answer_and_keeps_its_template(side: str, tmp_path: Path) -> None:
    encoder = TextEncoder(build_decoder(tmp_path / "m"), max_length=100, truncation_side=side)
    task = TextGeneration(GenerationSettings(max_new_tokens=10))
    block = task.encode({"prompt": [f"first{'x' * 200}last"]}, np.arange(1), encoder, None, {})
    ids = block.ragged["input_ids"][0]
    assert len(ids) <= 90
    text = encoder._tokenizer.decode(ids.tolist(), skip_special_tokens=False)
    assert text.endswith("<end>\n<start>assistant\n")
    assert ("first" in text) == (side == "right")
    assert ("last" in text) == (side == "left")
