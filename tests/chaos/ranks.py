"""Two gloo processes train together, are killed, and train on: the loop itself, driven without the command line.

    python ranks.py MODEL FOLDER ORDERS

ORDERS is a JSON list of [rank, moment, number]; after them the run is continued to its end, and compared with one that
nothing disturbed. Prints one line of JSON: `{"killed", "resumed", "equal", "ranks"}`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

MOMENTS = ("step", "gradients", "tensors", "validation")


def arm(moment: str, number: int) -> None:
    """Set a trap in this rank."""
    from tests.chaos.driver import before

    from luthier.artifacts import checkpoint
    from luthier.training import history, loop

    where = {
        "step": (history.History, "add"),
        "gradients": (loop.Fit, "_reduced"),
        "tensors": (checkpoint, "seal"),
        "validation": (loop.Fit, "_look"),
    }
    before(*where[moment], number)


def rank(model: Path, folder: Path, place: Path, number: int, trap: tuple[str, int] | None) -> None:
    """Train as one of two ranks."""
    import torch.distributed as dist
    from tests.unit.training.test_loop import fit

    from luthier.training.events import Finished, Resumed, StepDone, Validated
    from luthier.training.history import History
    from luthier.training.tensors import model_tensors, save_model
    from luthier.training.world import DistributedWorld

    dist.init_process_group("gloo", init_method=f"file://{place}", rank=number, world_size=2)
    if trap:
        arm(*trap)
    log = History(folder / f"metrics-{number}.jsonl")
    run = fit(model, store=folder, world=DistributedWorld(), accumulate=2, checkpoint_seconds=0.01, validate=2)
    run.before_save = log.sync
    for event in run:
        if not log.open:
            log.rewind(event.step if isinstance(event, Resumed) else 0)
        if isinstance(event, Resumed) and number == 0:
            with (folder / "resumed.txt").open("a", encoding="utf-8") as stream:
                stream.write(f"{event.step}\n")
        if isinstance(event, StepDone | Validated):
            log.add(event)
        if isinstance(event, Finished):
            (folder / f"final-{number}").mkdir(exist_ok=True)
            save_model(model_tensors(run.model, run.model.state_dict().keys()), folder / f"final-{number}")
    log.close()


def attempt(model: Path, folder: Path, name: str, trap: tuple[int, str, int] | None) -> list[int]:
    """Fork both ranks; when one dies the other is killed as well. Return the exit codes."""
    place = folder / f"rendezvous-{name}"
    processes = []
    for number in range(2):
        process = os.fork()
        if process == 0:
            code = 1
            try:
                rank(model, folder, place, number, trap[1:] if trap and trap[0] == number else None)
                code = 0
            finally:
                os._exit(code)
        processes.append(process)
    codes = {}
    while len(codes) < 2:
        process, status = os.wait()
        codes[process] = os.waitstatus_to_exitcode(status)
        if codes[process] != 0:
            for other in set(processes) - codes.keys():
                os.kill(other, signal.SIGKILL)
    return [codes[process] for process in processes]


def outcome(folder: Path) -> dict[str, bytes]:
    """Return what must be equal."""
    newest = max((folder / "c").glob("step-*"))
    names = [*newest.glob("*.safetensors"), *folder.glob("final-*/*.safetensors"), *folder.glob("metrics-*.jsonl")]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(names)}


def main(model: Path, folder: Path, orders: list[Any]) -> None:
    """Kill, continue, compare."""
    import torch
    import transformers.models.bert.modeling_bert

    assert torch.get_num_threads() == 1
    assert transformers.models.bert.modeling_bert
    whole, cut = folder / "whole", folder / "cut"
    for one in (whole, cut):
        one.mkdir(parents=True)
    assert attempt(model, whole, "0", None) == [0, 0]
    killed = []
    for turn, (number, moment, count) in enumerate(orders):
        codes = attempt(model, cut, str(turn), (number, moment, count))
        killed += [moment] if codes[number] == -signal.SIGKILL else []
    assert attempt(model, cut, "last", None) == [0, 0]
    wanted, found = outcome(whole), outcome(cut)
    resumed = (cut / "resumed.txt").read_text(encoding="utf-8").split()
    ranks = found["final-0/model.safetensors"] == found["final-1/model.safetensors"]
    print(json.dumps({"killed": killed, "resumed": list(map(int, resumed)), "equal": wanted == found, "ranks": ranks}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3]))
