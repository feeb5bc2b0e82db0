"""The contract of a tuning method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from luthier.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor

    from luthier.models.assembly import TaskModel

T = TypeVar("T")
SHARED_LAYERS = {"albert": "its layers share one set of weights, so that they cannot be told apart"}
"""Why a method that treats layers differently does not go with a model type."""


def setting(default: T, description: str) -> T:
    """Return a settings field with its default and the sentence that describes it."""
    return field(default=default, metadata={"description": description})


class Method:
    """Which parameters move, in which groups, and what happens around a step. Each hook does nothing unless overridden.

    A method never has a loop of its own. `set_up` decides by `requires_grad` what may ever train: that, and no more,
    goes into checkpoints, with what `state` and `tensors` return. New tensors are drawn from torch's generator, which
    the loop seeds around `set_up`. Steps are counted from 0. One object serves one model.

    Attributes:
        settings: a frozen dataclass, or None where there are no settings.
        refused: `{model type: reason}`; these models are refused before weights load.
        refused_tasks: `{task: reason}`; so are these tasks.
        needs_layout: whether the model type must stand in `layouts.LAYOUTS`.
    """

    settings: ClassVar[type | None] = None
    refused: ClassVar[Mapping[str, str]] = {}
    refused_tasks: ClassVar[Mapping[str, str]] = {}
    needs_layout: ClassVar[bool] = False

    def __init__(self, settings: Any = None) -> None:
        """Take an instance of the settings class, or None where there is none."""
        self.chosen = settings

    @property
    def positions(self) -> int:
        """How many of the model's positions the method takes for itself."""
        return 0

    def frozen_layers(self, config: Mapping[str, Any]) -> int:
        """Return how many layers of a model, from the bottom and with the embeddings, never change."""
        return 0

    def check(self, config: Mapping[str, Any]) -> None:
        """Look at the settings against a model's `config.json`, before weights load.

        Raises:
            LuthierError: they do not fit, or a library is missing.
        """

    def set_up(self, model: TaskModel, total_steps: int) -> None:
        """Change the model in place: wrap the backbone, freeze parameters. Heads always stay trainable."""
        raise NotImplementedError

    def parameter_groups(self, model: TaskModel, *, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
        """Return optimiser groups `{params, lr, weight_decay, names}` of all that may ever train."""
        from luthier.models.tuning.groups import decay_groups  # imports torch

        return decay_groups(model, learning_rate=learning_rate, weight_decay=weight_decay)

    def before_step(self, model: TaskModel, step: int) -> None:
        """Prepare the model for a step; what it does must follow from the step's number alone."""

    def penalty(self, model: TaskModel) -> Tensor | None:
        """Return a scalar that is added to the step's mean loss; None adds nothing."""
        return None

    def after_backward(self, model: TaskModel, step: int) -> None:
        """Adjust gradients, once per optimiser step, before clipping."""

    def after_step(self, model: TaskModel, step: int) -> None:
        """Adjust parameters after the optimiser's step; gradients are still there."""

    def state(self) -> dict[str, Any]:
        """Return JSON-like state that must survive a kill beyond the parameters."""
        return {}

    def tensors(self) -> dict[str, Tensor]:
        """Return tensors that must survive a kill beyond the parameters."""
        return {}

    def load_state(self, state: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Take back what `state` and `tensors` returned."""

    def unload(self, model: TaskModel) -> dict[str, Tensor]:
        """Leave a plain Transformers backbone: fold in what was trained, or take it off.

        Returns:
            What was taken off, by parameter name in the backbone; empty where everything was folded in. `set_up` on the
            plain backbone and these tensors give the same model again.
        """
        return {}


def layers_of(config: Mapping[str, Any]) -> int:
    """Return the number of layers that a model's `config.json` names; those of encoder and decoder together."""
    if config.get("is_encoder_decoder"):
        if "encoder_layers" in config:
            return int(config["encoder_layers"]) + int(config["decoder_layers"])
        if "num_layers" in config:
            return int(config["num_layers"]) + int(config.get("num_decoder_layers") or config["num_layers"])
    for key in ("num_hidden_layers", "n_layers", "n_layer"):
        if key in config:
            return int(config[key])
    raise ModelError("config.json names no number of layers.", fix="Choose another method, such as lora.")
