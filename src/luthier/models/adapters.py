"""Adapters: what a method trained beside the backbone's own weights, kept in a folder of its own.

adapters/NAME/adapter.json          the method and its settings
adapters/NAME/adapter.safetensors   its tensors, by parameter name in the backbone
adapters/NAME/head.safetensors      the head that was trained with it, where it has tensors
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from luthier.artifacts.bundle import Adapter, Head
from luthier.artifacts.files import fingerprint, read_json, sha256_file, write_json_atomic
from luthier.errors import ArtifactError
from luthier.models.assembly import Assembled, TaskModel, seeded
from luthier.models.tuning.injected import adapter_tensors
from luthier.models.tuning.table import METHODS, build_method

FOLDER = "adapters"
SPEC, TENSORS, HEAD = "adapter.json", "adapter.safetensors", "head.safetensors"


def write_adapter(
    assembled: Assembled, head: Head, tensors: Mapping[str, Tensor], folder: Path, *, name: str, method: Any
) -> tuple[Adapter, Head, str]:
    """Write what a method took off, and the head beside it.

    Args:
        assembled: the model, with a plain backbone.
        head: its entry in the manifest of a plain folder.
        tensors: from `Method.unload`.
        folder: `adapters/NAME`, there already.
        name: of the adapter.
        method: `{name: settings}`, to build it again.

    Returns:
        The manifest's entries for the adapter and for its head, and a hash over the tensors of both.
    """
    from safetensors.torch import save_file

    save_file(dict(tensors), folder / TENSORS)
    write_json_atomic(folder / SPEC, {"version": 1, "method": method})
    digests = {TENSORS: sha256_file(folder / TENSORS)}
    module = assembled.model.heads[head.name]
    own = {key: value.detach().to("cpu", torch.float32).contiguous() for key, value in module.state_dict().items()}
    where = f"{FOLDER}/{name}"
    if own:
        save_file(own, folder / HEAD)
        digests[HEAD] = sha256_file(folder / HEAD)
        head = head.model_copy(update={"file": f"{where}/{HEAD}", "tensors": {key: key for key in own}})
    return Adapter(name=name, folder=where), head, fingerprint(digests)


def attach(model: TaskModel, folder: Path) -> TaskModel:
    """Put an adapter onto the plain backbone of a model that is to answer, not to learn.

    Args:
        model: backbone and heads, changed in place.
        folder: from `write_adapter`.

    Raises:
        ArtifactError: it does not fit the backbone.
    """
    from safetensors.torch import load_file

    spec = read_json(folder / SPEC)
    if spec.get("version") != 1 or not isinstance(spec.get("method"), dict) or len(spec["method"]) != 1:
        raise ArtifactError("is not an adapter of version 1.", where=str(folder / SPEC))
    ((name, settings),) = spec["method"].items()
    if name not in METHODS:
        raise ArtifactError(f'names the method "{name}", which this Luthier does not have.', where=str(folder / SPEC))
    with seeded(0):
        build_method(name, settings).set_up(model, 1)
    found, wanted = load_file(folder / TENSORS), adapter_tensors(model.backbone)
    if {key: value.shape for key, value in found.items()} != {key: value.shape for key, value in wanted.items()}:
        raise ArtifactError("does not fit the backbone.", where=str(folder / TENSORS))
    model.backbone.load_state_dict(found, strict=False)
    model.requires_grad_(False)
    return model.eval()
