"""What the methods are compared on: a task's project, and the quality of what was trained."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from measurement import RECIPES

if TYPE_CHECKING:
    from luthier.pipeline.prepared import Prepared

METHOD_RECIPES = RECIPES / "methods"
# Of a 30-layer decoder with 135 million parameters; the recipes' rates are those of a 6-layer encoder with 22 million.
CHAT_RATES = {
    "full": 5e-5,
    "layer-decay": 1e-4,
    "gradual": 1e-4,
    "freeze": 1e-4,
}
UNTUNED = "untuned"


@dataclass(frozen=True)
class Task:
    """What the methods learn.

    Attributes:
        title: of its table.
        says: what was trained.
        quality: the metric that judges it, by its name in the table of metrics.
        shown: the metric as the table's head has it.
    """

    title: str
    says: str
    quality: str
    shown: str


TASKS = {
    "movie-reviews": Task(
        title="Sentences of film reviews",
        says="`sample:minilm` on `sample:movie-reviews`, each method at the learning rate of its recipe",
        quality="accuracy",
        shown="accuracy (95 % interval)",
    ),
    "support-chat": Task(
        title="A support bot's answers",
        says="`sample:smollm2` on `sample:support-chat`, recipes/chat.yaml with the method of each recipe",
        quality="perplexity",
        shown="perplexity, lower is better (95 % interval)",
    ),
}


def source(task: str, name: str) -> tuple[Path, list[str]]:
    """Return the project file of a task and the overrides that make it train by a method."""
    from luthier.config import read_project

    own = METHOD_RECIPES / f"{name}.yaml"
    if task == "movie-reviews":
        return own, []
    # More validation rows than the recipe's 5 %, since few rows are used and the interval is over these; smaller steps,
    # so that there are some dozens of them.
    more = ["data.split.validation=0.2", "train.batch_tokens=512"]
    if name == UNTUNED:
        return RECIPES / "chat.yaml", more
    train = read_project(own).project.train
    rate = CHAT_RATES.get(name, train.learning_rate)
    method = json.dumps(read_project(own).project.method)
    return RECIPES / "chat.yaml", [*more, f"method={method}", f"train.learning_rate={rate}"]


def judge(task: str, prepared: Prepared, outputs: Mapping[str, Any]) -> tuple[float, tuple[float, float]]:
    """Return a task's quality on the validation rows, and its 95 % interval."""
    from luthier.evaluation.generation import completion_scores
    from luthier.metrics.intervals import bootstrap, wilson
    from luthier.metrics.registry import METRICS

    if TASKS[task].quality == "accuracy":
        right = outputs["logits"].argmax(axis=1) == prepared.dataset.target("validation")
        return float(right.mean()), wilson(int(right.sum()), len(right))
    metric, scores = METRICS[TASKS[task].quality], completion_scores(outputs)
    value, interval = metric.function(scores), bootstrap(scores, [metric])[metric.name]
    assert value is not None, "the split has rows"
    assert interval is not None, "a metric of these rows is defined in every resample"
    return value, interval
