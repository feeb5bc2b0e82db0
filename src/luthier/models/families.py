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
        follows: `{keyword argument of our head: (key of the model's configuration, {its value: ours})}`; without a
            mapping the value itself is taken, and a value that the mapping lacks is refused.
        reading: how the class reads its backbone, see `models.reading.READINGS`.
        pretrained: `{layer in our head: names under which pretrained weights may hold it}`; others start at random.
        prefix: what the backbone's tensor names start with there; None takes the family's.
        backbone: the backbone's class where it is another than `AutoModel` gives, such as an encoder alone.
    """

    architecture: str
    layers: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    follows: Mapping[str, tuple[str, Mapping[Any, Any] | None]] = field(default_factory=dict)
    reading: str = "states"
    pretrained: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    prefix: str | None = None
    backbone: str | None = None

    def head_settings(self, config: Any, *, where: str) -> dict[str, Any]:
        """Return the keyword arguments of our head that follow from the class and from a model's configuration.

        Args:
            config: of Transformers.
            where: the model, for messages.

        Raises:
            ModelError: the configuration asks for what our head does not do.
        """
        found = dict(self.settings)
        for name, (key, values) in self.follows.items():
            own = getattr(config, key, None)
            if values is not None and own not in values:
                known = ", ".join(map(str, values))
                raise ModelError(f"config.json {key} must be one of {known}; got {own}.", where=where)
            found[name] = own if values is None else values[own]
        return found


@dataclass(frozen=True)
class Family:
    """One line of the table.

    Attributes:
        prefix: what the backbone's tensor names start with in most of the plain folders.
        plain: by kind of head.
        backbone_options: keyword arguments of the backbone's class.
        attention: the kernels that it has, the fastest for inference last.
        computed: tensors that the architecture computes itself and that files may lack.
    """

    prefix: str
    plain: Mapping[str, Plain]
    backbone_options: Mapping[str, Any] = field(default_factory=dict)
    attention: tuple[str, ...] = ("eager", "sdpa")
    computed: frozenset[str] = frozenset()

    def prefix_of(self, head: str) -> str:
        """Return what the backbone's tensor names start with in the plain folder of a kind of head."""
        own = self.plain[head].prefix
        return self.prefix if own is None else own


NO_POOLER = {"add_pooling_layer": False}
ACTIVATIONS = {name: name for name in ("tanh", "relu", "gelu")}


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


def _echo(architecture: str) -> Plain:
    """Return an encoder-decoder's classifier: the decoder reads the text too, and its last token stands for it."""
    return Plain(
        architecture,
        {"dense": "classification_head.dense", "output": "classification_head.out_proj"},
        {"pooling": "last", "activation": "tanh"},
        reading="echo",
    )


def _next_token(architecture: str) -> Plain:
    """Return a language model."""
    return Plain(architecture, {"output": "lm_head"}, reading="next-token", pretrained={"output": ("lm_head",)})


def _tokens(architecture: str, output: str = "classifier") -> Plain:
    """Return a classifier of each token."""
    return Plain(architecture, {"output": output})


def _span(architecture: str, **options: Any) -> Plain:
    """Return a class that gives each token as the start and as the end of an answer."""
    return Plain(architecture, {"output": "qa_outputs"}, pretrained={"output": ("qa_outputs",)}, **options)


def _embedding(architecture: str, **options: Any) -> Plain:
    """Return the backbone alone: a text's vector is pooled outside of it."""
    return Plain(architecture, settings={"pooling": "free"}, prefix="", **options)


def _encoder(
    name: str, classification: Plain, *, prefix: str, span: str = "ForQuestionAnswering", **options: Any
) -> Family:
    """Return the family of an encoder whose classes are called alike."""
    plain = {
        "classification": classification,
        "token-classification": _tokens(f"{name}ForTokenClassification"),
        "span": _span(f"{name}{span}"),
        "embedding": _embedding(f"{name}Model"),
    }
    return Family(prefix, plain, **options)


def _decoder(name: str) -> Family:
    """Return the family of a decoder whose classes are Transformers' generic ones."""
    return Family(
        "model.",
        {
            "classification": _last(f"{name}ForSequenceClassification"),
            "token-classification": _tokens(f"{name}ForTokenClassification", "score"),
            "span": _span(f"{name}ForQuestionAnswering", prefix="transformer."),
            "embedding": _embedding(f"{name}Model"),
            "language-model": _next_token(f"{name}ForCausalLM"),
        },
    )


def _bart_like(architecture: str) -> Plain:
    """Return an encoder-decoder that writes, with a bias for each token of the vocabulary."""
    layers = {"output": "lm_head", "bias": "final_logits_bias"}
    return Plain(architecture, layers, reading="answer", pretrained={"output": ("lm_head",)})


