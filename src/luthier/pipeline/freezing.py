"""Training over kept states: whether a run's frozen layers are computed once, and the features that hold them."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from luthier.artifacts.files import fingerprint, home
from luthier.config import TrainStage
from luthier.models.assembly import TaskModel
from luthier.models.families import family_for
from luthier.models.first_token import first_only
from luthier.models.tuning.base import layers_of
from luthier.models.tuning.table import build_method
from luthier.models.views import SPLITTABLE, lower, upper
from luthier.pipeline.prepared import Prepared
from luthier.training.hardware import Choice
from luthier.training.states import FrozenFeatures, Reduce, frozen_features
from luthier.version import __version__

COMPUTED, KEPT = "computed", "kept"
DISK_SHARE = 0.5


def choose_frozen(prepared: Prepared) -> Choice | None:
    """Return whether the states of frozen layers are kept; None where no layer is frozen."""
    depth = _depth(prepared)
    if depth == 0:
        return None
    model_type = prepared.model.model_type
    spec = prepared.plan.only(TrainStage).spec
    if not spec.cache_frozen:
        return Choice(COMPUTED, "as set")
    if spec.shard == "fsdp":
        return Choice(COMPUTED, "every process holds a part of each layer")
    if model_type not in SPLITTABLE:
        return Choice(COMPUTED, f"how to go on from kept states is not known for {model_type} models")
    head = prepared.task.head(prepared.dataset.targets).kind
    if family_for(model_type, head, where=prepared.model.id).plain[head].reading != "states":
        return Choice(COMPUTED, f"a {head} head reads other states than one for each token of the text")
    features, _ = prepared.part("train")
    looked_up = {name for name, field in features.fields.items() if field.tokens} | {"token_type_ids"}
    if looked_up & features.fields.keys() != {"input_ids"}:
        return Choice(COMPUTED, "the model reads more than one sequence of tokens a row")
    index = np.concatenate([prepared.part(split)[1] for split in ("train", "validation")])
    size = int(features.total_cost[index].sum()) * _width(prepared) * 4
    home().mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(home()).free
    if size > DISK_SHARE * free:
        return Choice(COMPUTED, f"kept states would take {size >> 20} MiB of the {free >> 20} MiB free on the disk")
    return Choice(KEPT, f"the lowest {depth} layers never train: at most {size >> 20} MiB on disk")


def heads_alone(prepared: Prepared, choice: Choice | None) -> bool:
    """Return whether a step computes nothing but heads, over kept states of the whole backbone."""
    return choice is not None and choice.value == KEPT and _depth(prepared) == layers_of(prepared.model.config)


def keep_states(
    prepared: Prepared, model: TaskModel, split: str, choices: Mapping[str, Choice]
) -> FrozenFeatures | None:
    """Return a split's features with kept states, and let the model go on from them; None where none are kept.

    Args:
        prepared: the inputs.
        model: as it starts: the frozen layers have their pretrained weights.
        split: such as `train`.
        choices: the run's.
    """
    if "frozen" not in choices or choices["frozen"].value != KEPT:
        return None
    depth = _depth(prepared)
    whole = depth == layers_of(prepared.model.config)
    reduce = _reduce(model) if whole else None
    features, index = prepared.part(split)
    model.upper = [] if whole else [upper(model.backbone, depth)]
    made_from = {
        "features": features.fingerprint,
        "index": hashlib.sha256(np.ascontiguousarray(index).tobytes()).hexdigest(),
        "model": prepared.model_fingerprint,
        "layers": depth,
        "reduced": None if reduce is None else [head.pooling for head in model.heads.values()],
        "choices": {name: choice.value for name, choice in choices.items()},
        "versions": [__version__, torch.__version__],
    }
    return frozen_features(
        fingerprint(made_from),
        features,
        index,
        _below(model, depth, whole=whole, reduced=reduce is not None),
        hidden=_width(prepared),
        precision=choices["precision"].value,
        reduce=reduce,
    )


def _below(model: TaskModel, depth: int, *, whole: bool, reduced: bool) -> nn.Module:
    """Return what computes the states that are kept."""
    if not whole:
        return lower(model.backbone, depth)
    return first_only(model.backbone) if reduced and model.reads_first else model.backbone


def _depth(prepared: Prepared) -> int:
    stage = prepared.plan.only(TrainStage)
    return build_method(stage.method.name, stage.method.settings).frozen_layers(prepared.model.config)


def _width(prepared: Prepared) -> int:
    config = prepared.model.config
    return int(config["dim"] if "dim" in config else config["hidden_size"])  # DistilBERT names it `dim`


def _reduce(model: TaskModel) -> Reduce | None:
    """Return what makes the one state that every head reads of a row; None where they read more, or different ones."""
    from luthier.models.heads.classification import pool

    ways = {getattr(head, "pooling", None) for head in model.heads.values()}
    way: Any = ways.pop()
    if ways or way is None:
        return None
    return lambda states, mask: pool(states, mask, way)
