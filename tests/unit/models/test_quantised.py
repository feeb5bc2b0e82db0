"""Frozen layers in 4 and 8 bits, beside the plain ones that they were made of."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.contracts.test_methods import fit, outputs
from torch import nn
from transformers.pytorch_utils import Conv1D

from luthier.errors import ModelError
from luthier.models.tuning import quantised
from luthier.models.tuning.quantised_layers import FrozenLinear, dequantise, packed_away, quantise
from luthier.models.tuning.table import build_method
from luthier.training.events import StepDone
from luthier.training.profile import work_per_token

ERROR = {4: 0.12, 8: 0.012}  # of a product, relative; measured 0.0896 and 0.0064


def layers(bits: int) -> tuple[nn.Linear, FrozenLinear]:
    torch.manual_seed(3)
    plain = nn.Linear(96, 64)
    return plain, FrozenLinear(plain, bits)


@pytest.mark.parametrize("bits", [4, 8])
def test_the_product_is_near_and_its_gradient_is_that_of_the_matrix_in_few_bits(bits: int) -> None:
    plain, frozen = layers(bits)
    inputs = torch.randn(5, 7, 96, requires_grad=True)
    with torch.no_grad():
        error = (frozen(inputs) - plain(inputs)).norm() / (plain(inputs) - plain.bias).norm()
    assert 0 < float(error) < ERROR[bits]
    wanted = torch.randn(5, 7, 64)
    (frozen(inputs) * wanted).sum().backward()
    assert inputs.grad is not None
    assert torch.allclose(inputs.grad, wanted @ frozen.matrix(), atol=1e-5)


@pytest.mark.parametrize("bits", [4, 8])
def test_under_autocast_it_computes_in_bf16_and_changes_nothing(bits: int) -> None:
    _, frozen = layers(bits)
    kept = {name: value.clone() for name, value in frozen.state_dict().items()}
    inputs = torch.randn(5, 96, requires_grad=True)
    exact = frozen(inputs).detach()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = frozen(inputs)
    found.float().sum().backward()
    assert found.dtype == torch.bfloat16
    assert torch.allclose(found.float(), exact, atol=0.05)
    assert inputs.grad is not None
    assert inputs.grad.dtype == torch.float32
    assert {name: value.dtype for name, value in frozen.state_dict().items()} == {
        "weight": torch.int8,
        "bias": torch.float32,
    }
    assert all(torch.equal(value, kept[name]) for name, value in frozen.state_dict().items())


@pytest.mark.parametrize("bits", [4, 8])
def test_its_numbers_take_as_many_bits_and_count_as_parameters(bits: int) -> None:
    plain, frozen = layers(bits)
    assert frozen.weight.numel() == 96 * 64 * bits // 8
    assert frozen.weight.numel() + packed_away(frozen) == 96 * 64
    # What never trains needs no gradient of its own: 4 FLOPs a parameter, where the plain layer has 6.
    assert work_per_token(frozen, torch.no_grad) == 4 * 96 * 64 + 6 * 64
    assert work_per_token(plain, torch.no_grad) == 6 * 96 * 64 + 6 * 64


@pytest.mark.parametrize("bits", [4, 8])
def test_plain_layers_come_back_with_the_same_values(bits: int) -> None:
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(96, 64), nn.Tanh(), nn.Linear(64, 8, bias=False), nn.Linear(8, 4), Conv1D(6, 4))
    kinds = [type(layer) for layer in model]
    untouched = model[3].weight.clone()
    quantise(model, "[024]", bits)
    assert [type(layer) for layer in model] == [FrozenLinear, nn.Tanh, FrozenLinear, nn.Linear, FrozenLinear]
    inputs = torch.randn(9, 96)
    with torch.no_grad():
        answers = model(inputs)
        dequantise(model, merge=False)
        assert [type(layer) for layer in model] == kinds
        assert torch.allclose(model(inputs), answers, atol=1e-6)
    assert torch.equal(model[3].weight, untouched)


@pytest.mark.parametrize("settings", [{"bits": 8}, {"bits": 8, "merge": False}, {"bits": 4, "merge": False}], ids=str)
def test_it_learns_and_its_plain_model_answers_the_same(
    settings: dict[str, int], tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.contracts.test_methods.SETTINGS", {"qlora": settings})
    run = fit("qlora", tiny_model, epochs=80, batches=1, dropout=0.0)
    losses = [event.loss for event in run if isinstance(event, StepDone)]
    assert np.mean(losses[-3:]) < 0.1 * np.mean(losses[:3])
    before = outputs(run)
    apart = run.method.unload(run.model)
    assert not any(isinstance(module, FrozenLinear) for module in run.model.modules())
    if settings.get("merge", True):
        assert apart == {}
        assert torch.allclose(outputs(run), before, atol=1e-5)
    else:
        assert all("lora_" in name for name in apart)
        assert not torch.allclose(outputs(run), before, atol=1e-3)


def test_where_the_package_is_absent_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantised, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"got qlora, which needs the bitsandbytes package\. Install it"):
        build_method("qlora", {}).check({"model_type": "bert"})


FETCHES = """
fetched = "nothing"
try:
    import kernels
    fetched = kernels.get_kernel()
except ImportError:
    pass
"""
PROBE = """
import sys
before = "kernels" in sys.modules
from luthier.models.tuning.injected import bitsandbytes_functions
assert bitsandbytes_functions().fetched == "nothing"
assert ("kernels" in sys.modules) == before
import kernels
assert kernels.get_kernel() == "code of a hub"
"""


@pytest.mark.parametrize("first", ["", "import kernels\n"], ids=["not loaded", "loaded before"])
def test_it_is_loaded_without_fetching_code(first: str, tmp_path: Path) -> None:
    """The real package fetches on processors with bf16 alone, so a made one stands in its place."""
    (tmp_path / "bitsandbytes").mkdir()
    (tmp_path / "bitsandbytes" / "__init__.py").touch()
    (tmp_path / "bitsandbytes" / "functional.py").write_text(FETCHES, encoding="utf-8")
    (tmp_path / "kernels.py").write_text("def get_kernel():\n    return 'code of a hub'\n", encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    subprocess.run([sys.executable, "-c", first + PROBE], check=True, env=environment)
