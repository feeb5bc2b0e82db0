"""Pairs, embeddings and reranking on real questions and answers, with few rows; and multilingual-e5-small."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import luthier
from luthier import samples

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
SENTENCES = [
    ("The weather is nice today.", "今天天气很好。"),
    ("I lost my passport at the airport.", "我在机场丢了护照。"),
    ("My computer does not start any more.", "我的电脑开不了机了。"),
    ("She is learning to play the piano.", "她在学弹钢琴。"),
    ("Where is the nearest hospital?", "最近的医院在哪里？"),
    ("The train to Beijing leaves at eight.", "去北京的火车八点开。"),
    ("He cooked noodles for dinner.", "他晚饭做了面条。"),
    ("The company will hire twenty engineers.", "公司将招聘二十名工程师。"),
    ("Cats sleep most of the day.", "猫一天大部分时间都在睡觉。"),
    ("Please turn off the lights when you leave.", "离开时请关灯。"),
]


def run(recipe: str, folder: Path, *settings: str) -> dict[str, Any]:
    """Return what a recipe prints with some settings changed."""
    command = [sys.executable, "-m", "luthier", "run", str(ROOT / "recipes" / f"{recipe}.yaml"), "--json"]
    command += ["--run-dir", str(folder), "--set", "evaluate.resamples=200", "--set", "bundle.golden_examples=4"]
    command += [part for one in settings for part in ("--set", one)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr
    values: dict[str, Any] = json.loads(done.stdout)
    return values


@pytest.fixture(scope="module", autouse=True)
def fetched() -> None:
    for name in ("minilm", "support-pairs", "support-candidates"):
        samples.fetch(name)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_an_embedding_finds_answers_better_than_before_training(tmp_path: Path) -> None:
    """Few rows to learn from, so that this shows the way, not the quality: docs/tasks has that."""
    result = run("embedding", tmp_path / "run", "train.epochs=1", "model.max_length=24")
    test, before = result["test"], result["baseline"]
    assert test["mrr"] > before["bm25"]["mrr"] > 0
    assert test["ranking_loss"] < before["untuned"]["ranking_loss"] - 0.5
    assert test["recall_at_10"] > test["recall_at_5"] > test["recall_at_1"] > 0.05
    found = luthier.verify(result["bundle"])
    assert found.plain_difference is not None
    assert found.plain_difference < 1e-4
    question, answer, other = (
        np.asarray(one.as_dict()["embedding"])
        for one in luthier.load(result["bundle"]).predict(
            ["Which city is the capital of France?", {"text": "Paris", "kind": "passage"}, {"text": "An ice cream."}]
        )
    )
    assert question @ answer > question @ other


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_reranker_and_a_classifier_of_pairs_end_in_verified_bundles(tmp_path: Path) -> None:
    few = ("train.epochs=1", "model.max_length=16", "data.limit=800")
    ranked = run("reranking", tmp_path / "ranked", *few)
    assert 0.3 < ranked["test"]["mrr"] <= 1
    assert "recall_at_10" not in ranked["test"]  # there are eight candidates
    (answer,) = luthier.load(ranked["bundle"]).predict(
        [{"query": "Who are you?", "passages": ["A bot.", "No.", "Two."]}]
    )
    assert sorted(answer.as_dict()["order"]) == [0, 1, 2]
    judged = run("text-pair", tmp_path / "judged", *few)
    assert judged["baseline"]["majority"]["accuracy"] == pytest.approx(0.5, abs=0.02)
    (answer,) = luthier.load(judged["bundle"]).predict([{"question": "Who are you?", "answer": "A bot."}])
    assert answer.as_dict()["label"] in {"yes", "no"}


@pytest.mark.fetches
def test_e5_finds_translations() -> None:
    """The nearest Chinese sentence of each English one is its translation, and the other way round."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    folder = samples.fetch("e5-multilingual").path
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, dtype=torch.float32, add_pooling_layer=False).eval()
    texts = [f"query: {text}" for side in zip(*SENTENCES, strict=True) for text in side]
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.inference_mode():
        states = model(**batch).last_hidden_state  # (B, T, H)
    mask = batch["attention_mask"].unsqueeze(-1)
    vectors = torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1))
    near = (vectors[: len(SENTENCES)] @ vectors[len(SENTENCES) :].T).numpy()
    assert near.argmax(axis=1).tolist() == list(range(len(SENTENCES)))
    assert near.argmax(axis=0).tolist() == list(range(len(SENTENCES)))
    rest = near[~np.eye(len(SENTENCES), dtype=bool)]
    assert np.diag(near).mean() > rest.mean() + 0.1
