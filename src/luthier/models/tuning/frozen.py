"""Methods that hold a part of the model still: the whole backbone, its lower layers, or all but its biases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import annotated_types as at

from luthier.errors import ModelError
from luthier.models.tuning.base import SHARED_LAYERS, Method, layers_of, setting

if TYPE_CHECKING:
    from luthier.models.assembly import TaskModel


class HeadOnly(Method):
    """The backbone stays as it is; only the heads move."""

    refused_tasks: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(
            ("text-generation", "translation", "summarisation"),
            "the output layer of a language model is mostly its input embedding, which would not move",
        ),
        "embedding": "a vector is pooled from the backbone's states, and there is no head to move",
    }

    def frozen_layers(self, config: Mapping[str, Any]) -> int:
        """Return the number of its layers."""
        return layers_of(config)

    def set_up(self, model: TaskModel, total_steps: int) -> None:
        """Freeze the backbone."""
        model.backbone.requires_grad_(False)
        model.heads.requires_grad_(True)


@dataclass(frozen=True)
class FreezeSettings:
    """How much of the backbone stays as it is."""

    layers: Annotated[int, at.Ge(0)] = setting(
        1,
        "This many layers, counted from the bottom, stay as they are, and the embeddings with them; more is faster "
        "and learns less. 0 freezes the embeddings alone.",
    )


class Freeze(Method):
    """Embeddings and the lowest layers stay as they are; the layers above and the heads move."""

    settings = FreezeSettings
    refused: ClassVar[Mapping[str, str]] = SHARED_LAYERS
    needs_layout = True

    def frozen_layers(self, config: Mapping[str, Any]) -> int:
        """Return what was set."""
        return int(self.chosen.layers)

    def check(self, config: Mapping[str, Any]) -> None:
        """Refuse to freeze layers that the model does not have."""
        layers = layers_of(config)
        if self.chosen.layers > layers:
            raise ModelError(
                f"method.freeze.layers must be at most {layers}, the layers of this model; got {self.chosen.layers}.",
                fix="Give a smaller number, or use head to freeze the whole backbone.",
            )

    def set_up(self, model: TaskModel, total_steps: int) -> None:
        """Freeze embeddings and lower layers."""
        from luthier.models.tuning.layouts import parts

        model.requires_grad_(True)
        frozen = {name for part in parts(model.backbone)[: 1 + self.chosen.layers] for name in part}
        for name, parameter in model.backbone.named_parameters():
            parameter.requires_grad_(name not in frozen)


class BitFit(Method):
    """Only the biases of the backbone move, and the heads.

    References:
        Ben Zaken et al. 2022, "BitFit: Simple Parameter-efficient Fine-tuning for Transformer-based Masked
        Language-models".
    """

    refused: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("llama", "modernbert", "qwen3", "t5"), "its layers have no biases"
    )

    def set_up(self, model: TaskModel, total_steps: int) -> None:
        """Freeze all but biases, those of LayerNorms included."""
        model.heads.requires_grad_(True)
        for name, parameter in model.backbone.named_parameters():
            parameter.requires_grad_(name.endswith("bias"))
        if not any(parameter.requires_grad for parameter in model.backbone.parameters()):
            raise ModelError("method must not be bitfit for this model: it has no biases.", fix="Use lora or head.")
