"""The losses of tokens and spans are those of plain Transformers, and padding changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import BertConfig, BertForQuestionAnswering, BertForTokenClassification

from luthier.errors import TrainingError
from luthier.objectives import SpanObjective, TokenClassification

SIZES = {
    "vocab_size": 40,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 16,
}


class Logits(nn.Module):
    """A plain class as a task model."""

    def __init__(self, plain: Any) -> None:
        super().__init__()
        self.plain = plain.eval()

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        found = self.plain(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
        if "logits" in found:
            return {"logits": found.logits}
        return {"logits": torch.stack([found.start_logits, found.end_logits], dim=-1)}


def batch_of(lengths: list[int]) -> dict[str, Tensor]:
    torch.manual_seed(0)
    mask = (torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]).long()
    return {"input_ids": torch.randint(1, 40, mask.shape) * mask, "attention_mask": mask}


def test_tokens_without_a_label_have_no_part_in_the_loss() -> None:
    torch.manual_seed(1)
    plain = BertForTokenClassification(BertConfig(**SIZES, num_labels=5))
    batch = batch_of([9, 5])
    labels = torch.randint(0, 5, batch["input_ids"].shape)
    labels[:, ::3] = -100
    labels[batch["attention_mask"] == 0] = -100
    total, weight = TokenClassification().step(Logits(plain), {**batch, "labels": labels})["loss"]
    expected = plain(**batch, labels=labels).loss
    assert weight.item() == int((labels >= 0).sum())
    assert (total / weight).item() == pytest.approx(expected.item(), rel=1e-5)
    longer = {name: nn.functional.pad(one, (0, 3)) for name, one in batch.items()}
    again, same = TokenClassification().step(
        Logits(plain), {**longer, "labels": nn.functional.pad(labels, (0, 3), value=-100)}
    )["loss"]
    assert same == weight
    assert again.item() == pytest.approx(total.item(), rel=1e-4)


def test_start_and_end_count_half_each() -> None:
    torch.manual_seed(2)
    plain = BertForQuestionAnswering(BertConfig(**SIZES))
    batch = batch_of([8, 8])
    start, end = torch.tensor([2, 0]), torch.tensor([4, 0])
    rest = {"start": start, "end": end, "allowed": torch.ones(2, 8, dtype=torch.long)}
    total, weight = SpanObjective().step(Logits(plain), {**batch, **rest})["loss"]
    expected = plain(**batch, start_positions=start, end_positions=end).loss
    assert weight.item() == 2
    assert (total / weight).item() == pytest.approx(expected.item(), rel=1e-5)
    rest["allowed"][:, 1] = 0
    fewer, _ = SpanObjective().step(Logits(plain), {**batch, **rest})["loss"]
    assert fewer < total


def test_settings_that_mean_nothing_are_refused() -> None:
    for kind in (TokenClassification, SpanObjective):
        with pytest.raises(TrainingError, match="class_weights must be none"):
            kind(class_weights=[1.0])
    with pytest.raises(TrainingError, match="label_smoothing must be 0"):
        SpanObjective(label_smoothing=0.1)
