"""What is predicted. One file per task, and no torch.

A task says which columns it reads, turns rows into features, names the head, objective and evaluation it needs from
their registries, and decodes named model outputs into a prediction. Nothing below this package assumes text.

A new task is a class with the members of `Task` and one line in `TASKS`.
"""

from __future__ import annotations

from luthier.tasks.base import CellError, Declared, Decoding, HeadSpec, Prediction, Role, Task
from luthier.tasks.embedding import Embedding
from luthier.tasks.multi_label import MultiLabel
from luthier.tasks.question_answering import QuestionAnswering
from luthier.tasks.regression import Regression
from luthier.tasks.relation_extraction import RelationExtraction
from luthier.tasks.reranking import Reranking
from luthier.tasks.sequence_to_sequence import Summarisation, Translation
from luthier.tasks.text_classification import TextClassification
from luthier.tasks.text_generation import TextGeneration
from luthier.tasks.text_pair import TextPair
from luthier.tasks.text_similarity import TextSimilarity
from luthier.tasks.token_classification import TokenClassification

TASKS: dict[str, type[Task]] = {
    "embedding": Embedding,
    "question-answering": QuestionAnswering,
    "relation-extraction": RelationExtraction,
    "reranking": Reranking,
    "summarisation": Summarisation,
    "multi-label": MultiLabel,
    "regression": Regression,
    "text-classification": TextClassification,
    "text-generation": TextGeneration,
    "text-pair": TextPair,
    "text-similarity": TextSimilarity,
    "token-classification": TokenClassification,
    "translation": Translation,
}

__all__ = [
    "TASKS",
    "CellError",
    "Declared",
    "Decoding",
    "Embedding",
    "HeadSpec",
    "MultiLabel",
    "Prediction",
    "Regression",
    "Reranking",
    "Role",
    "Summarisation",
    "Task",
    "TextClassification",
    "TextGeneration",
    "TextPair",
    "TextSimilarity",
    "Translation",
]
