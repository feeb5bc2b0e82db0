"""Optimiser groups."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

# Vectors of PEFT that are stored as matrices: scales and singular values, which weight decay would pull to zero.
VECTORS = ("ia3_l", "lora_E", "lora_magnitude_vector")


def decay_groups(
    model: nn.Module, *, learning_rate: float, weight_decay: float, scale: Callable[[str], float] = lambda _: 1.0
) -> list[dict[str, Any]]:
    """Return groups of trainable parameters: matrices with weight decay; biases, LayerNorms and vectors without.

    Frozen parameters are left out. Names are kept, so that optimiser state is stored by name. The group with the
    largest learning rate stands first.

    Args:
        model: the module.
        learning_rate: the peak.
        weight_decay: of matrices.
        scale: from a parameter's name to what its learning rate is multiplied by.
    """
    plain = {
        f"{prefix}.{name}" if prefix else name
        for prefix, module in model.named_modules()
        if isinstance(module, nn.LayerNorm) or type(module).__name__.endswith("RMSNorm")
        for name, _ in module.named_parameters(recurse=False)
    }
    groups: dict[tuple[float, bool], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            undecayed = name in plain or name.endswith("bias") or any(word in name for word in VECTORS)
            key = (-scale(name), undecayed)
            new = {"params": [], "names": [], "lr": learning_rate * scale(name)}
            group = groups.setdefault(key, {**new, "weight_decay": 0.0 if undecayed else weight_decay})
            group["params"].append(parameter)
            group["names"].append(name)
    return [groups[key] for key in sorted(groups)]
