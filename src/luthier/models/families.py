"""Model families: how a family's plain Transformers classes lay out their heads.

Our heads lie outside the backbone. A family has a line per kind of head that says how the head maps onto its plain
`AutoModelFor...` folder, so that folder gives the same outputs. A pair without a line is refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from luthier.errors import ModelError


@dataclass(frozen=True)
class Plain:
    """How a family's plain class lays out one kind of head.

    Attributes:
        architecture: the class.
        layers: `{layer in our head: layer in the plain folder}`.
        settings: keyword arguments of our head that follow from the class.
        reading: how the class reads its backbone, see `models.reading.READINGS`.
        pretrained: `{layer in our head: names under which pretrained weights may hold it}`; others start at random.
        prefix: what the backbone's tensor names start with there; None takes the family's.
    """

    architecture: str
    layers: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    reading: str = "states"
    pretrained: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    prefix: str | None = None


@dataclass(frozen=True)
class Family:
    """One line of the table.

    Attributes:
        prefix: what the backbone's tensor names start with in most of the plain folders.
        plain: by kind of head.
        backbone_options: keyword arguments of the backbone's class.
        computed: tensors that the architecture computes itself and that files may lack.
    """

    prefix: str
    plain: Mapping[str, Plain]
    backbone_options: Mapping[str, Any] = field(default_factory=dict)
    computed: frozenset[str] = frozenset()

    def prefix_of(self, head: str) -> str:
        """Return what the backbone's tensor names start with in the plain folder of a kind of head."""
        own = self.plain[head].prefix
        return self.prefix if own is None else own


NO_POOLER = {"add_pooling_layer": False}


def _first(architecture: str, dense: str, output: str, activation: str, *pretrained: str) -> Plain:
    """Return a classifier that reads the first token through a hidden layer."""
    return Plain(
        architecture,
        {"dense": dense, "output": output},
        {"pooling": "first", "activation": activation},
        pretrained={"dense": pretrained},
    )


def _last(architecture: str) -> Plain:
    """Return a decoder's classifier: one product with the state of the last token."""
    settings = {"pooling": "last", "hidden_layer": False, "output_bias": False}
    return Plain(architecture, {"output": "score"}, settings)


def _next_token(architecture: str) -> Plain:
    """Return a language model."""
    return Plain(architecture, {"output": "lm_head"}, reading="next-token", pretrained={"output": ("lm_head",)})


def _bart_like(architecture: str) -> Plain:
    """Return an encoder-decoder that writes, with a bias for each token of the vocabulary."""
    layers = {"output": "lm_head", "bias": "final_logits_bias"}
    return Plain(architecture, layers, reading="answer", pretrained={"output": ("lm_head",)})


FAMILIES: dict[str, Family] = {
    "bart": Family(
        prefix="model.",
        plain={
            "sequence-to-sequence": _bart_like("BartForConditionalGeneration"),
        },
    ),
    "bert": Family(
        prefix="bert.",
        plain={
            "classification": _first(
                "BertForSequenceClassification",
                "bert.pooler.dense",
                "classifier",
                "tanh",
                "pooler.dense",
                "bert.pooler.dense",
            ),
        },
        backbone_options=NO_POOLER,
    ),
    "distilbert": Family(
        prefix="distilbert.",
        plain={
            "classification": _first(
                "DistilBertForSequenceClassification", "pre_classifier", "classifier", "relu", "pre_classifier"
            ),
        },
    ),
    "electra": Family(
        prefix="electra.",
        plain={
            "classification": _first(
                "ElectraForSequenceClassification", "classifier.dense", "classifier.out_proj", "gelu"
            ),
        },
    ),
    "gpt2": Family(
        prefix="transformer.",
        plain={
            "classification": _last("GPT2ForSequenceClassification"),
            "language-model": _next_token("GPT2LMHeadModel"),
        },
    ),
    "llama": Family(
        prefix="model.",
        plain={
            "classification": _last("LlamaForSequenceClassification"),
            "language-model": _next_token("LlamaForCausalLM"),
        },
    ),
    "marian": Family(
        prefix="model.",
        plain={
            "sequence-to-sequence": _bart_like("MarianMTModel"),
        },
        computed=frozenset({"encoder.embed_positions.weight", "decoder.embed_positions.weight"}),
    ),
    "qwen2": Family(
        prefix="model.",
        plain={
            "classification": _last("Qwen2ForSequenceClassification"),
            "language-model": _next_token("Qwen2ForCausalLM"),
        },
    ),
    "roberta": Family(
        prefix="roberta.",
        plain={
            "classification": _first(
                "RobertaForSequenceClassification", "classifier.dense", "classifier.out_proj", "tanh"
            ),
        },
        backbone_options=NO_POOLER,
    ),
    "t5": Family(
        prefix="transformer.",
        plain={
            "sequence-to-sequence": Plain(
                "T5ForConditionalGeneration",
                {"output": "lm_head"},
                reading="answer",
                pretrained={"output": ("lm_head",)},
                prefix="",
            ),
        },
    ),
}


def family_for(model_type: str, head: str, *, where: str) -> Family:
    """Return a model type's family, if it can carry a kind of head.

    Raises:
        ModelError: this version does not support the type, or not with this head; the ones that can are listed.
    """
    able = [name for name, family in FAMILIES.items() if head in family.plain]
    if model_type in able:
        return FAMILIES[model_type]
    raise ModelError(
        f'model must be of a type that can carry a {head} head ({", ".join(able)}); got "{model_type}".',
        where=where,
        fix="Choose a model of one of these types.",
    )
