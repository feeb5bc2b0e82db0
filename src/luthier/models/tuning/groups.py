"""Optimiser groups."""

from __future__ import annotations

from typing import Any

from torch import nn


def decay_groups(model: nn.Module, *, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
    """Return two groups of trainable parameters: matrices with weight decay; biases and LayerNorms without.

    Frozen parameters are left out. Names are kept, so that optimiser state is stored by name.
    """
    plain = {
        f"{prefix}.{name}" if prefix else name
        for prefix, module in model.named_modules()
        if isinstance(module, nn.LayerNorm)
        for name, _ in module.named_parameters(recurse=False)
    }
    groups: list[dict[str, Any]] = [
        {"params": [], "names": [], "lr": learning_rate, "weight_decay": weight_decay},
        {"params": [], "names": [], "lr": learning_rate, "weight_decay": 0.0},
    ]
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            group = groups[name in plain or name.endswith("bias")]
            group["params"].append(parameter)
            group["names"].append(name)
    return [group for group in groups if group["params"]]
