"""A backbone with its heads as one module."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from luthier.data.draws import torch_seed
from luthier.errors import ModelError
from luthier.models.causal import next_token_states
from luthier.models.families import Family, family_for
from luthier.models.first_token import first_only
from luthier.models.heads import LanguageModelHead, build_head
from luthier.models.source import ModelSource, quiet_transformers
from luthier.tasks.base import HeadSpec

KINDS = ("weight", "bias")
DROPOUT_KEYS = (
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "dropout",
    "attention_dropout",
    "classifier_dropout",
    "seq_classif_dropout",
    "attn_pdrop",
    "embd_pdrop",
    "resid_pdrop",
)


class TaskModel(nn.Module):
    """A Transformers backbone and named heads outside it.

    Args:
        backbone: maps `input_ids` and `attention_mask` to `last_hidden_state`.
        heads: `{name: head}`.
    """

    def __init__(self, backbone: nn.Module, heads: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.backbone = backbone
        self.heads = nn.ModuleDict(dict(heads))
        self.upper: list[nn.Module] = []
        """In training over kept states: what goes on from them, in a list so that it is no part of this module."""
        self.reads_first = all(getattr(head, "pooling", None) == "first" for head in heads.values())
        self.predicts_tokens = any(isinstance(head, LanguageModelHead) for head in heads.values())
        for head in heads.values():
            if isinstance(head, LanguageModelHead):
                head.attach(backbone)

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the named outputs of every head.

        Args:
            batch: `input_ids` and `attention_mask`, both (B, T), and what the heads read beside states. `states`
                (B, T, H) of frozen layers may stand in the place of `input_ids`, see `models.views`.
        """
        mask = batch["attention_mask"]
        if self.predicts_tokens:
            states = next_token_states(self.backbone, batch)
        elif "states" not in batch:
            states = self._reader(self.backbone)(input_ids=batch["input_ids"], attention_mask=mask).last_hidden_state
        elif self.upper:
            states = self._reader(self.upper[0])(inputs_embeds=batch["states"], attention_mask=mask).last_hidden_state
        else:
            states = batch["states"]
        outputs: dict[str, Tensor] = {}
        for head in self.heads.values():
            outputs.update(head(states, batch))
        return outputs

    def _reader(self, backbone: nn.Module) -> nn.Module:
        """Return what makes the states that the heads read: all, (B, T, H), or the first token's, (B, 1, H)."""
        return first_only(backbone) if self.reads_first else backbone


@dataclass(frozen=True)
class Assembled:
    """A module with what is needed to write it down.

    Attributes:
        model: the module.
        family: how it maps onto a plain folder.
        head: kind and full settings of its head.
    """

    model: TaskModel
    family: Family
    head: HeadSpec


def assemble(
    source: ModelSource, head: HeadSpec, *, pooling: str, attention: str, dropout: float | None, seed: int
) -> Assembled:
    """Return a pretrained backbone with a new head.

    Args:
        source: the model's folder.
        head: what the task needs.
        pooling: `first`, `last`, `mean`, or `auto` for the family's own.
        attention: `eager` or `sdpa`.
        dropout: probability in every dropout of backbone and head; None keeps the model's own.
        seed: of the head's initial values.

    Raises:
        ModelError: the family is not supported, or the pooling has no plain form.
    """
    family = family_for(source.model_type, head.kind, where=source.id)
    if head.kind == "language-model":
        return _assemble_causal(source, head, family, pooling=pooling, attention=attention, dropout=dropout)
    if pooling not in {"auto", "first"}:
        raise ModelError(
            f"model.pooling must be auto or first for {source.model_type} models; got {pooling}.",
            fix=f"A plain {family.architecture} reads the first token.",
        )
    config = _config(source, dropout)
    backbone = load_backbone(source.folder, family, attention=attention, config=config)
    settings = {
        **head.settings,
        "hidden": config.hidden_size,
        "activation": family.activation,
        "pooling": "first",
        "dropout": _head_dropout(config),
    }
    with seeded(torch_seed(seed, "head")):
        module = build_head(head.kind, settings)
    _start(module, source, family, config.initializer_range, seed)
    return Assembled(TaskModel(backbone, {"main": module}), family, HeadSpec(head.kind, settings))


