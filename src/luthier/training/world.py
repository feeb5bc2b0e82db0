"""The processes that train together: rank, size, and how sums are made over them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn


class World(Protocol):
    """One protocol for one process, torch.distributed, or Ray.

    Attributes:
        rank: this process, from 0.
        size: how many there are.
        device: where this process computes.
    """

    rank: int
    size: int
    device: torch.device

    def wrap(self, model: nn.Module) -> nn.Module:
        """Return the module as it is to be called."""

    def reduce(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over all processes."""

    def barrier(self) -> None:
        """Wait for all processes."""


class LocalWorld:
    """One process."""

    rank = 0
    size = 1

    def __init__(self, device: str = "cpu") -> None:
        self.device = torch.device(device)

    def wrap(self, model: nn.Module) -> nn.Module:
        """Return the module on the device."""
        return model.to(self.device)

    def reduce(self, tensors: Sequence[Tensor]) -> None:
        """Leave the tensors: they are the sum already."""

    def barrier(self) -> None:
        """Return at once."""


class DistributedWorld:
    """A process of a torch.distributed group, such as torchrun starts.

    Gradients are summed in one flat buffer after the last micro-batch. The group must be initialised.
    """

    def __init__(self, device: str = "cpu") -> None:
        import torch.distributed as dist

        self.rank = dist.get_rank()
        self.size = dist.get_world_size()
        local = int(os.environ.get("LOCAL_RANK", "0"))
        self.device = torch.device(f"cuda:{local}" if device == "cuda" else device)

    def wrap(self, model: nn.Module) -> nn.Module:
        """Return the module on the device with rank 0's parameters."""
        import torch.distributed as dist

        model.to(self.device)
        for tensor in [*model.parameters(), *model.buffers()]:
            dist.broadcast(tensor.data, src=0)
        return model

    def reduce(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over all processes, in one message."""
        import torch.distributed as dist

        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        start = 0
        for tensor in tensors:
            tensor.copy_(flat[start : start + tensor.numel()].view_as(tensor))
            start += tensor.numel()

    def barrier(self) -> None:
        """Wait for all processes."""
        import torch.distributed as dist

        dist.barrier()
