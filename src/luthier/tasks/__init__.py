"""What is predicted. One file per task, and no torch.

A task says which columns it reads, turns rows into features, names the head, objective and evaluation it needs from
their registries, and decodes named model outputs into a prediction. Nothing below this package assumes text.

A new task is a class with the members of `Task` and one line in `TASKS`.
"""

from __future__ import annotations

from luthier.tasks.base import CellError, Declared, Decoding, HeadSpec, Prediction, Role, Task
from luthier.tasks.multi_label import MultiLabel
from luthier.tasks.regression import Regression
from luthier.tasks.text_classification import TextClassification
from luthier.tasks.text_generation import TextGeneration

TASKS: dict[str, type[Task]] = {
    "multi-label": MultiLabel,
    "regression": Regression,
    "text-classification": TextClassification,
    "text-generation": TextGeneration,
}

__all__ = [
    "TASKS",
    "CellError",
    "Declared",
    "Decoding",
    "HeadSpec",
    "MultiLabel",
    "Prediction",
    "Regression",
    "Role",
    "Task",
    "TextClassification",
    "TextGeneration",
]
