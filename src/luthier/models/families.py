"""Model families: how a Transformers classification model of a family lays out its head.

Our heads lie outside the backbone. A family's line says how they map onto its plain
`AutoModelForSequenceClassification` folder, so that folder gives the same outputs. A family without a line is refused
by name.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from luthier.errors import ModelError


@dataclass(frozen=True)
class Family:
    """One line of the table.

    Attributes:
        prefix: what the backbone's tensor names start with in the plain folder.
        architecture: the class that the plain folder of a classifier names; empty where there is none yet.
        dense: name of the hidden layer's tensors in the plain folder.
        output: name of the output layer's tensors there.
        activation: after the hidden layer.
        causal: the class that the plain folder of a language model names; empty where the type is none.
        causal_output: name of the language model's output layer there, where it is not tied to the embedding.
        pretrained_dense: names under which pretrained weights may hold the hidden layer; empty starts it at random.
        backbone_options: keyword arguments of the backbone's class.
    """

    prefix: str
    architecture: str = ""
    dense: str = ""
    output: str = ""
    activation: str = ""
    causal: str = ""
    causal_output: str = "lm_head"
    pretrained_dense: tuple[str, ...] = ()
    backbone_options: tuple[tuple[str, Any], ...] = ()

    def plain_class(self, head: str) -> str:
        """Return the class of the plain folder for a kind of head; empty where the family has none."""
        return {"classification": self.architecture, "language-model": self.causal}.get(head, "")


FAMILIES: dict[str, Family] = {
    "bert": Family(
        prefix="bert.",
        architecture="BertForSequenceClassification",
        dense="bert.pooler.dense",
        output="classifier",
        activation="tanh",
        pretrained_dense=("pooler.dense", "bert.pooler.dense"),
        backbone_options=(("add_pooling_layer", False),),
    ),
    "distilbert": Family(
        prefix="distilbert.",
        architecture="DistilBertForSequenceClassification",
        dense="pre_classifier",
        output="classifier",
        activation="relu",
        pretrained_dense=("pre_classifier",),
    ),
    "electra": Family(
        prefix="electra.",
        architecture="ElectraForSequenceClassification",
        dense="classifier.dense",
        output="classifier.out_proj",
        activation="gelu",
    ),
    "gpt2": Family(prefix="transformer.", causal="GPT2LMHeadModel"),
    "llama": Family(prefix="model.", causal="LlamaForCausalLM"),
    "qwen2": Family(prefix="model.", causal="Qwen2ForCausalLM"),
    "roberta": Family(
        prefix="roberta.",
        architecture="RobertaForSequenceClassification",
        dense="classifier.dense",
        output="classifier.out_proj",
        activation="tanh",
        backbone_options=(("add_pooling_layer", False),),
    ),
}


def family_of(model_type: str, *, where: str) -> Family:
    """Return a model type's family.

    Raises:
        ModelError: this version does not support the type.
    """
    if model_type not in FAMILIES:
        raise _refused(FAMILIES, model_type, where)
    return FAMILIES[model_type]


def family_for(model_type: str, head: str, *, where: str) -> Family:
    """Return a model type's family, if it can carry a kind of head.

    Raises:
        ModelError: this version does not support the type, or not with this head; the ones that can are listed.
    """
    able = [name for name, family in FAMILIES.items() if family.plain_class(head)]
    if model_type not in able:
        raise _refused(able, model_type, where)
    return FAMILIES[model_type]


def _refused(able: Iterable[str], model_type: str, where: str) -> ModelError:
    return ModelError(
        f'model must be of a supported type ({", ".join(able)}); got "{model_type}".',
        where=where,
        fix="Choose a model of one of these types.",
    )
