"""One of two gloo processes of `test_two_processes_take_the_same_steps_as_one`."""

from __future__ import annotations

import sys
from pathlib import Path

import torch.distributed as dist

sys.path.insert(0, str(Path(__file__).parents[3]))

from tests.unit.training.test_loop import fit

from luthier.training.events import StepDone
from luthier.training.world import DistributedWorld

if __name__ == "__main__":
    model, folder, rank = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    run = fit(model, dropout=0.0, epochs=1, world=DistributedWorld())
    lines = [f"{e.step} {e.rows} {e.tokens} {e.loss!r}" for e in run if isinstance(e, StepDone)]
    (folder / f"steps-{rank}").write_text("\n".join(lines), encoding="utf-8")
    dist.destroy_process_group()
