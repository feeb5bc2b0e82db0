"""Fewer layers: which of a backbone's may go, and the model without them.

References: Fan et al. 2020, Reducing Transformer Depth on Demand, and Sajjad et al. 2023, On the effect of dropping
layers of pre-trained transformer models. Deviation: layers go one at a time, each the one without which the outputs on
training rows move least.

Covered: backbones whose layers are one list (`training.sharding.TYPES`). Not covered: encoder-decoders, and families
that share weights between layers.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from luthier.artifacts.files import read_json, write_json_atomic
from luthier.compression.export.traceable import Batch
from luthier.errors import ModelError
from luthier.models.assembly import TaskModel
from luthier.models.tuning.layouts import layout_of
from luthier.training.gradients import to_torch
from luthier.training.sharding import TYPES

DEPTH_KEYS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")


def refusal(model: TaskModel) -> str | None:
    """Return why a model's layers must stay; None where they may go."""
    backbone: Any = model.backbone
    kind = str(backbone.config.model_type)
    return None if kind in TYPES else f"the layers of {kind} models are no plain list"


def depth(model: TaskModel) -> int:
    """Return the number of layers."""
    return len(_layers(model))


def order_of_removal(model: TaskModel, batches: Sequence[Batch]) -> list[int]:
    """Return the numbers of the layers, the one first whose absence moves the outputs least, and so on.

    Args:
        model: in evaluation mode.
        batches: of training rows.
    """
    tensors = [to_torch(batch, torch.device("cpu")) for batch in batches]
    wanted = [_outputs(model, batch) for batch in tensors]
    kept, gone = list(range(depth(model))), []
    while len(kept) > 1:
        moves = {}
        for layer in kept:
            with _only(model, [one for one in kept if one != layer]):
                found = [_outputs(model, batch) for batch in tensors]
            moves[layer] = sum(_distance(a, b) for a, b in zip(found, wanted, strict=True))
        least = min(moves, key=lambda layer: (moves[layer], -layer))
        kept.remove(least)
        gone.append(least)
    return [*gone, *kept]


def without_layers(model: TaskModel, gone: Sequence[int]) -> TaskModel:
    """Return a copy of a model without some layers, its configuration changed with them; without any, as it is.

    Raises:
        ModelError: the configuration does not tell its depth in a known place.
    """
    student = copy.deepcopy(model)
    if gone:
        _keep(student.backbone, _layers(student), [layer for layer in range(depth(model)) if layer not in set(gone)])
    return student


def write_depth(model: TaskModel, folder: Path) -> None:
    """Write a model's number of layers into a folder's configuration, and their kinds where it lists them.

    Args:
        model: with fewer layers than the folder says.
        folder: holds the configuration of the model that it was made of.
    """
    path = folder / "config.json"
    told, own = read_json(path), cast(Any, model.backbone).config.to_dict()
    write_json_atomic(path, {**told, **{key: own[key] for key in (*DEPTH_KEYS, "layer_types") if key in told}})


def _layers(model: TaskModel) -> nn.ModuleList:
    backbone: Any = model.backbone
    found: nn.ModuleList = backbone.get_submodule(layout_of(backbone).layers)
    return found


@contextmanager
def _only(model: TaskModel, kept: Sequence[int]) -> Iterator[None]:
    """Compute with some of the layers alone."""
    backbone: Any = model.backbone
    whole, config = _layers(model), copy.deepcopy(backbone.config)
    _keep(backbone, whole, kept)
    try:
        yield
    finally:
        backbone.config.__dict__.update(config.__dict__)
        _keep(backbone, whole, range(len(whole)))


def _keep(backbone: Any, whole: nn.ModuleList, kept: Sequence[int]) -> None:
    """Put some of a list of layers into a backbone, and their number and kinds into its configuration."""
    keys = [key for key in DEPTH_KEYS if isinstance(getattr(backbone.config, key, None), int)]
    if not keys:
        raise ModelError(f"the configuration must tell the number of layers ({', '.join(DEPTH_KEYS)}).")
    left = nn.ModuleList([whole[layer] for layer in kept])
    for number, layer in enumerate(left):
        for part in layer.modules():
            if hasattr(part, "layer_idx"):  # its place in a decoder's cache
                setattr(part, "layer_idx", number)  # noqa: B010  # no attribute that torch knows
    backbone.set_submodule(layout_of(backbone).layers, left)
    setattr(backbone.config, keys[0], len(left))
    kinds = getattr(backbone.config, "layer_types", None)
    if kinds:
        backbone.config.layer_types = [kinds[layer] for layer in kept]


def _outputs(model: TaskModel, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    with torch.inference_mode():
        found: dict[str, Tensor] = model(batch)
    return found


def _distance(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> float:
    """Return the squared distance of two outputs over the second's square, added up over their names."""
    total = 0.0
    for name, values in wanted.items():
        real = torch.isfinite(values)
        gap = (found[name] - values)[real].square().sum() / values[real].square().sum().clamp(min=1e-9)
        total += float(gap)
    return total
