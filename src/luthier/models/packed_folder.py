"""A model with packed weights on disk, and back: one safetensors file beside the configuration and the tokenizer.

Every linear layer is packed, and the table of token embeddings in 8 bits, whether it is the output layer as well or
not; an output layer of its own is packed in 8 bits. What remains (norms, biases, positions) is bf16. In 16 bits all is,
and half of the numbers of the backbone's linear layers may be left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from luthier.artifacts.bundle import Backbone, Head
from luthier.errors import ModelError
from luthier.models.assembly import TaskModel, empty_backbone
from luthier.models.families import family_for
from luthier.models.heads import LanguageModelHead, SequenceToSequenceHead, build_head
from luthier.models.packed import (
    BF16,
    FEW_ROWS,
    FEW_STATES,
    Packed,
    PackedEmbedding,
    PackedLinear,
    Sparse,
    eight_bits,
    fits,
    four_bits,
    heaviest,
    sparse,
)

PACKED = "packed.safetensors"
PARTS = ("values", "scale", "zero")
HEADS = "heads."


@dataclass(frozen=True)
class Scheme:
    """How weights are stored.

    Attributes:
        bits: 4, 8 or 16 of each number of a linear layer.
        group: in 4 bits, how many numbers of a row share a scale; in a sparse one, of how many half are kept, 0 for a
            whole row.
        sparse: whether half of the numbers of the backbone's linear layers are left out; in 16 bits alone.
    """

    bits: int
    group: int = 0
    sparse: bool = False


def matrices(model: TaskModel) -> Iterator[tuple[str, nn.Module]]:
    """Yield the linear layers, GPT-2's own kind among them, by name."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D":
            yield name, module


def write_packed(model: TaskModel, folder: Path, scheme: Scheme, importance: Mapping[str, Tensor]) -> Path:
    """Write a model's weights in a scheme; return the file.

    Args:
        model: in fp32.
        folder: holds the configuration already.
        scheme: of the linear layers.
        importance: per linear layer the mean square of each of its inputs; where it is absent all count alike.
    """
    from safetensors.torch import save_file

    linear = dict(matrices(model))
    tables = {parameter.data_ptr() for parameter in _tables(model)}
    names: dict[tuple[int, torch.Size], str] = {}
    aliases: dict[str, str] = {}
    found: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        place = (tensor.data_ptr(), tensor.shape)
        if tensor.numel() and place in names:
            aliases[name] = names[place]
            continue
        names[place] = name
        owner, _, kind = name.rpartition(".")
        if scheme.sparse and kind == "weight" and owner in linear and not owner.startswith(HEADS):
            found.update(_without_half(tensor.detach().float(), linear[owner], owner, scheme, importance.get(owner)))
            continue
        if scheme.bits == 16 or kind != "weight" or (owner not in linear and tensor.data_ptr() not in tables):
            found[name] = tensor.detach().to(BF16).contiguous()
            continue
        weight = tensor.detach().float()
        weight = weight.T.contiguous() if type(linear.get(owner)).__name__ == "Conv1D" else weight
        narrow = scheme.bits == 4 and owner in linear and not owner.startswith(HEADS) and fits(weight, scheme.group)
        matrix = four_bits(weight, scheme.group, importance.get(owner)) if narrow else eight_bits(weight)
        parts = zip(PARTS, (matrix.values, matrix.scale, matrix.zero), strict=True)
        found.update({f"{owner}.{part}": value for part, value in parts if value is not None})
    path = folder / PACKED
    save_file(found, path, metadata={"format": "pt", "aliases": json.dumps(aliases, sort_keys=True)})
    return path


def _without_half(
    tensor: Tensor, layer: nn.Module, owner: str, scheme: Scheme, importance: Tensor | None
) -> dict[str, Tensor]:
    """Return the tensors of a sparse layer."""
    weight = tensor.T.contiguous() if type(layer).__name__ == "Conv1D" else tensor
    matrix = sparse(weight, heaviest(weight, scheme.group, importance))
    return {f"{owner}.kept": matrix.kept, f"{owner}.mask": matrix.mask}


def _tables(model: TaskModel) -> list[Tensor]:
    """Return the tables of token embeddings, of both sides of an encoder-decoder."""
    backbone: Any = model.backbone
    owners = [backbone] + ([backbone.get_decoder()] if backbone.config.is_encoder_decoder else [])
    return [owner.get_input_embeddings().weight for owner in owners]


