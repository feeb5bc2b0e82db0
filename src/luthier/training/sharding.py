"""FSDP2: each process holds a part of every parameter, gradient and optimiser state.

Each layer of the backbone is a unit that is gathered before it computes and let go afterwards; what lies outside the
layers is one more. Gradients are summed over the processes, not averaged, since the loop divides once by the weight of
the whole step.

References:
    Zhao et al., PyTorch FSDP: Experiences on Scaling Fully Sharded Data Parallel, 2023.
"""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor, nn

from luthier.errors import TrainingError
from luthier.models.tuning.layouts import LAYOUTS
from luthier.training.world import DistributedWorld, from_first

METHODS = ("full", "layer-decay", "freeze", "head", "bitfit")
"""The methods whose steps were shown to be those of one process (tests/unit/training/test_world.py)."""
TYPES = ("bert", "distilbert", "electra", "gpt2", "llama", "qwen2", "roberta")
"""Model types whose layers are one list and share no weights with what lies beside them; shown with bert."""


def refuse_sharding(
    method: str, model_type: str, processes: int, *, lanes: int | None = None, budget: float | None = None
) -> None:
    """Refuse `train.shard: fsdp` where it cannot work, before weights load.

    Raises:
        TrainingError: one process, lanes, a memory budget, a method that was not shown to work, or a type of model
            whose layers are no plain list.
    """
    if processes == 1:
        raise TrainingError(
            "train.shard must be none where one process trains; got fsdp.",
            fix="Start several: torchrun --nproc-per-node 2 -m luthier run PROJECT.",
        )
    if (lanes or 1) > 1:
        raise TrainingError(
            "train.shard must be none where train.lanes is above 1; got fsdp.",
            fix="Leave train.lanes out: parameters are gathered for one batch at a time.",
        )
    if budget is not None:
        raise TrainingError(
            "train.shard must be none where train.memory_mib is set; got fsdp.",
            fix="Set train.accumulate by hand: the budget is measured with the whole model in one process.",
        )
    if method not in METHODS:
        raise TrainingError(
            f"train.shard must be none with method {method}; got fsdp.",
            fix=f"Sharded training goes with {', '.join(METHODS)}.",
        )
    if model_type not in TYPES:
        raise TrainingError(
            f"train.shard must be none for {model_type} models; got fsdp.",
            fix=f"Sharded training goes with {', '.join(TYPES)}.",
        )


class ShardedWorld(DistributedWorld):
    """A process of a group that shares one copy of the model."""

    sharded = True

    def __init__(self, device: str = "cpu") -> None:
        super().__init__(device)
        self._plain: nn.Module | None = None

    def wrap(self, model: nn.Module) -> nn.Module:
        """Shard a task's model in place; each layer moves to the device when its turn comes."""
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        from_first(model)
        self._plain = without_values(model) if self.rank == 0 else None
        mesh = init_device_mesh(self.device.type, (self.size,))
        for module in [*layers(model), model]:
            unit: Any = fully_shard(module, mesh=mesh, reshard_after_forward=True)
            unit.set_gradient_divide_factor(1.0)
            unit.set_force_sum_reduction_for_comms(True)
        model.to(self.device)  # the buffers
        return model

    def unwrap(self, model: nn.Module) -> nn.Module:
        """Return the module with whole parameters on rank 0's processor; elsewhere as it is."""
        whole = gathered(model.state_dict(), keep=self.rank == 0)
        if self._plain is None:
            return model
        self._plain.load_state_dict(whole, assign=True)
        return self._plain.to("cpu")


def layers(model: nn.Module) -> list[nn.Module]:
    """Return the layers of a task model's backbone, wrapped by an adapter library or not."""
    backbone: Any = model.backbone
    name = LAYOUTS[str(backbone.config.model_type)].layers
    for found, module in backbone.named_modules():
        if isinstance(module, nn.ModuleList) and (found == name or found.endswith(f".{name}")):
            return list(module)
    raise TrainingError(f"the layers of the model ({name}) were not found.", fix="Set train.shard to none.")


def without_values(model: nn.Module) -> nn.Module:
    """Return a copy of a module whose parameters take no memory, to be given values later."""
    empty = {id(one): nn.Parameter(one.to("meta"), requires_grad=one.requires_grad) for one in model.parameters()}
    return copy.deepcopy(model, dict(empty))


def gathered(tensors: dict[str, Tensor], *, keep: bool) -> dict[str, Tensor]:
    """Return tensors whole; sharded ones are gathered, so every process must call it with the same names.

    Args:
        tensors: by name.
        keep: whether this process wants them; an empty mapping otherwise.
    """
    found = {}
    for name, tensor in tensors.items():
        one: Any = tensor.detach()
        if is_sharded(one):
            one = one.full_tensor().cpu()
        if keep:
            found[name] = one.contiguous()
    return found


def like(tensor: Tensor, target: Tensor) -> Tensor:
    """Return a whole tensor on the device of another, and sharded as it is."""
    if not is_sharded(target):
        return tensor.to(target.device)
    from torch.distributed.tensor import distribute_tensor

    of: Any = target
    placed = tensor.to(of.device_mesh.device_type)
    return distribute_tensor(placed, of.device_mesh, of.placements, src_data_rank=None)


def is_sharded(tensor: Tensor) -> bool:
    """Return whether a tensor is a part of a whole that lies in several processes."""
    return hasattr(tensor, "full_tensor")
