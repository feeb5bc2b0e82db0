"""Linear layers in 4 or 8 bits, by bitsandbytes: put into a backbone, and turned back into plain ones."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor, nn

from luthier.models.tuning.injected import ADAPTER


def quantise(backbone: nn.Module, pattern: str, bits: int) -> None:
    """Replace the linear layers whose full names match; the numbers are quantised when they move to the device."""
    for name, layer in list(backbone.named_modules()):
        if isinstance(layer, nn.Linear) and re.fullmatch(pattern, name):
            _replace(backbone, name, _quantised(layer, bits))
    setattr(backbone, f"is_loaded_in_{bits}bit", True)  # PEFT asks for it


def _quantised(layer: nn.Linear, bits: int) -> Any:
    import bitsandbytes as bnb  # type: ignore[import-not-found]  # an optional library

    shape, bias = (layer.in_features, layer.out_features), layer.bias is not None
    if bits == 4:
        new: Any = bnb.nn.Linear4bit(*shape, bias=bias, compute_dtype=torch.bfloat16, quant_type="nf4")
        new.weight = bnb.nn.Params4bit(layer.weight.data, requires_grad=False, quant_type="nf4")
    else:
        new = bnb.nn.Linear8bitLt(*shape, bias=bias, has_fp16_weights=False)
        new.weight = bnb.nn.Int8Params(layer.weight.data, requires_grad=False, has_fp16_weights=False)
    new.bias = layer.bias
    return new


def dequantise(backbone: nn.Module, *, merge: bool) -> None:
    """Turn quantised layers, with an update beside them or not, into plain ones in fp32 with the same values."""
    from peft.tuners.lora import LoraLayer

    for name, layer in list(backbone.named_modules()):
        wrapped = isinstance(layer, LoraLayer)
        inner = layer.get_base_layer() if wrapped else layer
        if not (wrapped or _is_quantised(inner)) or ".base_layer" in f".{name}":
            continue
        weight = _values(inner)
        if merge and wrapped:
            weight = weight + layer.get_delta_weight(ADAPTER).to(weight)
        plain = nn.Linear(inner.in_features, inner.out_features, bias=inner.bias is not None, device="cpu")
        with torch.no_grad():
            plain.weight.copy_(weight)
            if inner.bias is not None:
                plain.bias.copy_(inner.bias)
        _replace(backbone, name, plain.to(weight.device))
    for bits in (4, 8):
        if hasattr(backbone, f"is_loaded_in_{bits}bit"):
            delattr(backbone, f"is_loaded_in_{bits}bit")


def _is_quantised(layer: nn.Module) -> bool:
    return type(layer).__name__ in {"Linear4bit", "Linear8bitLt"}


def _values(layer: Any) -> Tensor:
    """Return a layer's matrix in fp32, (out, in)."""
    from peft.utils.integrations import dequantize_bnb_weight

    if not _is_quantised(layer):
        plain: Tensor = layer.weight.detach().float()
        return plain
    return dequantize_bnb_weight(layer.weight, state=getattr(layer, "state", None)).float()


def _replace(backbone: nn.Module, name: str, layer: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(backbone.get_submodule(parent), last, layer)
