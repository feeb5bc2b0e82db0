"""Matrices of whole numbers: 8 bits with a scale per row, 4 bits with a scale and a zero per group; and sparse ones.

A layer keeps the numbers as they are stored and multiplies with them. Few rows at a time, as in writing token by token,
go to a kernel that reads the packed numbers; more rows make this one layer's matrix in bf16 for the moment of the
product, where that is faster. The model as a whole never exists in fp32.

A sparse matrix is stored without its zeros and is whole in memory: no kernel here gains by them.

References: Frantar et al. 2023, "GPTQ" (groups), and Lin et al. 2024, "AWQ" (a search for the range by what it does
to inputs that were seen). Deviation: numbers are rounded to the nearest; the range of each group alone is searched, and
nothing is scaled between layers. Sun et al. 2024, "Wanda" (which numbers become zero).

Covered: linear layers and tables of embeddings. Not covered: activations, which stay bf16.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

BF16 = torch.bfloat16
SHARES = tuple(1 - 0.04 * step for step in range(11))
"""Of a group's range that are tried; outside of it numbers are cut."""
FEW_ROWS, FEW_STATES = 12, 24
"""Up to so many rows the 8-bit kernel beats a product in bf16: for a layer, and for the vocabulary."""
KERNEL_ROWS, KERNEL_COLUMNS = 16, 32
"""The kernels take multiples of these; the 8-bit one of torch 2.13 crashes on others, and off `ALIGNED` bytes."""
ALIGNED = 64


@dataclass(frozen=True)
class Packed:
    """A matrix of (O, I) whole numbers.

    Attributes:
        values: (O, I) int8, or (O, I / 2) uint8 with the first half of a row's columns in the low four bits.
        scale: (O, 1) of a row or (O, I / group), bf16.
        zero: (O, I / group) what the number 8 stands for, bf16; None in 8 bits, where 0 stands for 0.
    """

    values: Tensor
    scale: Tensor
    zero: Tensor | None = None

    def matrix(self) -> Tensor:
        """Return the matrix in bf16, (O, I)."""
        if self.zero is None:
            return self.values.to(BF16) * self.scale
        numbers = unpacked(self.values)
        rows, columns = numbers.shape
        groups = numbers.view(rows, self.scale.shape[1], -1).to(BF16) - 8
        return torch.addcmul(self.zero[..., None], groups, self.scale[..., None]).view(rows, columns)


@dataclass(frozen=True)
class Sparse:
    """A matrix of (O, I) numbers, many of them zero.

    Attributes:
        kept: (K,) the others in bf16, row by row.
        mask: (O, I / 8 rounded up) uint8, a bit for each number, 1 where it is kept; the first in the lowest bit.
        columns: I.
    """

    kept: Tensor
    mask: Tensor
    columns: int

    def matrix(self) -> Tensor:
        """Return the matrix in bf16, (O, I)."""
        bits = self.mask[..., None] >> torch.arange(8, dtype=torch.uint8) & 1
        places = bits.flatten(1)[:, : self.columns].bool()
        found = torch.zeros(places.shape, dtype=BF16)
        found[places] = self.kept
        return found


def sparse(weight: Tensor, places: Tensor) -> Sparse:
    """Return a matrix without the numbers outside of some places.

    Args:
        weight: (O, I).
        places: (O, I) true where a number is kept.
    """
    rows, columns = weight.shape
    bits = nn.functional.pad(places.to(torch.uint8), (0, -columns % 8)).view(rows, -1, 8)
    mask = (bits << torch.arange(8, dtype=torch.uint8)).sum(dim=-1, dtype=torch.uint8)
    return Sparse(weight[places].to(BF16), mask, columns)


