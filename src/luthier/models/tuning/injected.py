"""PEFT inside a backbone: its layers are put in place and taken out again; the backbone stays a Transformers model.

The one place that loads PEFT and bitsandbytes, and only when a method of theirs is used.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

if TYPE_CHECKING:
    from luthier.models.assembly import TaskModel

ADAPTER = "main"


@contextmanager
def quiet_peft() -> Iterator[Any]:
    """Give the PEFT package, without the warnings that its use of Transformers draws."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        import peft

        yield peft


@cache
def bitsandbytes_functions() -> Any:
    """Return the module `bitsandbytes.functional`, loaded without a connection.

    On processors with bf16 bitsandbytes fetches code from a model hub as it is imported, where the `kernels` package is
    installed; to import that fails here.
    """
    log = logging.getLogger("bitsandbytes.backends.cpu.ops")
    level, kernels = log.level, sys.modules.get("kernels")
    log.setLevel(logging.CRITICAL)  # that nothing was fetched is no news
    sys.modules["kernels"] = None  # type: ignore[assignment]
    try:
        import bitsandbytes.functional as found
    finally:
        log.setLevel(level)
        del sys.modules["kernels"]
        if kernels is not None:
            sys.modules["kernels"] = kernels
    return found


def inject(model: TaskModel, tuner: str, config: Any) -> Any:
    """Put a PEFT tuner's layers into the backbone; heads stay trainable.

    Args:
        model: backbone and heads.
        tuner: name of the tuner's class, such as `LoraModel`.
        config: its PEFT configuration.

    Returns:
        The tuner. It is kept outside the module, so that parameter names stay those of the backbone.
    """
    if find_spec("bitsandbytes") is not None:
        bitsandbytes_functions()  # before PEFT loads it, which takes what is there
    with quiet_peft() as peft:
        made = getattr(peft, tuner)(model.backbone, config, ADAPTER)
    model.heads.requires_grad_(True)
    return made


def take_out(model: TaskModel, tuner: Any, *, merge: bool) -> dict[str, Tensor]:
    """Take a tuner's layers out of the backbone; return their tensors, or nothing where they were merged."""
    own = {} if merge else adapter_tensors(model.backbone)
    with quiet_peft():
        plain = tuner.merge_and_unload() if merge else tuner.unload()
    assert plain is model.backbone, "PEFT changes the backbone in place"
    return own


def adapter_tensors(backbone: nn.Module) -> dict[str, Tensor]:
    """Return copies of a backbone's trainable tensors by name, in fp32 on the CPU."""
    import torch

    return {
        name: parameter.detach().to("cpu", torch.float32, copy=True).contiguous()
        for name, parameter in backbone.named_parameters()
        if parameter.requires_grad
    }
