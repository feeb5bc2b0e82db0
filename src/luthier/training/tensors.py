"""Parameters and optimiser state in safetensors, by parameter name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from luthier.errors import ArtifactError

MODEL = "model.safetensors"
OPTIMISER = "optimizer.safetensors"


def save_model(model: nn.Module, folder: Path) -> None:
    """Write a module's parameters and persistent buffers."""
    from safetensors.torch import save_file

    save_file({name: tensor.detach().contiguous() for name, tensor in model.state_dict().items()}, folder / MODEL)


def load_model(model: nn.Module, folder: Path) -> None:
    """Read back what `save_model` wrote.

    Raises:
        ArtifactError: the tensors do not fit the module.
    """
    from safetensors.torch import load_file

    try:
        model.load_state_dict(load_file(folder / MODEL))
    except RuntimeError as error:
        raise ArtifactError(f"does not fit the model: {error}", where=str(folder / MODEL)) from None


def save_optimiser(optimiser: torch.optim.Optimizer, folder: Path) -> None:
    """Write each parameter's optimiser state under `<parameter>/<key>`."""
    from safetensors.torch import save_file

    tensors: dict[str, Tensor] = {}
    for name, parameter in _named(optimiser):
        for key, value in optimiser.state.get(parameter, {}).items():
            tensors[f"{name}/{key}"] = torch.as_tensor(value).detach().contiguous()
    save_file(tensors, folder / OPTIMISER)


def load_optimiser(optimiser: torch.optim.Optimizer, folder: Path) -> None:
    """Read back what `save_optimiser` wrote.

    Raises:
        ArtifactError: it holds state for a parameter that does not train here.
    """
    from safetensors.torch import load_file

    named = dict(_named(optimiser))
    state: dict[str, dict[str, Any]] = {}
    for key, tensor in load_file(folder / OPTIMISER).items():
        name, _, field = key.rpartition("/")
        if name not in named:
            raise ArtifactError(f"holds state for {name}, which does not train here.", where=str(folder / OPTIMISER))
        device = named[name].device if field != "step" else tensor.device
        state.setdefault(name, {})[field] = tensor.to(device)
    for name, values in state.items():
        optimiser.state[named[name]] = values


def _named(optimiser: torch.optim.Optimizer) -> list[tuple[str, nn.Parameter]]:
    pairs = []
    for group in optimiser.param_groups:
        pairs += list(zip(group["names"], group["params"], strict=True))
    return pairs
