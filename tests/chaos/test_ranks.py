"""Two ranks, one of them killed: together they continue to the same bits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.chaos.scenarios import ROOT

ORDERS = [(1, "gradients", 7), (0, "tensors", 3), (0, "step", 5), (1, "validation", 2)]


def run_ranks(model: Path, folder: Path, orders: list[tuple[int, str, int]]) -> dict[str, Any]:
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "GLOO_SOCKET_IFNAME": "lo",
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]),
    }
    command = [sys.executable, str(Path(__file__).with_name("ranks.py")), str(model), str(folder), json.dumps(orders)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_two_ranks_killed_end_with_the_same_bits(tiny_model: Path, tmp_path: Path) -> None:
    found = run_ranks(tiny_model, tmp_path, ORDERS)
    assert found["killed"] == [moment for _, moment, _ in ORDERS]
    assert len(found["resumed"]) >= 2
    assert found["equal"]
    assert found["ranks"]
