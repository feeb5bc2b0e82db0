"""The contract of a tuning method."""

from __future__ import annotations

from typing import Any, Protocol

from torch import nn

from luthier.models.assembly import TaskModel


class Method(Protocol):
    """Which parameters move, in which groups, and what happens around a step.

    A method never has a loop of its own. `state` is what must survive a kill beyond the parameters.
    """

    def __init__(self, settings: Any = None) -> None:
        """Take the method's settings: an instance of its settings class, or None where it has none."""

    def set_up(self, model: TaskModel) -> None:
        """Change the model in place: wrap the backbone, freeze parameters. Heads always stay trainable."""

    def parameter_groups(self, model: TaskModel, *, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
        """Return optimiser groups: `{params, lr, weight_decay, names}`."""

    def after_backward(self, model: TaskModel, step: int) -> None:
        """Adjust gradients, once per optimiser step, before clipping."""

    def after_step(self, model: TaskModel, step: int) -> None:
        """Adjust parameters after the optimiser's step."""

    def state(self) -> dict[str, Any]:
        """Return JSON-like state for the checkpoint."""

    def load_state(self, state: dict[str, Any]) -> None:
        """Take back what `state` returned."""


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
