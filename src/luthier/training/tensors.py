"""Parameters and optimiser state in safetensors, by parameter name."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from luthier.errors import ArtifactError
from luthier.training.sharding import gathered, like

MODEL = "model.safetensors"
OPTIMISER = "optimizer.safetensors"
METHOD = "method.safetensors"


Tensors = dict[str, Tensor]


def model_tensors(model: nn.Module, names: Collection[str], *, keep: bool = True) -> Tensors:
    """Return the parameters of these names, and every persistent buffer; a frozen base is left out.

    Args:
        model: the module; every process of a sharded one must call this.
        names: of the parameters that may ever train.
        keep: whether this process wants them.
    """
    return gathered(_kept(model, names), keep=keep)


def save_model(tensors: Tensors, folder: Path) -> None:
    """Write what `model_tensors` returned to `model.safetensors`."""
    from safetensors.torch import save_file

    save_file(tensors, folder / MODEL)


def load_model(model: nn.Module, folder: Path, names: Collection[str]) -> None:
    """Read back what `save_model` wrote.

    Raises:
        ArtifactError: the tensors do not fit the module.
    """
    from safetensors.torch import load_file

    found = load_file(folder / MODEL)
    where = str(folder / MODEL)
    if differing := sorted(found.keys() ^ _kept(model, names).keys()):
        raise ArtifactError(f"does not fit the model: {differing[0]} stands on one side alone.", where=where)
    now = _kept(model, names)
    try:
        model.load_state_dict({name: like(tensor, now[name]) for name, tensor in found.items()}, strict=False)
    except RuntimeError as error:
        told = " ".join(str(error).split())[:400]
        raise ArtifactError(f"does not fit the model: {told}", where=where) from None


def _kept(model: nn.Module, names: Collection[str]) -> dict[str, Tensor]:
    wanted = {*names, *(name for name, _ in model.named_buffers())}
    return {name: tensor for name, tensor in model.state_dict().items() if name in wanted}


def save_method(tensors: Mapping[str, Tensor], folder: Path) -> None:
    """Write a method's own tensors; no file where there are none."""
    from safetensors.torch import save_file

    if tensors:
        save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, folder / METHOD)


def load_method(folder: Path) -> dict[str, Tensor]:
    """Read back what `save_method` wrote."""
    from safetensors.torch import load_file

    path = folder / METHOD
    return load_file(path) if path.exists() else {}


def optimiser_tensors(optimiser: torch.optim.Optimizer, *, keep: bool = True) -> Tensors:
    """Return each parameter's optimiser state under `<parameter>/<key>`.

    Args:
        optimiser: every process of a sharded model must call this.
        keep: whether this process wants them.
    """
    tensors: Tensors = {}
    for name, parameter in _named(optimiser):
        for key, value in optimiser.state.get(parameter, {}).items():
            tensors[f"{name}/{key}"] = torch.as_tensor(value)
    return gathered(tensors, keep=keep)


def save_optimiser(tensors: Tensors, folder: Path) -> None:
    """Write what `optimiser_tensors` returned."""
    from safetensors.torch import save_file

    save_file(tensors, folder / OPTIMISER)


def load_optimiser(optimiser: torch.optim.Optimizer, folder: Path) -> None:
    """Read back what `save_optimiser` wrote, in parts where the parameters are sharded.

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
        state.setdefault(name, {})[field] = tensor if field == "step" else like(tensor, named[name])
    for name, values in state.items():
        optimiser.state[named[name]] = values


def _named(optimiser: torch.optim.Optimizer) -> list[tuple[str, nn.Parameter]]:
    pairs = []
    for group in optimiser.param_groups:
        pairs += list(zip(group["names"], group["params"], strict=True))
    return pairs
