"""Rows that share a sequence have the loss and the gradient that they have apart. Tiny random decoders."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.tiny import build_decoder

from luthier.models.assembly import TaskModel, assemble
from luthier.models.packing import PACKABLE, block_mask, packed
from luthier.models.source import locate
from luthier.objectives.causal_lm import CausalLM
from luthier.tasks.base import HeadSpec
from luthier.training.precision import autocast


def rows() -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(3)
    lengths = torch.tensor([9, 4, 17, 6, 12])
    mask = (torch.arange(17) < lengths[:, None]).long()
    ids = torch.randint(2, 200, (5, 17), generator=draw) * mask + (1 - mask)
    labels = mask * (torch.arange(17) >= lengths[:, None] // 2).long()
    return {"input_ids": ids, "attention_mask": mask, "label_mask": labels}


def model(folder: Path, family: str, attention: str) -> TaskModel:
    build_decoder(folder, family=family)
    source = locate(str(folder))
    head = HeadSpec("language-model", {})
    found = assemble(source, head, pooling="auto", attention=attention, dropout=0.0, seed=5).model
    with torch.no_grad():
        for parameter in found.parameters():
            if parameter.ndim == 2:
                parameter.mul_(4)  # as it is drawn, a tiny model hardly looks at other tokens
    return found.train()


def gradients(found: TaskModel, packing: bool, precision: str = "fp32") -> tuple[float, float, dict[str, torch.Tensor]]:
    found.zero_grad()
    with autocast(precision, torch.device("cpu")):
        loss, weight = CausalLM(packing=packing).step(found, rows())["loss"]
    loss.backward()
    kept = {name: p.grad.clone() for name, p in found.named_parameters() if p.grad is not None}
    return float(loss.detach()), float(weight), kept


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("family", PACKABLE)
def test_packed_equals_apart(family: str, attention: str, tmp_path: Path) -> None:
    found = model(tmp_path, family, attention)
    apart, together = gradients(found, False), gradients(found, True)
    assert together[1] == apart[1] == float(rows()["label_mask"].sum())
    assert together[0] == pytest.approx(apart[0], rel=1e-5)
    assert together[2].keys() == apart[2].keys()
    for name, gradient in apart[2].items():
        assert torch.allclose(gradient, together[2][name], atol=1e-4 * float(gradient.abs().max())), name
    half = gradients(found, True, "bf16")
    assert half[0] == pytest.approx(apart[0], rel=0.05)


def test_a_row_that_saw_its_neighbour_would_be_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = model(tmp_path, "llama", "eager")
    apart = gradients(found, False)
    one_row = lambda segments: block_mask((segments > 0).long())  # noqa: E731
    monkeypatch.setattr("luthier.models.causal.block_mask", one_row)
    assert abs(gradients(found, True)[0] - apart[0]) > 1e-3 * apart[0]


def test_rows_are_put_where_there_is_room() -> None:
    batch = rows()
    found = packed(batch, capacity=22)
    assert found["input_ids"].shape == (3, 21)
    assert int(found["attention_mask"].sum()) == int(batch["attention_mask"].sum())
    assert found["segments"].max(dim=1).values.tolist() == [2, 2, 1]
    first = found["segments"] * (found["position_ids"] == 0)
    assert int((first > 0).sum()) == 5
    whole = packed(batch, capacity=5)
    assert len(whole["input_ids"]) == 5, "a longer row stands alone"
