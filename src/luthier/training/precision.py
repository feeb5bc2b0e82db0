"""The number format of a forward pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import nn


def autocast(precision: str, device: torch.device, *, keep_casts: bool = True) -> Any:
    """Return the context in which a forward pass runs at a precision.

    Args:
        precision: `fp32`, or `bf16` for autocast.
        device: where.
        keep_casts: keep weights cast once for the whole block, in a store that all threads share.
    """
    if precision != "bf16":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16, cache_enabled=keep_casts)


class HalfWeights:
    """bf16 copies of matrices that never train, in the place of a cast in every pass.

    Autocast would give the same bits, each time anew. The copies cost two bytes a parameter. DoRA reads the norm of the
    frozen matrix, which is to be exact, so its models keep theirs.

    Args:
        model: the module.
        trained: parameters that may train.
        precision: of the forward pass; nothing is copied unless it is `bf16`.
    """

    def __init__(self, model: nn.Module, trained: Sequence[nn.Parameter], precision: str) -> None:
        kept = {id(parameter) for parameter in trained}
        reads_norms = any(len(getattr(module, "lora_magnitude_vector", ())) for module in model.modules())
        self._pairs: list[tuple[nn.Linear, nn.Parameter, nn.Parameter]] = []
        if precision != "bf16" or reads_norms:
            return
        for module in model.modules():
            whole = getattr(module, "weight", None)
            if type(module) is not nn.Linear or type(whole) is not nn.Parameter:  # a sharded weight has another type
                continue
            if id(whole) not in kept and whole.dtype == torch.float32:
                half = nn.Parameter(whole.detach().to(torch.bfloat16), requires_grad=False)
                self._pairs.append((module, whole, half))

    def __len__(self) -> int:
        return len(self._pairs)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the model compute with the copies inside the block."""
        for module, _, half in self._pairs:
            module.weight = half
        try:
            yield
        finally:
            for module, whole, _ in self._pairs:
                module.weight = whole
