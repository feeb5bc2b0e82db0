"""The processes that train together: rank, size, and how sums are made over them."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from luthier.errors import TrainingError


class World(Protocol):
    """One protocol for one process, torch.distributed, or Ray.

    Attributes:
        rank: this process, from 0.
        size: how many there are.
        device: where this process computes.
        sharded: whether each process holds a part of every parameter, and the model sums its own gradients.
    """

    rank: int
    size: int
    device: torch.device
    sharded: bool

    def wrap(self, model: nn.Module) -> nn.Module:
        """Return the module as it is to be called."""

    def unwrap(self, model: nn.Module) -> nn.Module:
        """Return the module as rank 0 can use it alone; all processes call it, training is over."""

    def reduce(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over all processes."""

    def share(self, value: Any) -> Any:
        """Return rank 0's value, which is JSON-like, in every process."""

    def barrier(self) -> None:
        """Wait for all processes."""


class LocalWorld:
    """One process."""

    rank = 0
    size = 1
    sharded = False

    def __init__(self, device: str = "cpu") -> None:
        self.device = torch.device(device)

    def wrap(self, model: nn.Module) -> nn.Module:
        """Return the module on the device."""
        return model.to(self.device)

    def unwrap(self, model: nn.Module) -> nn.Module:
        """Return the module as it is."""
        return model

    def reduce(self, tensors: Sequence[Tensor]) -> None:
        """Leave the tensors: they are the sum already."""

    def share(self, value: Any) -> Any:
        """Return the value."""
        return value

    def barrier(self) -> None:
        """Return at once."""


class DistributedWorld:
    """A process of a torch.distributed group, such as torchrun starts.

    Gradients are summed in one flat buffer after the last micro-batch. The group must be initialised.

    Raises:
        TrainingError: the device is one of several, which all processes would share.
    """

    sharded = False

    def __init__(self, device: str = "cpu") -> None:
        import torch.distributed as dist

        self.rank = dist.get_rank()
        self.size = dist.get_world_size()
        if ":" in device:
            raise TrainingError(
                f"train.device must name a kind of device where several processes train; got {device}.",
                fix=f"Write {device.partition(':')[0]}: each process then takes the one of its own number.",
            )
        local = int(os.environ.get("LOCAL_RANK", "0"))
        self.device = torch.device(f"cuda:{local}" if device == "cuda" else device)
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)

    def wrap(self, model: nn.Module) -> nn.Module:
        """Return the module on the device with rank 0's parameters."""
        model.to(self.device)
        from_first(model)
        return model

    def unwrap(self, model: nn.Module) -> nn.Module:
        """Return the module as it is."""
        return model

    def reduce(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over all processes, in one message."""
        import torch.distributed as dist

        if not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        start = 0
        for tensor in tensors:
            tensor.copy_(flat[start : start + tensor.numel()].view_as(tensor))
            start += tensor.numel()

    def share(self, value: Any) -> Any:
        """Return rank 0's value; it travels as JSON."""
        import torch.distributed as dist

        data = json.dumps(value).encode() if self.rank == 0 else b""
        size = torch.tensor([len(data)])
        dist.broadcast(size, src=0)
        text = (
            torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else torch.zeros(int(size), dtype=torch.uint8)
        )
        dist.broadcast(text, src=0)
        return json.loads(bytes(text.tolist()))

    def barrier(self) -> None:
        """Wait for all processes."""
        self.reduce([torch.zeros(1)])  # on the processor: a GPU has nothing to wait for


def from_first(model: nn.Module) -> None:
    """Give a module rank 0's parameters and buffers in every process."""
    import torch.distributed as dist

    for tensor in [*model.parameters(), *model.buffers()]:
        dist.broadcast(tensor.data, src=0)


def processes() -> int:
    """Return how many processes were started to train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))
