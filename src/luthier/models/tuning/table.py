"""The methods by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from luthier.config import build_settings
from luthier.errors import ModelError
from luthier.models.tuning.adalora import AdaLora
from luthier.models.tuning.base import Method
from luthier.models.tuning.bottleneck import Houlsby, Pfeiffer
from luthier.models.tuning.frozen import BitFit, Freeze, HeadOnly
from luthier.models.tuning.full import Full, LayerDecay
from luthier.models.tuning.gradual import Gradual
from luthier.models.tuning.layouts import LAYOUTS
from luthier.models.tuning.low_rank import Dora, Lora, RankStabilisedLora
from luthier.models.tuning.prompts import Prefix, Prompt, PTuning
from luthier.models.tuning.quantised import Qlora
from luthier.models.tuning.scaling import Ia3

METHODS: dict[str, type[Method]] = {
    "full": Full,
    "layer-decay": LayerDecay,
    "gradual": Gradual,
    "freeze": Freeze,
    "head": HeadOnly,
    "bitfit": BitFit,
    "lora": Lora,
    "rslora": RankStabilisedLora,
    "dora": Dora,
    "adalora": AdaLora,
    "qlora": Qlora,
    "ia3": Ia3,
    "adapter-houlsby": Houlsby,
    "adapter-pfeiffer": Pfeiffer,
    "prefix": Prefix,
    "prompt": Prompt,
    "p-tuning": PTuning,
}


def build_method(name: str, settings: Mapping[str, Any]) -> Method:
    """Return a method.

    Args:
        name: a key of `METHODS`.
        settings: JSON-like values of its settings; the others keep their defaults.
    """
    kind = METHODS[name]
    return kind(build_settings(kind.settings, settings, path=f"method.{name}"))


def refusal(name: str, model_type: str, task: str = "") -> str | None:
    """Return why a method does not go with a model type or a task; None where it does."""
    kind = METHODS[name]
    if task in kind.refused_tasks:
        return kind.refused_tasks[task]
    if model_type in kind.refused:
        return kind.refused[model_type]
    if kind.needs_layout and model_type not in LAYOUTS:
        return "where its layers lie is not known"
    return None


def check_method(
    name: str, settings: Mapping[str, Any], config: Mapping[str, Any], *, where: str, task: str = ""
) -> Method:
    """Return a method that goes with a model, before weights load.

    Args:
        name: a key of `METHODS`.
        settings: JSON-like.
        config: the model's `config.json`.
        where: the model's name, for messages.
        task: what is learnt.

    Raises:
        LuthierError: the pair is refused, with the reason and the methods that do work; or the settings do not fit.
    """
    model_type = str(config.get("model_type", ""))
    reason = refusal(name, model_type, task)
    if reason is not None:
        others = ", ".join(other for other in METHODS if refusal(other, model_type, task) is None)
        what = task if task in METHODS[name].refused_tasks else f"{model_type} models"
        raise ModelError(f"method must be one that goes with {what} ({others}); got {name}: {reason}.", where=where)
    method = build_method(name, settings)
    method.check(config)
    return method
