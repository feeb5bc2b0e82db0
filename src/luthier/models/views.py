"""The lower and the upper part of a backbone as modules of their own, which share its parameters.

Layers that never train give the same states for a row in every epoch. `lower` computes them, `upper` goes on from them.
Neither changes the backbone: a view is a shallow copy in which some parts are replaced.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from luthier.models.tuning.layouts import layout_of, parts

SPLITTABLE = frozenset(
    {"bert", "distilbert", "electra", "llama", "modernbert", "qwen2", "qwen3", "roberta", "xlm-roberta"}
)
"""Model types whose states between two layers are all that the upper part needs."""


class _Given(nn.Module):
    """Takes the place of embeddings: hands on the states that came as `inputs_embeds`."""

    def forward(self, *given: Any, **named: Any) -> Tensor:
        """Return the one argument that holds states."""
        found = [
            value for value in (*given, *named.values()) if isinstance(value, Tensor) and value.is_floating_point()
        ]
        assert len(found) == 1, f"embeddings must be given one tensor of states; got {len(found)}"
        return found[0]


def lower(backbone: nn.Module, layers: int) -> nn.Module:
    """Return the embeddings and the lowest layers; its `last_hidden_state` is that of the highest of them.

    Args:
        backbone: of a type in `SPLITTABLE`.
        layers: how many.
    """
    view = with_layers(backbone, _layers(backbone)[:layers])
    for name in {name.split(".")[0] for name in parts(backbone)[-1]}:  # a norm above the highest layer
        view._modules[name] = nn.Identity()
    return view


def upper(backbone: nn.Module, layers: int) -> nn.Module:
    """Return all above the lowest layers; it takes their states, (B, T, H), as `inputs_embeds`.

    Args:
        backbone: of a type in `SPLITTABLE`.
        layers: how many are left out.
    """
    view = with_layers(backbone, _layers(backbone)[layers:])
    first, *others = layout_of(backbone).embeddings
    view._modules[first] = _Given()
    for name in others:
        if name in view._modules:
            view._modules[name] = nn.Identity()
    return view


def with_layers(backbone: nn.Module, layers: Sequence[nn.Module]) -> nn.Module:
    """Return a shallow copy that has these layers in the place of its own.

    Args:
        backbone: of a type in `LAYOUTS`.
        layers: from the bottom up.
    """
    view = module = _shallow(backbone)
    *path, last = layout_of(backbone).layers.split(".")
    for name in path:
        child = _shallow(module._modules[name])  # type: ignore[arg-type]
        module._modules[name] = child
        module = child
    module._modules[last] = nn.ModuleList(layers)
    return view


def _layers(backbone: nn.Module) -> list[nn.Module]:
    return list(backbone.get_submodule(layout_of(backbone).layers).children())


def _shallow(module: nn.Module) -> nn.Module:
    found = copy.copy(module)
    found._modules = dict(module._modules)
    return found
