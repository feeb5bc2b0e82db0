"""Int8 where it costs little: the activations that lose most by their ranges stay in the precision of the rest.

In groups along the graph, each group of activations is set free by itself, and how much nearer that brings the outputs
on training rows to those of the graph in fp32 is measured; no label is read. The groups that bring most are set free
together until the distance has halved, leaving out those that bring nothing beside the others. Weights stay int8.

Reference: the idea of NNCF's accuracy-aware quantisation, which puts layers back by their effect on a metric.
Deviation: the metric is the distance of the outputs, so validation rows stay unread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier.compression.export.traceable import Batch
from luthier.errors import ModelError

QUANTISER = "FakeQuantize"
GROUPS = 24
"""How many groups are measured, at most."""
ROWS = 64
"""Training rows that are looked at, about."""
ENOUGH = 0.5
"""What is left of the distance when nothing more is set free."""
MOST = 0.25
"""The share of the groups that is set free, at most: each is slower then."""
WORTH = 0.1
"""The share of the distance that must go for any to be set free."""

Answers = list[NDArray[Any]]


def spared(quantised: Any, plain: Any, batches: Sequence[Batch]) -> Any:
    """Return a quantised OpenVINO model with the activations set free that lose most.

    Args:
        quantised: as NNCF returns it; stays as it is.
        plain: the same model before.
        batches: of training rows, under the names of the model's inputs.

    Raises:
        ModelError: the distance would hardly fall: biases that were corrected for ranges no longer fit without them.
    """
    few = batches[:: max(1, len(batches) * len(next(iter(batches[0].values()))) // ROWS)]
    wanted = _answers(plain, few)
    names = [node.get_friendly_name() for node in quantised.get_ordered_ops() if node.get_type_name() == QUANTISER]
    groups = [list(part) for part in np.array_split(np.asarray(names, dtype=object), min(GROUPS, len(names)))]
    free = chosen(groups, lambda free: _distance(_answers(_without(quantised, free), few), wanted))
    if not free:
        raise ModelError(
            f"no part of the activations costs {WORTH:.0%} of what int8 moves the outputs on training rows."
        )
    return _without(quantised, free)


def chosen(groups: Sequence[Sequence[str]], distance: Callable[[Sequence[str]], float]) -> list[str]:
    """Return the names that are set free; none where the distance would hardly fall.

    Args:
        groups: names that are measured together.
        distance: what is left where some names are free.
    """
    whole = distance([])
    alone = [distance(group) for group in groups]
    free: list[str] = []
    left, taken = whole, 0
    for place in np.argsort(alone, kind="stable"):
        if alone[place] >= whole or taken == int(MOST * len(groups)) or left <= ENOUGH * whole:
            break
        more = [*free, *groups[place]]
        found = distance(more) if free else alone[place]
        if found < left:
            free, left, taken = more, found, taken + 1
    return free if left <= (1 - WORTH) * whole else []


def _without(model: Any, names: Sequence[str]) -> Any:
    """Return a copy of a model without some of its quantisers."""
    found = model.clone()
    gone = set(names)
    for node in found.get_ordered_ops():
        if node.get_friendly_name() in gone:
            node.output(0).replace(node.input_value(0))
    return found


def _answers(model: Any, batches: Sequence[Batch]) -> Answers:
    """Return all outputs on some batches, computed in fp32 where the model does not say int8."""
    import openvino

    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    names = [one.get_any_name() for one in compiled.inputs]
    found: Answers = []
    for batch in batches:
        answers = compiled({name: batch[name] for name in names})
        found.extend(np.array(answers[output]) for output in compiled.outputs)
    return found


def _distance(found: Answers, wanted: Answers) -> float:
    """Return the squared distance of outputs over the square of those wanted, added up over the outputs."""
    total = 0.0
    for one, other in zip(found, wanted, strict=True):
        real = np.isfinite(other)
        total += float(np.square(one - other)[real].sum() / max(1e-9, np.square(other[real]).sum()))
    return total