def _assemble_causal(
    source: ModelSource, head: HeadSpec, family: Family, *, pooling: str, attention: str, dropout: float | None
) -> Assembled:
    """Return a pretrained decoder with its own output layer, tied where the model ties it."""
    if pooling != "auto":
        raise ModelError(f"model.pooling must be auto for a language model; got {pooling}.", fix="Take it out.")
    config = _config(source, dropout)
    backbone = load_backbone(source.folder, family, attention=attention, config=config)
    tied = bool(getattr(config, "tie_word_embeddings", True))
    settings = {**head.settings, "hidden": config.hidden_size, "vocabulary": config.vocab_size, "tied": tied}
    module = build_head(head.kind, settings)
    if not tied:
        name = f"{family.causal_output}.weight"
        found = read_tensors(source.weights, [name])
        if name not in found:
            raise ModelError(f"has no output layer ({name}), so it is no language model.", where=str(source.folder))
        with torch.no_grad():
            module.output.weight.copy_(found[name])  # type: ignore[union-attr, operator]
    return Assembled(TaskModel(backbone, {"main": module}), family, HeadSpec(head.kind, settings))


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw from a seed inside the block, and leave torch's own generators as they were."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def _config(source: ModelSource, dropout: float | None) -> Any:
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(source.folder, local_files_only=True)
    if dropout is not None:
        for key in DROPOUT_KEYS:
            if hasattr(config, key):
                setattr(config, key, dropout)
    return config


def load_backbone(folder: Path, family: Family, *, attention: str, config: Any = None) -> nn.Module:
    """Return a folder's backbone in fp32.

    Args:
        folder: a Transformers folder with safetensors weights.
        family: of its model type.
        attention: `eager` or `sdpa`.
        config: replaces the folder's own.

    Raises:
        ModelError: the weights cannot be read, or lack tensors of the architecture.
    """
    from transformers import AutoModel

    with quiet_transformers():
        try:
            backbone, info = AutoModel.from_pretrained(
                folder,
                config=config,
                dtype=torch.float32,
                attn_implementation=attention,
                local_files_only=True,
                use_safetensors=True,
                output_loading_info=True,
                **dict(family.backbone_options),
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise ModelError(f"cannot be loaded: {error}", where=str(folder)) from None
    if missing := sorted(info["missing_keys"]):
        raise ModelError(f"lacks {len(missing)} tensors of its architecture, such as {missing[0]}.", where=str(folder))
    return backbone  # type: ignore[no-any-return]  # Transformers is not typed


def _head_dropout(config: Any) -> float:
    """Return the dropout that the family's own classification class uses before its output."""
    for key in ("classifier_dropout", "seq_classif_dropout", "hidden_dropout_prob", "dropout"):
        value = getattr(config, key, None)
        if value is not None:
            return float(value)
    return 0.0


def _start(head: nn.Module, source: ModelSource, family: Family, scale: float, seed: int) -> None:
    """Give a head the pretrained hidden layer where the weights hold one, and small random values elsewhere."""
    with seeded(torch_seed(seed, "head")), torch.no_grad():
        for module in head.modules():
            if isinstance(module, nn.Linear):
                module.weight.normal_(0.0, scale)
                module.bias.zero_()
        names = [f"{name}.{kind}" for name in family.pretrained_dense for kind in KINDS]
        found = read_tensors(source.weights, names)
        dense = getattr(head, "dense", None)
        for name, tensor in found.items():
            if isinstance(dense, nn.Linear):
                getattr(dense, name.rsplit(".", 1)[1]).copy_(tensor)


def read_tensors(files: Sequence[Path], names: Sequence[str]) -> dict[str, Tensor]:
    """Return the tensors of these names that safetensors files hold."""
    from safetensors import safe_open

    found = {}
    for path in files:
        with safe_open(path, framework="pt") as reader:
            for name in set(names) & set(reader.keys()):
                found[name] = reader.get_tensor(name)
    return found
