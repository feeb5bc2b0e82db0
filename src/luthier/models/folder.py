"""The plain Transformers folder of a trained model: written with equal outputs, and read back into our modules."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from luthier.artifacts.bundle import Backbone, Head
from luthier.artifacts.files import sha256_file
from luthier.errors import ModelError
from luthier.models.assembly import Assembled, TaskModel, load_backbone, read_tensors
from luthier.models.families import Plain, family_for
from luthier.models.heads import build_head, head_class, head_names
from luthier.tasks.base import HeadSpec

WEIGHTS = "model.safetensors"


def head_tensors(plain: Plain, head: HeadSpec) -> dict[str, str]:
    """Return `{name in our head: name in the plain folder}`; a tied head has no tensors of its own."""
    found = {}
    for name in head_names(head.kind, head.settings):
        layer, _, rest = name.partition(".")
        found[name] = f"{plain.layers[layer]}.{rest}" if rest else plain.layers[layer]
    return found


def plain_state(assembled: Assembled, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename a `TaskModel`'s tensors to the plain folder's names, in fp32; of tied ones the first is kept."""
    mapping = head_tensors(assembled.plain, assembled.head)
    prefix = assembled.family.prefix_of(assembled.head.kind)
    plain = {}
    for name, tensor in untied(state).items():
        if name.startswith("backbone."):
            plain[prefix + name.removeprefix("backbone.")] = tensor
        else:
            plain[mapping[name.removeprefix("heads.main.")]] = tensor
    return {name: tensor.detach().to("cpu", torch.float32).contiguous() for name, tensor in plain.items()}


def untied(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors without those that are the same memory as an earlier one; Transformers ties them on loading."""
    seen: set[tuple[int, torch.Size]] = set()
    found = {}
    for name, tensor in state.items():
        place = (tensor.data_ptr(), tensor.shape)
        if tensor.numel() == 0 or place not in seen:
            found[name] = tensor
        seen.add(place)
    return found


def write_folder(assembled: Assembled, folder: Path, *, labels: list[str], problem_type: str | None = None) -> str:
    """Write config and weights as a plain Transformers folder of the head's own class.

    Args:
        assembled: the trained module.
        folder: holds the tokenizer already.
        labels: in the order of the outputs.
        problem_type: what a classification class answers, in Transformers' words.

    Returns:
        The sha256 of the weights file.
    """
    from safetensors.torch import save_file

    save_file(plain_state(assembled, assembled.model.state_dict()), folder / WEIGHTS, metadata={"format": "pt"})
    config = assembled.model.backbone.config.to_dict()  # type: ignore[union-attr, operator]
    config.update(architectures=[assembled.plain.architecture], dtype="float32")
    if "tied" in assembled.head.settings:  # Transformers writes true for every T5
        config.update(tie_word_embeddings=assembled.head.settings["tied"])
    if labels:
        config.update(
            id2label={str(i): label for i, label in enumerate(labels)},
            label2id={label: i for i, label in enumerate(labels)},
        )
    if problem_type is not None:
        config["problem_type"] = problem_type
    config.pop("_name_or_path", None)
    papers = head_class(assembled.head.kind).papers(assembled.head.settings, assembled.model.backbone.config)
    for name, content in {"config.json": config, **papers}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        text = json.dumps(content, indent=2, ensure_ascii=False, sort_keys=True)
        (folder / name).write_text(f"{text}\n", encoding="utf-8")
    return sha256_file(folder / WEIGHTS)


def write_base(assembled: Assembled, folder: Path) -> str:
    """Write config and weights of the backbone alone, unchanged by training; return the sha256 of the weights file."""
    from safetensors.torch import save_file

    backbone = assembled.model.backbone
    state = {name: tensor.detach().to("cpu", torch.float32) for name, tensor in untied(backbone.state_dict()).items()}
    save_file({name: t.contiguous() for name, t in state.items()}, folder / WEIGHTS, metadata={"format": "pt"})
    config = backbone.config.to_dict()  # type: ignore[union-attr, operator]
    config.update(architectures=[type(backbone).__name__], dtype="float32")
    config.pop("_name_or_path", None)
    text = json.dumps(config, indent=2, ensure_ascii=False, sort_keys=True)
    (folder / "config.json").write_text(f"{text}\n", encoding="utf-8")
    return sha256_file(folder / WEIGHTS)


def manifest_parts(assembled: Assembled, *, source: str) -> tuple[Backbone, Head]:
    """Return the backbone and head entries of a bundle's manifest."""
    model_type = assembled.model.backbone.config.model_type  # type: ignore[union-attr]
    prefix = assembled.family.prefix_of(assembled.head.kind)
    backbone = Backbone(folder="model", model_type=str(model_type), source=source, prefix=prefix)
    known = assembled.head.settings
    settings = {**known, "dropout": 0.0} if "dropout" in known else dict(known)
    tensors = head_tensors(assembled.plain, assembled.head)
    return backbone, Head(name="main", kind=assembled.head.kind, settings=settings, tensors=tensors)


def read_folder(folder: Path, backbone: Backbone, heads: list[Head], *, root: Path | None = None) -> TaskModel:
    """Return the module of a plain folder, in fp32 and evaluation mode.

    Args:
        folder: config and weights.
        backbone: its entry in the manifest.
        heads: their entries.
        root: what the files of heads are relative to; needed where heads lie elsewhere.

    Raises:
        ModelError: a tensor is missing, or has another shape than its architecture.
    """
    root = folder if root is None else root
    modules: dict[str, nn.Module] = {head.name: build_head(head.kind, head.settings) for head in heads}
    family = family_for(backbone.model_type, heads[0].kind, where=str(folder))
    shell = load_backbone(folder, family, heads[0].kind, attention=family.attention[-1])
    try:
        for head in heads:
            found = read_tensors(
                [folder / WEIGHTS if head.file is None else root / head.file], list(head.tensors.values())
            )
            modules[head.name].load_state_dict({ours: found[theirs] for ours, theirs in head.tensors.items()})
    except (RuntimeError, KeyError) as error:
        raise ModelError(f"does not fit its architecture: {error}", where=str(folder / WEIGHTS)) from None
    return TaskModel(shell, modules, reading=family.plain[heads[0].kind].reading).eval()
