"""The layers of bottleneck adapters, and how they are put into a backbone and taken out of it."""

from __future__ import annotations

import re

from torch import Tensor, nn
from torch.nn import functional as F

START = 1e-3  # standard deviation of the first output weights: far below pretrained ones, so near the identity


class Bottleneck(nn.Module):
    """h + up(gelu(down(h))).

    Args:
        size: width of h.
        width: of the bottleneck.
    """

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.down = nn.Linear(size, width)
        self.up = nn.Linear(width, size)
        nn.init.normal_(self.down.weight, 0.0, size**-0.5)  # were both small, the gradients of both would be
        nn.init.normal_(self.up.weight, 0.0, START)
        nn.init.zeros_(self.down.bias)
        nn.init.zeros_(self.up.bias)

    def forward(self, states: Tensor) -> Tensor:
        """Return states of the same shape, (..., size)."""
        change: Tensor = self.up(F.gelu(self.down(states)))
        return states + change


class Adapted(nn.Module):
    """A pretrained layer with an adapter behind it."""

    def __init__(self, base: nn.Module, adapter: Bottleneck) -> None:
        super().__init__()
        self.base = base
        self.adapter = adapter

    @property
    def weight(self) -> Tensor:
        """The pretrained layer's matrix: some models look at its type."""
        return self.base.weight  # type: ignore[return-value]

    def forward(self, states: Tensor) -> Tensor:
        """Return the adapted output of the pretrained layer."""
        adapted: Tensor = self.adapter(self.base(states))
        return adapted


def insert(backbone: nn.Module, pattern: str, width: int) -> None:
    """Put an adapter behind every module whose full name matches; all other parameters are frozen."""
    backbone.requires_grad_(False)
    for name, layer in list(backbone.named_modules()):
        if re.fullmatch(pattern, name):
            size = layer.bias.shape[0] if layer.bias is not None else layer.weight.shape[0]
            adapter = Bottleneck(int(size), width).to(layer.weight.device)
            _replace(backbone, name, Adapted(layer, adapter))


def remove(backbone: nn.Module) -> None:
    """Put the pretrained layers back."""
    for name, layer in list(backbone.named_modules()):
        if isinstance(layer, Adapted):
            _replace(backbone, name, layer.base)


def _replace(backbone: nn.Module, name: str, layer: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(backbone.get_submodule(parent), last, layer)
