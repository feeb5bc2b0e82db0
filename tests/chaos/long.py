"""The long form of the chaos suite: many kills over every scenario, a table, and exit code 1 on any inequality.

    python tests/chaos/long.py --kills 200 [--seed 1] [--folder DIR]

Each run of a scenario is killed at drawn moments until it ends by itself, and is then compared with an undisturbed one.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[2] / "src")]

from tests.chaos import ranks  # noqa: E402  # the path comes first
from tests.chaos.scenarios import SCENARIOS, Driver, outcome  # noqa: E402
from tests.chaos.test_ranks import run_ranks  # noqa: E402

KILLED = -signal.SIGKILL
# Moments with how often at most they come in one attempt.
MOMENTS = {
    "gradients": 12,
    "step": 14,
    "logged": 14,
    "validation": 3,
    "best": 4,
    "tensors": 5,
    "sealed": 5,
    "renamed": 6,
    "prune": 4,
    "load": 1,
    "rewind": 1,
    "model": 1,
    "record": 2,
    "evaluate": 1,
    "bundle": 1,
    "bundled": 1,
    "report": 1,
    "any time": 0,
}
TWO_RANKS = "two ranks"
CHAIN = 7
RANK_CHAIN = 6


@dataclass
class Log:
    """What happened: kills by (scenario, moment), and how runs ended."""

    kills: Counter[tuple[str, str]] = field(default_factory=Counter)
    ended: Counter[tuple[str, bool]] = field(default_factory=Counter)
    chain: list[tuple[str, str]] = field(default_factory=list)
    cells: Counter[tuple[str, str, bool]] = field(default_factory=Counter)

    def kill(self, name: str, moment: str) -> None:
        """Count a kill."""
        self.kills[name, moment] += 1
        self.chain.append((name, moment))

    def end(self, name: str, equal: bool) -> None:
        """Count the end of a run for itself and for each kill on its way."""
        self.ended[name, equal] += 1
        for cell in self.chain:
            self.cells[(*cell, equal)] += 1
        self.chain.clear()

    def table(self) -> str:
        """Return the kills by scenario and moment, with how many were followed by equal and unequal ends."""
        lines = ["| scenario | moment | kills | equal | unequal |", "| --- | --- | ---: | ---: | ---: |"]
        for (name, moment), count in sorted(self.kills.items()):
            right, wrong = self.cells[name, moment, True], self.cells[name, moment, False]
            lines.append(f"| {name} | {moment} | {count} | {right} | {wrong} |")
        names = sorted({name for name, _ in self.ended})
        lines += ["", "| scenario | runs compared | equal | unequal |", "| --- | ---: | ---: | ---: |"]
        for name in names:
            right, wrong = self.ended[name, True], self.ended[name, False]
            lines.append(f"| {name} | {right + wrong} | {right} | {wrong} |")
        return "\n".join(lines)


def one_run(driver: Driver, name: str, folder: Path, draw: random.Random, log: Log) -> None:
    """Kill one run of a scenario up to CHAIN times, let it end, compare."""
    wanted = driver.wanted(name)
    run = folder / "run"
    for _ in range(CHAIN):
        moment = draw.choice(list(MOMENTS))
        if moment == "any time":
            code = driver.run(name, run, after_s=draw.uniform(0.0, 1.0))
        else:
            code = driver.run(name, run, moment=moment, number=draw.randint(1, MOMENTS[moment]))
        if code == 0:
            break  # it ended before the moment came
        if code != KILLED:
            print(f"{name}, killed at {moment}: exit code {code}: {driver.said()}", flush=True)
            log.end(name, False)
            return
        log.kill(name, moment)
    code = driver.run(name, run)
    equal = code == 0 and outcome(run) == wanted
    if not equal:
        print(f"{name}: unequal after {[moment for _, moment in log.chain]}: {driver.said()}", flush=True)
    log.end(name, equal)


def two_ranks(driver: Driver, folder: Path, draw: random.Random, log: Log) -> None:
    """Kill one of two ranks some times, let both end, compare."""
    orders = [(draw.randint(0, 1), draw.choice(ranks.MOMENTS), draw.randint(1, 3)) for _ in range(RANK_CHAIN)]
    orders = [(0 if moment == "tensors" else rank, moment, count) for rank, moment, count in orders]
    found = run_ranks(driver.model, folder, orders)
    for moment in found["killed"]:
        log.kill(TWO_RANKS, moment)
    log.end(TWO_RANKS, found["equal"] and found["ranks"])


def main() -> int:
    """Kill, compare, print the table; return the exit code."""
    parser = argparse.ArgumentParser(description="Kill training runs and compare how they end.")
    parser.add_argument("--kills", type=int, default=200, help="at least this many kills (200)")
    parser.add_argument("--seed", type=int, default=1, help="of the drawn moments (1)")
    parser.add_argument("--folder", type=Path, help="where the runs lie; kept (a temporary folder, removed)")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="chaos-"))
    draw, log, began, turn = random.Random(options.seed), Log(), time.monotonic(), 0
    names = [*(name for name, scenario in SCENARIOS.items() if scenario.known), TWO_RANKS]
    with suppress(KeyboardInterrupt), Driver(folder / "driver") as driver:  # Ctrl-C: the table so far
        while sum(log.kills.values()) < options.kills:
            name = names[turn % len(names)]
            place = folder / f"turn-{turn}"
            place.mkdir()
            if name == TWO_RANKS:
                two_ranks(driver, place, draw, log)
            else:
                one_run(driver, name, place, draw, log)
            shutil.rmtree(place)
            turn += 1
            print(f"{sum(log.kills.values())} kills, {time.monotonic() - began:.0f} s", flush=True)
    if options.folder is None:
        shutil.rmtree(folder)
    unequal = sum(count for (_, equal), count in log.ended.items() if not equal)
    print(f"\n{log.table()}\n")
    print(f"{sum(log.kills.values())} kills, {sum(log.ended.values())} runs compared, {unequal} unequal")
    return 1 if unequal else 0


if __name__ == "__main__":
    sys.exit(main())
