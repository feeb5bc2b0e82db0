"""Packed numbers: their layout, their errors, and models that are written and read with them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.tiny_families import DECODERS, WRITERS, build_family
from torch import Tensor, nn

from luthier.errors import ModelError
from luthier.models.assembly import Assembled, TaskModel, assemble
from luthier.models.folder import manifest_parts
from luthier.models.packed import (
    ALIGNED,
    BF16,
    PackedEmbedding,
    PackedLinear,
    eight_bits,
    fits,
    four_bits,
    heaviest,
    packed,
    sparse,
    unpacked,
)
from luthier.models.packed_folder import PACKED, Scheme, matrices, read_packed, write_packed
from luthier.models.source import locate
from luthier.tasks.base import HeadSpec


def drawn(rows: int, columns: int) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(rows + columns))


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 99))
def test_two_numbers_in_a_byte_come_back(rows: int, halves: int, seed: int) -> None:
    numbers = torch.randint(0, 16, (rows, 2 * halves), generator=torch.Generator().manual_seed(seed)).to(torch.uint8)
    bytes_ = packed(numbers)
    assert bytes_.shape == (rows, halves)
    assert torch.equal(unpacked(bytes_), numbers)


@pytest.mark.parametrize("shape", [(5, 7), (17, 33), (48, 64)])
def test_8_bits_are_within_half_a_step(shape: tuple[int, int]) -> None:
    weight = drawn(*shape)
    found = eight_bits(weight)
    exact = found.values.float() * found.scale.float()
    step = found.scale.float()
    assert bool(((exact - weight).abs() <= 0.5 * step + 127 * step * 2**-8).all())  # the scale is rounded to bf16


@pytest.mark.parametrize("group", [32, 64, 128])
def test_4_bits_are_never_worse_than_the_whole_range_rounded(group: int) -> None:
    weight = drawn(20, 256)
    found = four_bits(weight, group)
    groups = weight.view(20, -1, group)
    width = groups.amax(-1) - groups.amin(-1)
    error = (found.matrix().float() - weight).view(20, -1, group)
    mean = error.square().mean(dim=-1).sqrt()
    assert found.values.numel() * 2 == weight.numel()
    assert bool((mean <= 0.5 * width / 15 + width * 2**-6).all())


def test_a_group_of_equal_numbers_and_one_of_zeros_are_kept() -> None:
    weight = torch.cat([torch.full((16, 32), 0.5), torch.zeros(16, 32)], dim=1)
    torch.testing.assert_close(four_bits(weight, 32).matrix().float(), weight, atol=1e-6, rtol=0.01)


def test_errors_count_where_inputs_are_large() -> None:
    weight, importance = drawn(64, 64), torch.ones(64)
    importance[5] = 1e4

    def error(one: Tensor | None) -> float:
        return float((four_bits(weight, 64, one).matrix().float() - weight)[:, 5].square().mean())

    assert error(importance) < 0.8 * error(None)


@pytest.mark.parametrize("rows", [1, 3, 40])
@pytest.mark.parametrize("shape", [(16, 32), (48, 64), (17, 33), (192, 576)])
def test_a_packed_layer_multiplies_with_its_numbers(rows: int, shape: tuple[int, int]) -> None:
    weight, states, bias = drawn(*shape), drawn(rows, shape[1]), drawn(1, shape[0])[0]
    schemes = [eight_bits(weight), *([four_bits(weight, 32)] if fits(weight, 32) else [])]
    for matrix in schemes:
        layer = PackedLinear(matrix, bias.to(BF16))
        wanted = nn.functional.linear(states.to(BF16).float(), matrix.matrix().float(), bias)
        found = layer(states[None])
        assert found.shape == (1, rows, shape[0])
        assert found.dtype == states.dtype
        assert float((found[0] - wanted).norm() / wanted.norm()) < 0.01


@pytest.mark.parametrize("rows", [1, 8])
def test_what_lies_at_an_odd_place_in_memory_is_moved_for_the_kernel(rows: int) -> None:
    """The 8-bit kernel of torch 2.13 ends the process on states or numbers that do not begin at 16 bytes."""
    matrix, states = eight_bits(drawn(48, 64)), drawn(rows, 64).to(BF16)
    layer = PackedLinear(replace(matrix, values=misplaced(matrix.values)), None)
    assert layer.matrix().values.data_ptr() % ALIGNED == 0
    assert torch.equal(layer(misplaced(states)), PackedLinear(matrix, None)(states))
    four = four_bits(drawn(48, 64), 32)
    assert torch.equal(PackedLinear(four, None)(misplaced(states)), PackedLinear(four, None)(states))


def misplaced(tensor: Tensor) -> Tensor:
    """Return a copy that begins 8 bytes behind an aligned place, as in a mapped file."""
    step = 8 // tensor.element_size()
    found = torch.zeros(tensor.numel() + step, dtype=tensor.dtype)[step:].view(tensor.shape).copy_(tensor)
    assert found.data_ptr() % 16 == 8
    return found


def test_shapes_that_the_kernels_do_not_take_are_seen() -> None:
    assert fits(drawn(16, 128), 128)
    assert not fits(drawn(17, 128), 32)
    assert not fits(drawn(16, 96), 64)


@given(st.integers(1, 9), st.integers(1, 40), st.integers(0, 99))
def test_a_sparse_matrix_comes_back_bit_for_bit(rows: int, columns: int, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    weight = torch.randn(rows, columns, generator=draw).to(BF16).float()
    places = torch.rand(rows, columns, generator=draw) < 0.5
    found = sparse(weight, places)
    assert torch.equal(found.matrix().float(), weight * places)
    assert len(found.kept) == int(places.sum())
    assert found.mask.shape == (rows, -(-columns // 8))


@pytest.mark.parametrize("group", [0, 4])
def test_half_is_kept_and_it_is_the_half_that_counts(group: int) -> None:
    weight, importance = drawn(24, 64), torch.rand(64) + 0.1
    found = heaviest(weight, group, importance)
    counts = (weight.abs() * importance.sqrt()).view(24, -1, group or 64)
    kept = found.view(24, -1, group or 64)
    assert bool((kept.sum(-1) == (group or 64) // 2).all())
    assert bool((counts.masked_fill(~kept, torch.inf).amin(-1) >= counts.masked_fill(kept, 0.0).amax(-1)).all())
    assert not torch.equal(found, heaviest(weight, group))


@pytest.mark.parametrize("group", [0, 4])
@pytest.mark.parametrize("family", [*DECODERS, *WRITERS])
def test_a_sparse_model_is_read_as_the_whole_one_with_its_zeros(family: str, group: int, tmp_path: Path) -> None:
    assembled = built(tmp_path / family, family)
    model = assembled.model.eval()
    whole = write_packed(model, tmp_path / family, Scheme(16), {}).stat().st_size
    path = write_packed(model, tmp_path / family, Scheme(16, group, sparse=True), {})
    names = {name: layer for name, layer in matrices(model) if not name.startswith("heads.")}
    numbers = sum(layer.weight.numel() for layer in names.values())  # type: ignore[operator,union-attr]
    assert whole - path.stat().st_size == pytest.approx(2 * numbers - 1.125 * numbers, abs=300 * len(names))
    backbone, head = manifest_parts(assembled, source="tiny")
    found = read_packed(path, backbone, [head])
    for name, layer in names.items():
        weight = found.get_submodule(name).weight
        assert float((weight == 0).float().mean()) == pytest.approx(0.5, abs=0.01), name
        with torch.no_grad():
            layer.weight.copy_(weight.float())  # type: ignore[operator,union-attr]
    wanted = outputs(model)
    assert float((outputs(found) - wanted).norm() / wanted.norm()) < 0.02


def built(folder: Path, family: str) -> Assembled:
    kind = "sequence-to-sequence" if family in WRITERS else "language-model"
    source = locate(str(build_family(folder, family)))
    return assemble(source, HeadSpec(kind, {}), pooling="auto", attention="eager", dropout=0.0, seed=1)


def outputs(model: TaskModel) -> Tensor:
    ids = torch.arange(4, 28).view(2, 12)
    ones = torch.ones_like(ids)
    batch = {"input_ids": ids, "attention_mask": ones, "label_mask": ones, "label_ids": ids}
    with torch.inference_mode():
        return model(batch)["nll"].float()


@pytest.mark.parametrize("bits", [16, 8, 4])
@pytest.mark.parametrize("family", [*DECODERS, *WRITERS])
def test_a_family_is_written_and_read_with_nearly_its_answers(family: str, bits: int, tmp_path: Path) -> None:
    assembled = built(tmp_path / family, family)
    model = assembled.model.eval()
    path = write_packed(model, tmp_path / family, Scheme(bits, 32), {})
    backbone, head = manifest_parts(assembled, source="tiny")
    again = read_packed(path, backbone, [head])
    assert (sum(isinstance(one, PackedLinear) for one in again.modules()) > 0) == (bits < 16)
    assert any(isinstance(one, PackedEmbedding) for one in again.modules()) == (bits < 16)
    if bits < 16:
        assert not list(matrices(again))
    wanted, found = outputs(model), outputs(again)
    assert not torch.equal(found, wanted)
    assert float((found - wanted).abs().max() / wanted.abs().max()) < (0.1 if bits == 4 else 0.02)
    halves = sum(one.numel() for one in {one.data_ptr(): one for one in model.state_dict().values()}.values()) * 2
    assert path.stat().st_size < halves + 40_000


def test_a_file_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    assembled = built(tmp_path / "model", "llama")
    path = write_packed(assembled.model, tmp_path / "model", Scheme(8), {})
    with safe_open(path, framework="pt") as reader:
        about = reader.metadata()
    tensors = load_file(path)
    backbone, head = manifest_parts(assembled, source="tiny")
    name = next(one for one in tensors if one.endswith("q_proj.values"))
    for changed in (
        {**tensors, name: tensors[name][:, :-1].contiguous()},
        {k: v for k, v in tensors.items() if k != name},
    ):
        save_file(changed, path.with_name(PACKED), metadata=about)
        with pytest.raises(ModelError):
            read_packed(path, backbone, [head])
