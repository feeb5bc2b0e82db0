"""Methods that train virtual tokens: before the text, or as keys and values in every layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import annotated_types as at

from luthier.models.tuning.base import Method, setting

if TYPE_CHECKING:
    from torch import Tensor

    from luthier.models.assembly import TaskModel

NOT_WRITTEN = dict.fromkeys(
    ("text-generation", "translation", "summarisation"),
    "answers are written token by token, and PEFT would put the virtual tokens before each one",
)
NO_OUTER_KEYS = {
    **dict.fromkeys(
        ("albert", "deberta-v2", "distilbert", "modernbert", "xlnet"),
        "its attention takes no keys and values from outside",
    ),
    **dict.fromkeys(("bart", "marian", "t5"), "its encoder takes no keys and values from outside"),
}
TYPES = "types_of_text"
TOKENS = "Virtual tokens; each takes one of the model's positions, so texts may be that much shorter."


@dataclass(frozen=True)
class PrefixSettings:
    """Size of the prefix."""

    tokens: Annotated[int, at.Ge(1), at.Le(256)] = setting(20, TOKENS)
    hidden: Annotated[int, at.Ge(0), at.Le(4096)] = setting(
        0, "Width of a small network that makes the prefix, which steadies training; 0 trains the prefix itself."
    )


@dataclass(frozen=True)
class PromptSettings:
    """Size and start of the prompt."""

    tokens: Annotated[int, at.Ge(1), at.Le(256)] = setting(20, TOKENS)
    start: Literal["vocabulary", "random"] = setting(  # a dataclass field
        "vocabulary", "What virtual tokens start as: embeddings of random words of the vocabulary, or random numbers."
    )


@dataclass(frozen=True)
class PTuningSettings:
    """Size of the prompt and of the network that makes it."""

    tokens: Annotated[int, at.Ge(1), at.Le(256)] = setting(20, TOKENS)
    hidden: Annotated[int, at.Ge(1), at.Le(4096)] = setting(128, "Width of the network that makes the virtual tokens.")


class _VirtualTokens(Method):
    """What stands before the text is learnt, and taken off the backbone at the end."""

    needs_layout = True
    refused_tasks: ClassVar[Mapping[str, str]] = NOT_WRITTEN

    @property
    def positions(self) -> int:
        """One for each virtual token."""
        return int(self.chosen.tokens)

    def unload(self, model: TaskModel) -> dict[str, Tensor]:
        """Take off what was put before the backbone."""
        return _unwrap(model)


class Prefix(_VirtualTokens):
    """The backbone stays still; every layer attends to a few learnt keys and values as well.

    References:
        Li and Liang 2021, "Prefix-Tuning: Optimizing Continuous Prompts for Generation".
        Liu et al. 2022, "P-Tuning v2" (the same in encoders).
    """

    settings = PrefixSettings
    refused: ClassVar[Mapping[str, str]] = NO_OUTER_KEYS

    def set_up(self, model: TaskModel, total_steps: int) -> None:
        """Put the prefix before the backbone."""
        chosen = self.chosen
        projection = {"prefix_projection": True, "encoder_hidden_size": chosen.hidden} if chosen.hidden else {}
        _wrap(model, "PrefixTuningConfig", num_virtual_tokens=chosen.tokens, **projection)


class Prompt(_VirtualTokens):
    """The backbone stays still; learnt embeddings stand before those of the text.

    References:
        Lester et al. 2021, "The Power of Scale for Parameter-Efficient Prompt Tuning".
    """

    settings = PromptSettings

    def set_up(self, model: TaskModel, total_steps: int) -> None:
        """Put the prompt before the backbone."""
        start = {"vocabulary": "SAMPLE_VOCAB", "random": "RANDOM"}[self.chosen.start]
        width = _embedding_width(model)
        _wrap(
            model,
            "PromptTuningConfig",
            num_virtual_tokens=self.chosen.tokens,
            prompt_tuning_init=start,
            token_dim=width,
        )


class PTuning(_VirtualTokens):
    """The backbone stays still; a small network makes embeddings that stand before those of the text.

    References:
        Liu et al. 2021, "GPT Understands, Too".
    """

    settings = PTuningSettings

    def set_up(self, model: TaskModel, total_steps: int) -> None:
        """Put the network before the backbone."""
        width = _embedding_width(model)
        _wrap(
            model,
            "PromptEncoderConfig",
            num_virtual_tokens=self.chosen.tokens,
            encoder_hidden_size=self.chosen.hidden,
            token_dim=width,
        )


def _embedding_width(model: TaskModel) -> int:
    """Return the width of the word embeddings, which is not the hidden size in every model."""
    backbone: Any = model.backbone
    return int(backbone.get_input_embeddings().weight.shape[1])


def _wrap(model: TaskModel, kind: str, **settings: Any) -> None:
    """Replace the backbone by PEFT's wrapper; the states of virtual tokens are cut off what it returns."""
    from luthier.models.tuning.injected import ADAPTER, quiet_peft

    config: Any = model.backbone.config
    known = {"token_dim": config.hidden_size, "num_layers": config.num_hidden_layers}
    known["num_attention_heads"] = config.num_attention_heads
    with quiet_peft() as peft:
        chosen = getattr(peft, kind)(task_type="FEATURE_EXTRACTION", **{**known, **settings})
        model.backbone.requires_grad_(False)  # PEFT passes by what is a parameter of the model itself
        wrapped = peft.get_peft_model(model.backbone, chosen, adapter_name=ADAPTER)
    wrapped.register_forward_hook(_cut, with_kwargs=True)
    wrapped.register_forward_pre_hook(_carry_types, with_kwargs=True)
    wrapped.types_hook = model.backbone.register_forward_pre_hook(_give_types, with_kwargs=True)
    model.backbone = wrapped
    model.heads.requires_grad_(True)


def _cut(module: Any, args: Any, given: dict[str, Any], output: Any) -> Any:
    """Return the output with states of the text alone, (B, T, H)."""
    output.last_hidden_state = output.last_hidden_state[:, -given["input_ids"].shape[1] :]
    return output


def _carry_types(module: Any, args: Any, given: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Send token types past PEFT, which would drop them."""
    return args, {TYPES if name == "token_type_ids" else name: value for name, value in given.items()}


def _give_types(module: Any, args: Any, given: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Give token types to the backbone; virtual tokens before the text have type 0."""
    from torch.nn.functional import pad

    given = dict(given)
    types, embedded = given.pop(TYPES, None), given.get("inputs_embeds")
    if types is not None:
        ahead = 0 if embedded is None else embedded.shape[1] - types.shape[1]
        given["token_type_ids"] = pad(types, (ahead, 0))
    return args, given


def _unwrap(model: TaskModel) -> dict[str, Tensor]:
    from luthier.models.tuning.injected import adapter_tensors

    wrapped: Any = model.backbone
    wrapped.types_hook.remove()
    model.backbone = wrapped.get_base_model()
    return adapter_tensors(wrapped)
