"""Full fine-tuning: every parameter moves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from luthier.models.assembly import TaskModel


class Full:
    """Every parameter of backbone and heads moves, at one learning rate."""

    def __init__(self, settings: None = None) -> None:
        assert settings is None, "full has no settings"

    def set_up(self, model: TaskModel) -> None:
        """Make every parameter trainable."""
        model.requires_grad_(True)

    def parameter_groups(self, model: TaskModel, *, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
        """Return matrices with weight decay, biases and LayerNorms without."""
        from luthier.models.tuning.groups import decay_groups  # imports torch

        return decay_groups(model, learning_rate=learning_rate, weight_decay=weight_decay)

    def after_backward(self, model: TaskModel, step: int) -> None:
        """Do nothing."""

    def after_step(self, model: TaskModel, step: int) -> None:
        """Do nothing."""

    def state(self) -> dict[str, Any]:
        """Return nothing: full fine-tuning has no state beyond the parameters."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take nothing back."""