def _modernbert(architecture: str, **follows: tuple[str, Mapping[Any, Any] | None]) -> Plain:
    """Return a class with a hidden layer and a norm before the output."""
    common: dict[str, tuple[str, Mapping[Any, Any] | None]] = {
        "hidden_bias": ("classifier_bias", None),
        "activation": ("classifier_activation", ACTIVATIONS),
        "norm": ("norm_eps", None),
    }
    layers = {"dense": "head.dense", "norm": "head.norm", "output": "classifier"}
    return Plain(
        architecture, layers, {"hidden_layer": True}, {**common, **follows}, pretrained={"dense": ("head.dense",)}
    )


def _roberta(name: str) -> Family:
    """Return the family of a RoBERTa."""
    classifier = _first(f"{name}ForSequenceClassification", "classifier.dense", "classifier.out_proj", "tanh")
    return _encoder(name, classifier, prefix="roberta.", backbone_options=NO_POOLER)


FAMILIES: dict[str, Family] = {
    "albert": _encoder(
        "Albert",
        _first("AlbertForSequenceClassification", "albert.pooler", "classifier", "tanh", "pooler", "albert.pooler"),
        prefix="albert.",
        backbone_options=NO_POOLER,
    ),
    "bart": Family(
        prefix="model.",
        plain={
            "classification": _echo("BartForSequenceClassification"),
            "span": _span("BartForQuestionAnswering", reading="echo"),
            "embedding": _embedding("BartModel", reading="echo"),
            "sequence-to-sequence": _bart_like("BartForConditionalGeneration"),
        },
    ),
    "bert": _encoder(
        "Bert",
        _first(
            "BertForSequenceClassification",
            "bert.pooler.dense",
            "classifier",
            "tanh",
            "pooler.dense",
            "bert.pooler.dense",
        ),
        prefix="bert.",
        backbone_options=NO_POOLER,
    ),
    "deberta-v2": _encoder(
        "DebertaV2",
        Plain(
            "DebertaV2ForSequenceClassification",
            {"dense": "pooler.dense", "output": "classifier"},
            {"pooling": "first"},
            {"activation": ("pooler_hidden_act", ACTIVATIONS)},
            pretrained={"dense": ("pooler.dense",)},
        ),
        prefix="deberta.",
        attention=("eager",),
    ),
    "distilbert": _encoder(
        "DistilBert",
        _first("DistilBertForSequenceClassification", "pre_classifier", "classifier", "relu", "pre_classifier"),
        prefix="distilbert.",
    ),
    "electra": _encoder(
        "Electra",
        _first("ElectraForSequenceClassification", "classifier.dense", "classifier.out_proj", "gelu"),
        prefix="electra.",
    ),
    "gpt2": Family(
        prefix="transformer.",
        plain={
            "classification": _last("GPT2ForSequenceClassification"),
            "token-classification": _tokens("GPT2ForTokenClassification"),
            "span": _span("GPT2ForQuestionAnswering"),
            "embedding": _embedding("GPT2Model"),
            "language-model": _next_token("GPT2LMHeadModel"),
        },
    ),
    "llama": _decoder("Llama"),
    "marian": Family(
        prefix="model.",
        plain={"sequence-to-sequence": _bart_like("MarianMTModel")},
        computed=frozenset({"encoder.embed_positions.weight", "decoder.embed_positions.weight"}),
    ),
    "modernbert": Family(
        prefix="model.",
        plain={
            "classification": _modernbert(
                "ModernBertForSequenceClassification", pooling=("classifier_pooling", {"cls": "first", "mean": "mean"})
            ),
            "token-classification": _modernbert("ModernBertForTokenClassification"),
            "span": _modernbert("ModernBertForQuestionAnswering"),
            "embedding": _embedding("ModernBertModel"),
        },
    ),
    "qwen2": _decoder("Qwen2"),
    "qwen3": _decoder("Qwen3"),
    "roberta": _roberta("Roberta"),
    "t5": Family(
        prefix="transformer.",
        plain={
            "classification": _echo("T5ForSequenceClassification"),
            "token-classification": Plain(
                "T5ForTokenClassification", {"output": "classifier"}, backbone="T5EncoderModel"
            ),
            "span": _span("T5ForQuestionAnswering", reading="echo", prefix=""),
            "embedding": _embedding("T5EncoderModel", backbone="T5EncoderModel"),
            "sequence-to-sequence": Plain(
                "T5ForConditionalGeneration",
                {"output": "lm_head"},
                reading="answer",
                pretrained={"output": ("lm_head",)},
                prefix="",
            ),
        },
    ),
    "xlm-roberta": _roberta("XLMRoberta"),
    "xlnet": _encoder(
        "XLNet",
        Plain(
            "XLNetForSequenceClassification",
            {"dense": "sequence_summary.summary", "output": "logits_proj"},
            {},
            {
                "pooling": ("summary_type", {"last": "last", "first": "first"}),
                "hidden_layer": ("summary_use_proj", {True: True}),
                "activation": ("summary_activation", ACTIVATIONS),
            },
            pretrained={"dense": ("sequence_summary.summary",)},
        ),
        prefix="transformer.",
        span="ForQuestionAnsweringSimple",
        attention=("eager",),
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
