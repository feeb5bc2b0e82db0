"""Lanes, keyed dropout and the used rows of an embedding: the same sums as the plain way. Tiny random model."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.unit.training.test_loop import equal, features, fit, state
from torch.nn import functional as F

from luthier.errors import TrainingError
from luthier.models.embedding import UsedRows
from luthier.models.tuning.frozen import BitFit
from luthier.objectives.classification import Classification
from luthier.training.dropout import KeyedDropout
from luthier.training.events import Stopped
from luthier.training.loop import Fit
from luthier.training.precision import HalfWeights
from luthier.training.schedule import factor
from luthier.training.threads import threads


def test_lanes_give_the_sums_of_one_batch(tiny_model: Path) -> None:
    runs = [fit(tiny_model, dropout=0.0, lanes=lanes) for lanes in (1, 2, 3)]
    losses = [[event.loss for event in run if hasattr(event, "loss")] for run in runs]
    assert len(losses[0]) > 10
    assert losses[1] == pytest.approx(losses[0], abs=1e-4)
    assert losses[2] == pytest.approx(losses[0], abs=1e-4)


def test_lanes_with_dropout_give_the_same_bits_each_time(tiny_model: Path) -> None:
    runs = [fit(tiny_model, lanes=2) for _ in range(3)]
    for run in runs:
        list(run)
    assert equal(state(runs[0]), state(runs[1]))
    assert equal(state(runs[0]), state(runs[2]))


def test_lanes_leave_the_threads_of_the_process(tiny_model: Path) -> None:
    before = torch.get_num_threads()
    list(fit(tiny_model, lanes=2, epochs=1))
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(("parts", "wanted"), [(1, [4]), (2, [2, 2]), (3, [2, 2, 4])])
def test_parts_that_are_fewer_than_lanes_share_all_threads(parts: int, wanted: list[int], tiny_model: Path) -> None:
    """A long text is a batch of its own, which cannot be cut."""
    seen = []

    class Watched(Classification):
        def step(self, model: Any, batch: Any) -> Any:
            seen.append(torch.get_num_threads())
            return super().step(model, batch)

    run = fit(tiny_model, objective=Watched(), lanes=2)
    with threads(4):
        run.gradients.add([np.array([row]) for row in range(parts)], step=0)
    assert seen == wanted


def test_dropout_is_keyed_scaled_and_as_often_as_asked() -> None:
    ones = torch.ones(400, 500)

    def draw(*parts: object, p: float = 0.3) -> torch.Tensor:
        with KeyedDropout(*parts):
            return F.dropout(ones, p, training=True)

    first = draw("a", 1)
    assert torch.equal(first, draw("a", 1))
    assert not torch.equal(first, draw("a", 2))
    assert float((first == 0).float().mean()) == pytest.approx(0.3, abs=0.005)
    assert float(first.mean()) == pytest.approx(1.0, abs=0.01)
    assert float(first.max()) == pytest.approx(1 / 0.7, rel=1e-4)
    assert torch.equal(draw("a", 1, p=1.0), torch.zeros_like(ones))
    with KeyedDropout("a"):
        assert F.dropout(ones, 0.3, training=False) is ones
        one, two = F.dropout(ones, 0.3), F.dropout(ones, 0.3)
    assert not torch.equal(one, two)


def test_a_layer_and_torchs_own_stream_are_kept_apart() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    with KeyedDropout("a"):
        torch.nn.Dropout(0.5)(torch.ones(100))
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("causal", [False, True])
def test_fused_attention_without_a_drop_equals_the_plain_steps(masked: bool, causal: bool) -> None:
    draw = torch.Generator().manual_seed(2)
    query, key, value = (torch.randn(2, 4, 6, 8, generator=draw) for _ in range(3))
    mask = (torch.rand(2, 1, 6, 6, generator=draw) > 0.2) | torch.eye(6, dtype=torch.bool) if masked else None
    if masked and causal:
        return  # torch refuses both together
    expected = F.scaled_dot_product_attention(query, key, value, mask, is_causal=causal)
    with KeyedDropout("a"):
        same = F.scaled_dot_product_attention(query, key, value, mask, is_causal=causal)
        tiny = F.scaled_dot_product_attention(query, key, value, mask, dropout_p=1e-9, is_causal=causal)
        dropped = F.scaled_dot_product_attention(query, key, value, mask, dropout_p=0.5, is_causal=causal)
    assert torch.allclose(same, expected, atol=1e-6)
    assert torch.allclose(tiny, expected, atol=1e-6)
    assert not torch.allclose(dropped, expected, atol=1e-2)


def test_a_shared_stream_is_refused_beside_other_lanes() -> None:
    with KeyedDropout("a"):
        torch.rand(2)
    with KeyedDropout("a", alone=False), pytest.raises(TrainingError, match=r"train.lanes must be 1"):
        torch.rand(2)


def used(folder: Path) -> np.ndarray:
    return np.unique(np.concatenate([features().values["input_ids"], [0]]))


def whole_decay(run: Fit) -> float:
    """What AdamW multiplies a weight without a gradient by over a run."""
    numbers = run.numbers
    factors = (factor(numbers.schedule, step, total=run.total, warmup=numbers.warmup) for step in range(run.total))
    return math.prod(1 - numbers.learning_rate * one * numbers.weight_decay for one in factors)


def test_training_the_used_rows_alone_equals_training_the_table(tiny_model: Path) -> None:
    whole = fit(tiny_model, weight_decay=0.3)
    part = fit(tiny_model, weight_decay=0.3, used_rows=used(tiny_model))
    assert isinstance(part.model.backbone.get_input_embeddings(), UsedRows)
    before = whole.model.backbone.get_input_embeddings().weight.detach().clone()
    for run in (whole, part):
        list(run)
    one, other = state(whole), state(part)
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.allclose(tensor, other[name], atol=2e-6), name
    rest = np.setdiff1d(np.arange(len(before)), used(tiny_model))
    table = other["backbone.embeddings.word_embeddings.weight"]
    assert len(rest) > 3
    assert float((table[rest] / before[rest]).mean()) == pytest.approx(whole_decay(whole), rel=1e-5)


def test_used_rows_survive_a_stop(tiny_model: Path, tmp_path: Path) -> None:
    rows = used(tiny_model)
    whole = fit(tiny_model, store=tmp_path / "a", weight_decay=0.3, used_rows=rows, lanes=2)
    list(whole)
    stops = iter([False] * 4 + [True])
    first = fit(tiny_model, store=tmp_path / "b", weight_decay=0.3, used_rows=rows, lanes=2, stop=stops.__next__)
    assert isinstance(list(first)[-1], Stopped)
    second = fit(tiny_model, store=tmp_path / "b", weight_decay=0.3, used_rows=rows, lanes=2)
    list(second)
    assert equal(state(whole), state(second))


def test_a_word_outside_the_used_rows_is_an_error(tiny_model: Path) -> None:
    run = fit(tiny_model, used_rows=used(tiny_model))
    outside = int(np.setdiff1d(np.arange(60), used(tiny_model))[0])
    with pytest.raises(IndexError):
        run.model.backbone.get_input_embeddings()(torch.tensor([outside]))
    with run.whole():
        run.model.backbone.get_input_embeddings()(torch.tensor([outside]))


@pytest.mark.parametrize("lanes", [1, 2])
def test_copies_of_frozen_matrices_change_no_bit(lanes: int, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run() -> tuple[Fit, int]:
        found = fit(tiny_model, method=BitFit(), precision="bf16", lanes=lanes)
        list(found)
        return found, len(found.gradients.half)

    copied, number = run()
    assert number == 12  # six matrices in each of two layers
    monkeypatch.setattr(HalfWeights, "__init__", lambda self, *_: setattr(self, "_pairs", []))
    cast, none = run()
    assert none == 0
    assert equal(state(copied), state(cast))
    assert {tensor.dtype for tensor in state(copied).values() if tensor.is_floating_point()} == {torch.float32}