def read_packed(path: Path, backbone: Backbone, heads: Sequence[Head]) -> TaskModel:
    """Return the module whose weights `write_packed` wrote, in evaluation mode; nothing is made in fp32.

    Args:
        path: the file, beside its configuration.
        backbone: its entry in the manifest.
        heads: their entries.

    Raises:
        ModelError: a tensor is missing, or has another shape than its architecture.
    """
    from safetensors import safe_open

    family = family_for(backbone.model_type, heads[0].kind, where=str(path))
    shell = empty_backbone(path.parent, family, heads[0].kind)
    with torch.device("meta"):
        modules: dict[str, nn.Module] = {head.name: build_head(head.kind, head.settings) for head in heads}
    model = TaskModel(shell, modules, reading=family.plain[heads[0].kind].reading)
    with safe_open(path, framework="pt") as reader:
        aliases: dict[str, str] = json.loads(reader.metadata()["aliases"])
        names = set(reader.keys())
        packed = {name.removesuffix(".values") for name in names if name.endswith(".values")}
        try:
            for owner in sorted(packed):
                parts = [reader.get_tensor(f"{owner}.{part}") for part in PARTS if f"{owner}.{part}" in names]
                _put(model, owner, Packed(*parts), reader)
            for owner in (name.removesuffix(".kept") for name in sorted(names) if name.endswith(".kept")):
                _fill(
                    model.get_submodule(owner), reader.get_tensor(f"{owner}.kept"), reader.get_tensor(f"{owner}.mask")
                )
            for name in sorted(names):
                owner, _, last = name.rpartition(".")
                if owner not in packed and last not in {"kept", "mask"}:
                    _assign(model.get_submodule(owner), last, reader.get_tensor(name))
        except (AttributeError, KeyError, ValueError, RuntimeError) as error:
            raise ModelError(f"does not fit its architecture: {error}", where=str(path)) from None
    for alias, name in aliases.items():
        _tie(model, alias, name)
    empty = [name for name, one in [*model.named_parameters(), *model.named_buffers()] if one.is_meta]
    if empty:
        raise ModelError(f"lacks {len(empty)} tensors of its architecture, such as {empty[0]}.", where=str(path))
    for head in model.heads.values():
        if isinstance(head, LanguageModelHead | SequenceToSequenceHead):
            head.attach(model.backbone)  # to the table that took the place of the empty one
    return model.requires_grad_(False).eval()


def _fill(layer: nn.Module, kept: Tensor, mask: Tensor) -> None:
    """Give an empty layer the numbers of a sparse one."""
    turned = type(layer).__name__ == "Conv1D"
    shape: tuple[int, ...] = tuple(layer.weight.shape)[:: -1 if turned else 1]  # type: ignore[arg-type]
    if mask.shape != (shape[0], -(-shape[1] // 8)):
        raise ValueError(f"mask must have the shape {(shape[0], -(-shape[1] // 8))}; got {tuple(mask.shape)}")
    matrix = Sparse(kept, mask, shape[1]).matrix()
    _assign(layer, "weight", matrix.T.contiguous() if turned else matrix)


def _put(model: TaskModel, owner: str, matrix: Packed, reader: Any) -> None:
    """Put a packed layer in the place of an empty one."""
    old = model.get_submodule(owner)
    if isinstance(old, nn.Embedding):
        shape = tuple(old.weight.shape)
        new: nn.Module = PackedEmbedding(matrix, factor=float(getattr(old, "embed_scale", 1.0)))
    else:
        plain: Any = old
        shape = tuple(plain.weight.shape)[:: -1 if type(old).__name__ == "Conv1D" else 1]
        bias = None if plain.bias is None else reader.get_tensor(f"{owner}.bias")
        new = PackedLinear(matrix, bias, few=FEW_STATES if owner.startswith(HEADS) else FEW_ROWS)
    halves = 1 if matrix.zero is None else 2
    if (matrix.values.shape[0], matrix.values.shape[1] * halves) != shape:
        raise ValueError(f"{owner} must have the shape {shape}; got {tuple(matrix.values.shape)}")
    model.set_submodule(owner, new)


def _assign(module: nn.Module, name: str, tensor: Tensor) -> None:
    old = getattr(module, name)
    if old.shape != tensor.shape:
        raise ValueError(f"{name} must have the shape {tuple(old.shape)}; got {tuple(tensor.shape)}")
    setattr(module, name, nn.Parameter(tensor, requires_grad=False) if isinstance(old, nn.Parameter) else tensor)


def _tie(model: TaskModel, alias: str, name: str) -> None:
    """Let a tensor be another one; a packed table is one module in both places."""
    owner, _, last = name.rpartition(".")
    other, _, own = alias.rpartition(".")
    source = model.get_submodule(owner)
    if isinstance(source, PackedEmbedding):
        model.set_submodule(other, source)
    else:
        setattr(model.get_submodule(other), own, getattr(source, last))