def heaviest(weight: Tensor, group: int, importance: Tensor | None = None) -> Tensor:
    """Return where the half of a matrix is that counts more, (O, I): the number's size times that of its input.

    Args:
        weight: (O, I).
        group: of so many numbers of a row half are kept; 0, or one that does not divide I, takes whole rows.
        importance: (I,) mean square of each input; None counts all alike. With any, zeros go first.
    """
    rows, columns = weight.shape
    counts = weight.abs() if importance is None else weight.abs() * importance.clamp(min=1e-12).sqrt()
    groups = counts.reshape(rows, -1, group if group and columns % group == 0 else columns)
    order = groups.argsort(dim=-1, descending=True, stable=True)[..., : -(-groups.shape[-1] // 2)]
    return torch.zeros(groups.shape, dtype=torch.bool).scatter_(-1, order, True).view(rows, columns)


def eight_bits(weight: Tensor) -> Packed:
    """Return a matrix with 8 bits a number and a scale per row.

    Args:
        weight: (O, I) fp32.
    """
    scale = (weight.abs().amax(dim=1, keepdim=True) / 127).clamp(min=1e-12).to(BF16)
    return Packed((weight / scale.float()).round().clamp(-127, 127).to(torch.int8), scale)


def four_bits(weight: Tensor, group: int, importance: Tensor | None = None) -> Packed:
    """Return a matrix with 4 bits a number.

    Args:
        weight: (O, I) fp32, with I a multiple of the group, and even.
        group: numbers of a row that share a scale and a zero.
        importance: (I,) mean square of each input; an error counts by it. None counts all alike.
    """
    rows, columns = weight.shape
    groups = weight.view(rows, columns // group, group)
    counts = torch.ones(columns) if importance is None else importance.clamp(min=1e-12)
    low, high = groups.amin(dim=-1), groups.amax(dim=-1)
    middle, width = (low + high) / 2, (high - low).clamp(min=1e-8)
    least = torch.full(low.shape, torch.inf)
    best = [torch.zeros(groups.shape, dtype=torch.uint8), low.to(BF16), low.to(BF16)]
    for share in SHARES:
        scale = (width * share / 15).to(BF16)
        zero = (middle + scale.float() / 2).to(BF16)  # the number 8 is half a step above the middle
        numbers = ((groups - zero.float()[..., None]) / scale.float()[..., None] + 8).round().clamp(0, 15)
        found = (numbers - 8) * scale.float()[..., None] + zero.float()[..., None]
        error = ((found - groups).square() * counts.view(1, -1, group)).sum(dim=-1)
        better = error < least
        least = torch.where(better, error, least)
        best[0] = torch.where(better[..., None], numbers.to(torch.uint8), best[0])
        best[1], best[2] = torch.where(better, scale, best[1]), torch.where(better, zero, best[2])
    return Packed(packed(best[0].view(rows, columns)), best[1], best[2])


def packed(numbers: Tensor) -> Tensor:
    """Return numbers below 16, two in a byte.

    Args:
        numbers: (O, I) uint8, I even.
    """
    first, second = numbers.chunk(2, dim=1)
    return (first | (second << 4)).contiguous()


def unpacked(values: Tensor) -> Tensor:
    """Return the numbers that `packed` packed, (O, I) uint8."""
    return torch.cat([values & 15, values >> 4], dim=1)


def aligned(values: Tensor) -> Tensor:
    """Return a tensor whose memory begins where the kernels can read it; what a file was mapped to may not."""
    return values.clone() if values.data_ptr() % ALIGNED else values


def fits(weight: Tensor, group: int) -> bool:
    """Return whether the 4-bit kernel takes a matrix of this shape."""
    rows, columns = weight.shape
    return rows % KERNEL_ROWS == 0 and columns % max(group, KERNEL_COLUMNS) == 0


def product8(states: Tensor, matrix: Packed, few: int) -> Tensor:
    """Return (..., O) states times the transposed matrix.

    Args:
        states: (..., I) bf16.
        matrix: (O, I) in 8 bits.
        few: up to so many rows of states the kernel on packed numbers is taken.
    """
    flat = states.reshape(-1, states.shape[-1])
    rows, columns = matrix.values.shape
    if len(flat) <= few and rows % KERNEL_ROWS == 0 and columns % KERNEL_COLUMNS == 0:
        found = torch.ops.aten._weight_int8pack_mm(aligned(flat.contiguous()), matrix.values, matrix.scale[:, 0])
    else:
        found = nn.functional.linear(flat, matrix.values.to(BF16)) * matrix.scale[:, 0]
    shaped: Tensor = found.view(*states.shape[:-1], rows)
    return shaped


class PackedLinear(nn.Module):
    """A linear layer in 8 or 4 bits.

    Args:
        matrix: (O, I).
        bias: (O,) in bf16.
        few: see `product8`.
    """

    weight = None  # whoever asks a linear layer for its numbers' type finds none

    def __init__(self, matrix: Packed, bias: Tensor | None, *, few: int = FEW_ROWS) -> None:
        super().__init__()
        self._few, self._out = few, len(matrix.values)
        self._group = 0
        self.register_buffer("bias", bias)
        if matrix.zero is None:
            values, scale = aligned(matrix.values), matrix.scale
        else:  # the processor's own order of the numbers, a scale and a zero side by side
            numbers = unpacked(matrix.values).int()
            self._group = numbers.shape[1] // matrix.scale.shape[1]
            values = torch.ops.aten._convert_weight_to_int4pack_for_cpu(numbers, 1)
            scale = torch.stack([matrix.scale, matrix.zero], dim=-1).transpose(0, 1).contiguous()
        self.register_buffer("values", values)
        self.register_buffer("scale", scale)

    def forward(self, states: Tensor) -> Tensor:
        """Return (..., O) in the states' type."""
        inputs = states.to(BF16)
        if self._group:
            flat = aligned(inputs.reshape(-1, inputs.shape[-1]).contiguous())
            found: Tensor = torch.ops.aten._weight_int4pack_mm_for_cpu(flat, self.values, self._group, self.scale)
            found = found.view(*states.shape[:-1], self._out)
        else:
            found = product8(inputs, self.matrix(), self._few)
        if isinstance(self.bias, Tensor):
            found = found + self.bias
        return found.to(states.dtype)

    def matrix(self) -> Packed:
        """Return the numbers of a layer in 8 bits."""
        return Packed(self.values, self.scale)  # type: ignore[arg-type]  # buffers


class PackedEmbedding(nn.Module):
    """A table of embeddings in 8 bits; one that is the output layer as well is stored once.

    Args:
        matrix: (V, H).
        factor: each embedding is multiplied by it, as some families do.
    """

    weight = None

    def __init__(self, matrix: Packed, *, factor: float = 1.0) -> None:
        super().__init__()
        self._factor = factor
        self.register_buffer("values", aligned(matrix.values))
        self.register_buffer("scale", matrix.scale)

    def forward(self, ids: Tensor) -> Tensor:
        """Return (..., H) embeddings in bf16."""
        found = nn.functional.embedding(ids, self.values) * nn.functional.embedding(ids, self.scale)  # type: ignore[arg-type]
        return found * self._factor

    def matrix(self) -> Packed:
        """Return the numbers."""
        return Packed(self.values, self.scale)  # type: ignore[arg-type]  # buffers
