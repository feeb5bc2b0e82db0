"""Which activations of an int8 graph are set free."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import openvino
import pytest
from openvino import opset13 as ops

from luthier.compression.search.sparing import QUANTISER, chosen, spared
from luthier.errors import ModelError

COSTS = {"a": 5.0, "b": 1.0, "c": 3.0, "d": 0.5, "e": -1.0, "f": 0.5, "g": 0.5, "h": 0.5}


def distance(free: Sequence[str]) -> float:
    return sum(cost for name, cost in COSTS.items() if name not in free)


@pytest.mark.parametrize(("enough", "free"), [(0.5, ["a"]), (0.25, ["a", "c"]), (0.0, ["a", "c"])])
def test_the_costliest_go_first_until_it_is_enough_or_too_many(
    enough: float, free: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("luthier.compression.search.sparing.ENOUGH", enough)
    assert chosen([[name] for name in COSTS], distance) == free


def test_nothing_is_set_free_where_that_brings_nothing() -> None:
    assert chosen([["a"], ["b"], ["c"], ["d"]], lambda free: 1.0 + len(free)) == []


def test_what_brings_nothing_beside_the_others_stays() -> None:
    left = {"": 10.0, "a": 6.0, "b": 7.0, "ab": 6.5, "c": 8.0, "ac": 4.0}
    groups = [[name] for name in ("a", "b", "c", *"defghijkl")]
    assert chosen(groups, lambda free: left.get("".join(free), 11.0)) == ["a", "c"]


def test_a_gain_that_is_hardly_one_is_none() -> None:
    assert chosen([["a"], ["b"], ["c"], ["d"]], lambda free: 1.0 if not free else 0.95) == []


def test_a_graph_without_a_costly_part_is_left_out() -> None:
    batches = [{"x": np.random.default_rng(1).normal(size=(16, 8)).astype(np.float32)}]
    with pytest.raises(ModelError, match="no part of the activations"):
        spared(graph([256] * 4), graph([256] * 4), batches)


def graph(levels: Sequence[int] | None) -> Any:
    """Return a model that adds up inputs times matrices, each input in so many levels."""
    given = ops.parameter([-1, 8], np.float32, name="x")
    given.output(0).set_names({"x"})
    draw = np.random.default_rng(0)
    parts = []
    for number in range(4):
        values = given
        if levels is not None:
            values = ops.fake_quantize(given, -4.0, 4.0, -4.0, 4.0, levels[number])
            values.set_friendly_name(f"part{number}")
        parts.append(ops.matmul(values, draw.normal(size=(8, 3)).astype(np.float32), False, False))
    return openvino.Model([ops.add(ops.add(parts[0], parts[1]), ops.add(parts[2], parts[3]))], [given], "sum")


def test_the_coarsest_activation_of_a_graph_is_set_free() -> None:
    draw = np.random.default_rng(1)
    batches = [{"x": draw.normal(size=(16, 8)).astype(np.float32)} for _ in range(3)]
    quantised = graph([256, 256, 4, 256])
    found = spared(quantised, graph(None), batches)

    def left(model: Any) -> list[str]:
        names = [node.get_friendly_name() for node in model.get_ordered_ops() if node.get_type_name() == QUANTISER]
        return sorted(names)

    assert left(found) == ["part0", "part1", "part3"]
    assert left(quantised) == ["part0", "part1", "part2", "part3"]  # untouched
