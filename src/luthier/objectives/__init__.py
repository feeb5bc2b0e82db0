"""Objectives: a batch to loss sums. One file each, and the table that names them.

`step(model, batch) -> {name: (loss_sum, weight)}`: the loop divides by the weight of the whole optimiser step over all
micro-batches and ranks, so accumulation, token budgets and data parallelism are exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

from torch import Tensor, nn

from luthier.objectives.causal_lm import CausalLM
from luthier.objectives.classification import Classification
from luthier.objectives.embedding import EmbeddingLoss
from luthier.objectives.multi_label import MultiLabelObjective
from luthier.objectives.ranking import RankingLoss
from luthier.objectives.regression import RegressionObjective
from luthier.objectives.span import SpanObjective
from luthier.objectives.token_classification import TokenClassification

LossSums = Mapping[str, tuple[Tensor, Tensor]]


class Objective(Protocol):
    """A batch to loss sums.

    Attributes:
        whole_batch: whether the rows of a step are compared with each other, so that it must not be cut into parts.
    """

    whole_batch: ClassVar[bool]

    def step(self, model: nn.Module, batch: Mapping[str, Tensor]) -> LossSums:
        """Return `{name: (loss_sum, weight)}`, both 0-dimensional; the loss sum carries the gradient."""


OBJECTIVES: dict[str, type[Objective]] = {
    "causal-lm": CausalLM,
    "classification": Classification,
    "span": SpanObjective,
    "token-classification": TokenClassification,
    "embedding": EmbeddingLoss,
    "ranking": RankingLoss,
    "multi-label": MultiLabelObjective,
    "regression": RegressionObjective,
}

__all__ = [
    "OBJECTIVES",
    "CausalLM",
    "Classification",
    "EmbeddingLoss",
    "LossSums",
    "Objective",
    "RankingLoss",
    "SpanObjective",
    "TokenClassification",
    "build_objective",
]


def build_objective(name: str, settings: dict[str, Any]) -> Objective:
    """Return an objective.

    Args:
        name: a key of `OBJECTIVES`.
        settings: keyword arguments of its class.
    """
    return OBJECTIVES[name](**settings)
