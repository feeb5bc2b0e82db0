"""The profile of a step. Tiny random model; times are not looked at, only what they add up to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.tiny import project
from tests.unit.training.test_loop import fit

from luthier.cli import main
from luthier.training.peak import SHAPE, best_median, peak
from luthier.training.profile import OTHER, group_of, profile, work_per_token


def test_a_slow_product_is_not_made_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("luthier.training.peak.SLOW", -1.0)
    calls: list[int] = []
    best_median(lambda: calls.append(1))
    assert len(calls) == 3


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_peak_is_a_plausible_rate(precision: str) -> None:
    calls: list[int] = []
    best_median(lambda: calls.append(1), bursts=2, repeats=3)
    assert len(calls) == 1 + 2 * 3
    rows, inner, columns = SHAPE
    assert 2.0 * rows * inner * columns / 60 < peak(precision, bursts=1, repeats=1) < 1e18


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("aten::mm", "matrix products"),
        ("aten::bmm", "attention"),
        ("aten::copy_", "casts and copies"),
        ("aten::_fused_adamw_", "optimiser"),
        ("aten::embedding_dense_backward", "embedding and its gradient"),
        ("aten::native_layer_norm_backward", "activations and norms"),
        ("aten::add_", OTHER),
        ("aten::add", "sums, products, draws"),
        ("something else", OTHER),
    ],
)
def test_operations_have_groups(name: str, group: str) -> None:
    assert group_of(name) == group


def test_shares_add_up_and_the_work_is_counted_by_hand(tiny_model: Path) -> None:
    run = fit(tiny_model, lanes=2, epochs=9)
    trained = sum(
        p.numel()
        for name, p in run.model.named_parameters()
        if not name.endswith("embeddings.weight")  # words, positions and token types
    )
    assert work_per_token(run.model, run.whole) == 6 * trained
    found = profile(run, steps=4, precision="fp32")
    assert sum(found.groups.values()) == pytest.approx(1.0)
    assert found.groups["matrix products"] > 0
    assert found.groups["optimiser"] > 0
    assert 0 < found.busy <= 1.2
    assert found.peak_gflops is not None
    assert found.share_of_peak == pytest.approx(found.reached_gflops / found.peak_gflops)
    assert max(one["calls"] for one in found.operations) > 10, "a step has more than the calls of one layer"


def test_the_command_prints_it(
    tiny_model: Path, tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(project(tmp_path, tiny_model))
    assert main(["profile", path, "--steps", "2"]) == 0
    text = capsys.readouterr().out
    assert "of the machine's peak" in text
    assert "matrix products" in text
    assert "lanes:" in text
    assert main(["profile", path, "--steps", "2", "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["rows_per_second"] > 0
    assert not (tmp_path / "runs").exists()
