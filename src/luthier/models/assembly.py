"""A backbone with its heads as one module."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from luthier.data.draws import torch_seed
from luthier.errors import ModelError
from luthier.models.families import Family, Plain, family_for
from luthier.models.first_token import first_only
from luthier.models.heads import HEADS, LanguageModelHead, SequenceToSequenceHead, build_head, head_class
from luthier.models.reading import READINGS
from luthier.models.source import ModelSource, quiet_transformers
from luthier.tasks.base import PER_TOKEN, HeadSpec

KINDS = ("weight", "bias")
NEEDS_OUTPUT = ("next-token", "answer")  # ways of reading whose output layer must come with the model
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
    "activation_dropout",
    "classifier_dropout_prob",
    "cls_dropout",
    "dropout_rate",
    "embedding_dropout",
    "mlp_dropout",
    "pooler_dropout",
    "summary_last_dropout",
)


class TaskModel(nn.Module):
    """A Transformers backbone and named heads outside it.

    Args:
        backbone: maps `input_ids` and `attention_mask` to `last_hidden_state`.
        heads: `{name: head}`.
        reading: how the heads read the backbone, a key of `models.reading.READINGS`.
    """

    def __init__(self, backbone: nn.Module, heads: Mapping[str, nn.Module], *, reading: str = "states") -> None:
        super().__init__()
        self.backbone = backbone
        self.heads = nn.ModuleDict(dict(heads))
        self.reading = reading
        self.upper: list[nn.Module] = []
        """In training over kept states: what goes on from them, in a list so that it is no part of this module."""
        self.reads_first = reading == "states" and all(
            getattr(head, "pooling", None) == "first" for head in heads.values()
        )
        kinds = [kind for kind, head in HEADS.items() if any(isinstance(one, head) for one in heads.values())]
        self.per_token = frozenset(name for kind in kinds for name in PER_TOKEN.get(kind, ()))
        """Outputs that a row has for each of its tokens."""
        for head in heads.values():
            if isinstance(head, LanguageModelHead | SequenceToSequenceHead):
                head.attach(backbone)

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the named outputs of every head.

        Args:
            batch: `input_ids` and `attention_mask`, both (B, T), and what the heads read beside states. `states`
                (B, T, H) of frozen layers may stand in the place of `input_ids`, see `models.views`.
        """
        if "states" not in batch:
            states = READINGS[self.reading](self._reader(self.backbone), batch)
        elif self.upper:
            states = self._reader(self.upper[0])(
                inputs_embeds=batch["states"], attention_mask=batch["attention_mask"]
            ).last_hidden_state
        else:
            states = batch["states"]
        outputs: dict[str, Tensor] = {}
        for head in self.heads.values():
            outputs.update(head(states, batch))
        return outputs

    def labelled_logits(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return a language model's logits before each labelled token of a batch, (M, V)."""
        (head,) = self.heads.values()
        assert isinstance(head, LanguageModelHead), "only a language model labels tokens of its own text"
        return head.labelled_logits(READINGS[self.reading](self.backbone, batch), batch)

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

    @property
    def plain(self) -> Plain:
        """The plain class for this head."""
        return self.family.plain[self.head.kind]


def assemble(
    source: ModelSource, head: HeadSpec, *, pooling: str, attention: str, dropout: float | None, seed: int
) -> Assembled:
    """Return a pretrained backbone with a head.

    What pretrained weights hold of the head is taken from them; the rest starts at random.

    Args:
        source: the model's folder.
        head: what the task needs.
        pooling: `first`, `last`, `mean`, or `auto` for the family's own.
        attention: `eager` or `sdpa`.
        dropout: probability in every dropout of backbone and head; None keeps the model's own.
        seed: of the head's initial values.

    Raises:
        ModelError: the family cannot carry the head, or the pooling has no plain form.
    """
    family = family_for(source.model_type, head.kind, where=source.id)
    plain = family.plain[head.kind]
    config = _config(source, dropout)
    backbone = load_backbone(source.folder, family, head.kind, attention=attention, config=config)
    own = plain.head_settings(config, where=source.id)
    of_class = {**own, **_pooling(pooling, own, head.kind, source.model_type, plain.architecture)}
    settings = {**head.settings, **head_class(head.kind).follow(config), **of_class}
    with seeded(torch_seed(seed, "head")):
        module = build_head(head.kind, settings)
    _start(module, source, plain, seed, scale=float(getattr(config, "initializer_range", 0.02)))
    model = TaskModel(backbone, {"main": module}, reading=plain.reading)
    return Assembled(model, family, HeadSpec(head.kind, settings))


def _pooling(asked: str, settings: Mapping[str, Any], head: str, model_type: str, architecture: str) -> dict[str, str]:
    """Return the head's pooling where it has one.

    Raises:
        ModelError: the plain class pools in another way than was asked.
    """
    own = settings.get("pooling")
    if own == "free":  # a head without a plain form of its own pools as one likes
        return {"pooling": "mean" if asked == "auto" else asked}
    if asked not in {"auto", own}:
        allowed = "auto" if own is None else f"auto or {own}"
        raise ModelError(
            f"model.pooling must be {allowed} for a {head} head on {model_type} models; got {asked}.",
            fix=f"That is how a plain {architecture} reads its backbone.",
        )
    return {}


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


def load_backbone(folder: Path, family: Family, head: str, *, attention: str, config: Any = None) -> nn.Module:
    """Return a folder's backbone in fp32.

    Args:
        folder: a Transformers folder with safetensors weights.
        family: of its model type.
        head: kind of the head that stands on it.
        attention: `eager` or `sdpa`.
        config: replaces the folder's own.

    Raises:
        ModelError: the weights cannot be read, or lack tensors of the architecture.
    """
    import transformers

    plain = family.plain[head]
    kind = getattr(transformers, plain.backbone or "AutoModel")
    # A class that names its backbone in another way than its family does is not known to the backbone's own class.
    renamed = {"key_mapping": {f"^{re.escape(plain.prefix)}": ""}} if plain.prefix else {}
    with quiet_transformers():
        try:
            backbone, info = kind.from_pretrained(
                folder,
                config=config,
                dtype=torch.float32,
                attn_implementation=attention,
                local_files_only=True,
                use_safetensors=True,
                output_loading_info=True,
                **dict(family.backbone_options),
                **renamed,
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise ModelError(f"cannot be loaded: {error}", where=str(folder)) from None
    if missing := sorted(set(info["missing_keys"]) - family.computed):
        raise ModelError(f"lacks {len(missing)} tensors of its architecture, such as {missing[0]}.", where=str(folder))
    return backbone  # type: ignore[no-any-return]  # Transformers is not typed


def empty_backbone(folder: Path, family: Family, head: str) -> nn.Module:
    """Return the backbone of a folder's configuration in bf16, its weights without memory.

    Buffers that no file holds, such as frequencies of rotary positions, are computed.
    """
    import transformers

    plain = family.plain[head]
    config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
    kind: Any = getattr(transformers, plain.backbone or "AutoModel")
    build = kind.from_config if hasattr(kind, "from_config") else kind._from_config
    with quiet_transformers(), torch.device("meta"):
        backbone = build(
            config, dtype=torch.bfloat16, attn_implementation=family.attention[-1], **dict(family.backbone_options)
        )
    for module in backbone.modules():
        computed = [name for name in module._non_persistent_buffers_set if module._buffers.get(name) is not None]
        for name in computed:
            module._buffers[name] = torch.empty_like(module._buffers[name], device="cpu")
        if computed:
            backbone._init_weights(module)
    return backbone  # type: ignore[no-any-return]  # Transformers is not typed


def _start(head: nn.Module, source: ModelSource, plain: Plain, seed: int, *, scale: float) -> None:
    """Give a head's layers what the pretrained weights hold of them, and small random values elsewhere.

    Raises:
        ModelError: the weights lack a layer that is of no use at random.
    """
    with seeded(torch_seed(seed, "head")), torch.no_grad():
        for module in head.modules():
            if isinstance(module, nn.Linear):
                module.weight.normal_(0.0, scale)
                if module.bias is not None:
                    module.bias.zero_()
        for layer, names in plain.pretrained.items():
            own: Any = getattr(head, layer, None)
            if own is None:
                continue
            found = read_tensors(source.weights, [f"{name}.{kind}" for name in names for kind in KINDS])
            if plain.reading in NEEDS_OUTPUT and not found:
                name = f"{names[0]}.weight"
                raise ModelError(f"has no output layer ({name}), so it is no language model.", where=str(source.folder))
            for name, tensor in found.items():
                getattr(own, name.rsplit(".", 1)[1]).copy_(tensor)
        for own_name, buffer in head.named_buffers():  # fixed numbers, such as a bias of the vocabulary
            for tensor in read_tensors(source.weights, [plain.layers[own_name]]).values():
                buffer.copy_(tensor)


def read_tensors(files: Sequence[Path], names: Sequence[str]) -> dict[str, Tensor]:
    """Return the tensors of these names that safetensors files hold."""
    from safetensors import safe_open

    found = {}
    for path in files:
        with safe_open(path, framework="pt") as reader:
            for name in set(names) & set(reader.keys()):
                found[name] = reader.get_tensor(name)
    return found
