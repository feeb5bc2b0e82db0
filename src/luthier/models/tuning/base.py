"""The contract of a tuning method."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
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
