"""Frozen linear layers whose matrix is kept in 4 or 8 bits: put into a backbone, and turned back into plain ones.

The numbers are made and read by bitsandbytes; its layers are not used: they cast the biases of a frozen model in place,
and in 8 bits they round what comes in as well.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from luthier.models.tuning.injected import ADAPTER, bitsandbytes_functions


class FrozenLinear(nn.Linear):
    """A linear layer that does not train; its matrix is made from few bits where it is used, forward and backward.

    Args:
        layer: the plain one, or GPT-2's, which keeps its matrix the other way round; its bias is shared.
        bits: 4 (NF4, blocks of 64) or 8 (blocks of 256); the blocks' scales are kept in 8 bits.

    Shapes:
        inputs `(*, in)`, result `(*, out)`; `weight` holds the packed numbers, as int8: T5 casts what comes in to the
        type of its weights, unless that is int8.
    """

    def __init__(self, layer: Any, bits: int) -> None:
        nn.Module.__init__(self)  # nn.Linear's own would make a matrix
        numbers = bitsandbytes_functions()
        self.transposed = _is_transposed(layer)
        matrix = (layer.weight.T if self.transposed else layer.weight).detach().float().contiguous()
        self.out_features, self.in_features = matrix.shape
        if bits == 4:
            packed, self._state = numbers.quantize_4bit(matrix, quant_type="nf4", compress_statistics=True)
            self._read: Callable[[Tensor, Any], Tensor] = numbers.dequantize_4bit
        else:
            packed, self._state = numbers.quantize_blockwise(matrix, blocksize=256, nested=True)
            self._read = numbers.dequantize_blockwise
        self.weight = nn.Parameter(packed.view(torch.int8), requires_grad=False)
        self.bias = layer.bias

    def matrix(self) -> Tensor:
        """Return the matrix in fp32, `(out, in)`."""
        return self._read(self.weight.view(torch.uint8), self._state).view(self.out_features, self.in_features)

    def forward(self, input: Tensor) -> Tensor:  # PyTorch's own name
        """Return the product, and the bias added."""
        result: Tensor = _Product.apply(input, self)  # type: ignore[no-untyped-call]
        return result

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> FrozenLinear:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._state.to(self.weight.device)
        return self


class _Product(torch.autograd.Function):
    """A product with a matrix that is made again for the gradient in place of being kept."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, layer: FrozenLinear) -> Tensor:
        ctx.layer = layer
        return functional.linear(inputs, layer.matrix(), layer.bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients
        return gradient @ ctx.layer.matrix().to(gradient.dtype), None


def packed_away(model: nn.Module) -> int:
    """Return how many parameters a model has beyond the numbers it stores: two of 4 bits lie in one."""
    layers = (layer for layer in model.modules() if isinstance(layer, FrozenLinear))
    return sum(layer.in_features * layer.out_features - layer.weight.numel() for layer in layers)


def quantise(backbone: nn.Module, pattern: str, bits: int) -> None:
    """Replace the linear layers whose full names match."""
    for name, layer in list(backbone.named_modules()):
        if (isinstance(layer, nn.Linear) or _is_transposed(layer)) and re.fullmatch(pattern, name):
            _replace(backbone, name, FrozenLinear(layer, bits))


def dequantise(backbone: nn.Module, *, merge: bool) -> None:
    """Turn quantised layers, with an update beside them or not, into plain ones in fp32 with the same values."""
    from peft.tuners.lora import LoraLayer

    for name, layer in list(backbone.named_modules()):
        wrapped = isinstance(layer, LoraLayer)
        inner = layer.get_base_layer() if wrapped else layer
        if not isinstance(inner, FrozenLinear) or ".base_layer" in f".{name}":
            continue
        weight = inner.matrix()
        if merge and wrapped:
            weight = weight + layer.get_delta_weight(ADAPTER).to(weight)
        _replace(backbone, name, _plain(weight, inner.bias, transposed=inner.transposed))


def _is_transposed(layer: nn.Module) -> bool:
    return type(layer).__name__ == "Conv1D"  # GPT-2's


def _plain(matrix: Tensor, bias: Tensor | None, *, transposed: bool) -> nn.Module:
    from transformers.pytorch_utils import Conv1D

    outputs, inputs = matrix.shape
    layer: Any = Conv1D(outputs, inputs) if transposed else nn.Linear(inputs, outputs, bias=bias is not None)
    layer.to(matrix.device)
    with torch.no_grad():
        layer.weight.copy_(matrix.T if transposed else matrix)
        if bias is not None:
            layer.bias.copy_(bias)
    made: nn.Module = layer
    return made


def _replace(backbone: nn.Module, name: str, layer: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(backbone.get_submodule(parent), last, layer)
