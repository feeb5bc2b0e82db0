"""The gradient of a step: sums over its micro-batches, one after another or side by side.

On a CPU two halves of a batch, each on a thread of its own, are done sooner than the whole on two threads: the small
operations between the products then run in parallel as well, and nobody waits at the end of each. So a batch is cut
into as many parts as there are lanes; a lane is a thread that does forward and backward of one part. The parts'
gradients are added in their order: the number of lanes may change the last bit of a sum, their speed may not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from luthier.data.draws import torch_seed
from luthier.data.outputs import Collated
from luthier.objectives import Objective
from luthier.training.dropout import KeyedDropout
from luthier.training.precision import HalfWeights, autocast
from luthier.training.threads import threads

RowNumbers = NDArray[np.int64]


LaneResult = tuple[Tensor, Sequence[Tensor | None]]


class Gradients:
    """Loss sums and gradient sums of micro-batches.

    Args:
        model: in training mode when `add` is called.
        objective: a batch to loss sums.
        features: what the rows' numbers are of.
        parameters: that may get a gradient.
        precision: of the forward pass, see `autocast`.
        device: where to compute.
        lanes: micro-batches at the same time; only on a CPU.
        seed: of the draws.
        rank: of this process.
        together: whether every process must do as many forward passes as the others, since parameters are gathered.
    """

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        features: Collated,
        parameters: Sequence[nn.Parameter],
        *,
        precision: str,
        device: torch.device,
        lanes: int,
        seed: int,
        rank: int,
        together: bool = False,
    ) -> None:
        self.model = model
        self.objective = objective
        self.features = features
        self.parameters = parameters
        self.precision = precision
        self.device = device
        self.lanes = lanes
        self.seed = seed
        self.rank = rank
        self.half = HalfWeights(model, parameters, precision)
        self.together = together
        self._pool: ThreadPoolExecutor | None = None

    def add(self, parts: Sequence[RowNumbers], step: int) -> Tensor:
        """Add the gradients of some micro-batches to the parameters'; return (loss sum, weight), float64.

        Args:
            parts: row numbers of each; empty ones count as nothing.
            step: of the optimiser, for the draws.
        """
        with self.half.in_place():
            sums = self._add([(rows, step, micro) for micro, rows in enumerate(parts) if len(rows)])
            if self.together:
                self._keep_up(parts, step)
        return sums

    def _add(self, jobs: Sequence[tuple[RowNumbers, int, int]]) -> Tensor:
        sums = torch.zeros(2, dtype=torch.float64)
        if self.lanes == 1:
            for job in jobs:
                loss, found = self._forward(*job)
                loss.backward()  # type: ignore[no-untyped-call]
                sums += found
            return sums
        for start in range(0, len(jobs), self.lanes):
            sums += self._side_by_side(jobs[start : start + self.lanes])
        return sums

    def _keep_up(self, parts: Sequence[RowNumbers], step: int) -> None:
        """Go through the model for each part that is empty here and may hold rows elsewhere; nothing is added."""
        for micro, rows in enumerate(parts):
            if not len(rows):
                loss, _ = self._forward(np.zeros(1, dtype=np.int64), step, micro)
                (loss * 0.0).backward()  # type: ignore[no-untyped-call]

    def _side_by_side(self, jobs: Sequence[tuple[RowNumbers, int, int]]) -> Tensor:
        """Do one micro-batch on each lane; where there are fewer, such as one long text, each has more threads."""
        self._pool = self._pool or ThreadPoolExecutor(self.lanes, "lane")
        moving = [parameter for parameter in self.parameters if parameter.requires_grad]
        share = max(1, torch.get_num_threads() // len(jobs))
        with threads(None):
            results = list(self._pool.map(lambda job: self._lane(job, moving, share), jobs))
        for parameter, *gradients in zip(moving, *(found for _, found in results), strict=True):
            _add_to(parameter, gradients)
        return torch.stack([sums for sums, _ in results]).sum(dim=0)

    def _lane(self, job: tuple[RowNumbers, int, int], moving: Sequence[nn.Parameter], share: int) -> LaneResult:
        torch.set_num_threads(share)
        loss, sums = self._forward(*job)
        return sums, torch.autograd.grad(loss, moving, allow_unused=True)

    def _forward(self, rows: RowNumbers, step: int, micro: int) -> tuple[Tensor, Tensor]:
        """Return the loss sum with its graph, and (loss sum, weight) on the CPU."""
        batch = to_torch(self.features.collate(rows), self.device)
        key = (self.seed, "dropout", step, micro, self.rank)
        alone = self.lanes == 1
        if alone:
            self._seed(torch_seed(*key))
        draws = KeyedDropout(*key, alone=alone) if self.device.type == "cpu" else nullcontext()
        with autocast(self.precision, self.device, keep_casts=alone), draws:
            terms = self.objective.step(self.model, batch)
        loss = torch.stack([loss for loss, _ in terms.values()]).sum()
        with torch.no_grad():
            sums = torch.stack([torch.stack(term).cpu().double() for term in terms.values()]).sum(dim=0)
        return loss, sums

    def _seed(self, seed: int) -> None:
        """Seed the stream of what draws past `KeyedDropout`; all devices' at once costs a millisecond without a GPU."""
        if self.device.type == "cpu":
            torch.default_generator.manual_seed(seed)
        else:
            torch.manual_seed(seed)


def _add_to(parameter: nn.Parameter, gradients: Sequence[Tensor | None]) -> None:
    for gradient in gradients:
        if gradient is None:
            continue
        if parameter.grad is None:
            parameter.grad = gradient
        else:
            parameter.grad += gradient


def to_torch(batch: Mapping[str, NDArray[Any]], device: torch.device) -> dict[str, Tensor]:
    """Return a collated batch as tensors on a device; to a GPU from pinned memory, so that the copy needs no wait."""
    tensors = {name: torch.from_numpy(array) for name, array in batch.items()}
    if device.type == "cuda":
        tensors = {name: tensor.pin_memory() for name, tensor in tensors.items()}
    return {name: tensor.to(device, non_blocking=True) for name, tensor in tensors.items()}
