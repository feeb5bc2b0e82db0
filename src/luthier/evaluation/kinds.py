"""Kinds of evaluation, and the table that names them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Protocol

from numpy.typing import NDArray

from luthier.artifacts.evaluation import EvalReport
from luthier.evaluation.classification import ClassificationEvaluation
from luthier.evaluation.entities import EntityEvaluation
from luthier.evaluation.evidence import Evidence
from luthier.evaluation.extraction import ExtractionEvaluation
from luthier.evaluation.generation import GenerationEvaluation
from luthier.evaluation.multi_label import MultiLabelEvaluation
from luthier.evaluation.ranking import RerankingEvaluation, RetrievalEvaluation
from luthier.evaluation.regression import RegressionEvaluation, SimilarityEvaluation
from luthier.evaluation.relations import RelationEvaluation
from luthier.evaluation.writing import SummaryEvaluation, TranslationEvaluation
from luthier.metrics.scores import RowScores
from luthier.tasks.base import Prediction, Scored, Truth


class Evaluation(Protocol):
    """How a kind of answer is judged.

    Attributes:
        loss: the metric that is the training loss, on validation rows.
        baselines: simple models that it can be compared with.
    """

    loss: ClassVar[str]
    baselines: ClassVar[tuple[str, ...]]

    def validate(
        self, scored: Scored, truth: Truth, predictions: Callable[[], Sequence[Prediction]], metrics: Sequence[str]
    ) -> dict[str, float]:
        """Return metrics of validation rows before calibration, in the order asked; an undefined one is left out.

        Args:
            scored: the model's outputs.
            truth: what is true of the rows.
            predictions: returns what the task makes of the outputs.
            metrics: names in `METRICS`.
        """

    def report(self, evidence: Evidence) -> EvalReport:
        """Return the whole evaluation on the test split."""

    def predictions(self, evidence: Evidence) -> dict[str, Any]:
        """Return columns of per-row predictions on the test split, for later comparisons."""

    def scores(self, columns: Mapping[str, NDArray[Any]]) -> RowScores:
        """Return the scores of rows whose columns `predictions` wrote."""


EVALUATIONS: dict[str, type[Evaluation]] = {
    "classification": ClassificationEvaluation,
    "entities": EntityEvaluation,
    "extraction": ExtractionEvaluation,
    "generation": GenerationEvaluation,
    "relations": RelationEvaluation,
    "ranking": RerankingEvaluation,
    "retrieval": RetrievalEvaluation,
    "summary": SummaryEvaluation,
    "translation": TranslationEvaluation,
    "multi-label": MultiLabelEvaluation,
    "regression": RegressionEvaluation,
    "similarity": SimilarityEvaluation,
}
