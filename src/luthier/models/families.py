"""Model families: how a Transformers classification model of a family lays out its head.

Our heads lie outside the backbone. A family's line says how they map onto its plain
`AutoModelForSequenceClassification` folder, so that folder gives the same outputs. A family without a line is refused
by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from luthier.errors import ModelError


@dataclass(frozen=True)
class Family:
    """One line of the table.

    Attributes:
        prefix: what the backbone's tensor names start with in the plain folder.
        architecture: the class that the plain folder names.
        dense: name of the hidden layer's tensors in the plain folder.
        output: name of the output layer's tensors there.
        activation: after the hidden layer.
        pretrained_dense: names under which pretrained weights may hold the hidden layer; empty starts it at random.
        backbone_options: keyword arguments of the backbone's class.
    """

    prefix: str
    architecture: str
    dense: str
    output: str
    activation: str
    pretrained_dense: tuple[str, ...] = ()
    backbone_options: tuple[tuple[str, Any], ...] = ()


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
        raise ModelError(
            f'model must be of a supported type ({", ".join(FAMILIES)}); got "{model_type}".',
            where=where,
            fix="Choose a model of one of these types.",
        )
    return FAMILIES[model_type]
