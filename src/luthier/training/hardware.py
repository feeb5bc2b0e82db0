"""What the machine offers, and what `auto` picks from it. Every pick comes with its reason, for the run's record.

torch is imported where it is asked, so that a project file can be refused before torch is there.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from luthier.errors import TrainingError

EAGER_LIMIT = 512
"""Longest 95th percentile of tokens at which eager attention is picked on a CPU (docs/decisions/attention.md)."""

LANE_TOKENS = 512
"""Fewest tokens of a lane (docs/decisions/lanes.md)."""


@dataclass(frozen=True)
class Choice:
    """A setting as it will be used, and why."""

    value: str
    reason: str


def choose_device(setting: str) -> Choice:
    """Return the device: the first CUDA device where there is one, then Apple's, else the CPU."""
    import torch

    if setting != "auto":
        return Choice(setting, "as set")
    if torch.cuda.is_available():
        return Choice("cuda", "a CUDA device is present")
    if torch.backends.mps.is_available():
        return Choice("mps", "an Apple GPU is present")
    return Choice("cpu", "no GPU is present")


def choose_precision(setting: str, device: str) -> Choice:
    """Return `bf16` where the processor multiplies bf16 in hardware, else `fp32`."""
    import torch

    if setting != "auto":
        return Choice(setting, "as set")
    if device.startswith("cuda"):
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return Choice("bf16", "the GPU has bf16") if native else Choice("fp32", "the GPU has no bf16")
    if device == "cpu":
        found = sorted(processor_flags() & {"avx512_bf16", "amx_bf16", "bf16"})
        return Choice("bf16", f"the processor has {found[0]}") if found else Choice("fp32", "the processor has no bf16")
    return Choice("fp32", f"bf16 is not used on {device}")


def choose_attention(setting: str, device: str, long_tokens: int, known: Sequence[str] = ("eager", "sdpa")) -> Choice:
    """Return the attention kernel.

    Args:
        setting: `auto`, `eager` or `sdpa`.
        device: such as `cpu`.
        long_tokens: 95th percentile of the tokens of a training row.
        known: the kernels that the model has.

    Raises:
        TrainingError: the model does not have the one that was set.
    """
    if setting not in {"auto", *known}:
        fix = "Leave it out."
        raise TrainingError(f"train.attention must be auto or {known[0]} for this model; got {setting}.", fix=fix)
    if setting != "auto":
        return Choice(setting, "as set")
    if len(known) == 1:
        return Choice(known[0], "the model has no other")
    if device == "cpu" and long_tokens <= EAGER_LIMIT:
        return Choice("eager", f"on a CPU eager trains faster at {long_tokens} tokens (95th percentile)")
    return Choice("sdpa", f"fused attention for {device} at {long_tokens} tokens (95th percentile)")


def choose_lanes(setting: int | None, device: str, *, threads: int, tokens: int) -> Choice:
    """Return into how many parts, computed side by side, a micro-batch is cut: as many as there are threads.

    Args:
        setting: as set, or None.
        device: such as `cpu`.
        threads: that compute.
        tokens: of a micro-batch; no lane gets fewer than `LANE_TOKENS`.
    """
    if setting is not None:
        return Choice(str(setting), "as set")
    if device != "cpu":
        return Choice("1", f"a {device} device computes one batch at a time")
    lanes = max(1, min(threads, tokens // LANE_TOKENS))
    return Choice(str(lanes), f"{threads} threads, {tokens} tokens in a micro-batch")


MATRIX_FLAGS = frozenset({"avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8"})
"""The processor's features that matrix kernels are chosen by."""


@cache
def processor_flags() -> frozenset[str]:
    """Return the processor's feature flags; empty where the system does not list them."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return frozenset()
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        name, _, value = line.partition(":")
        if name.strip() in {"flags", "Features"}:
            return frozenset(value.split())
    return frozenset()


def processor() -> dict[str, str]:
    """Return what of the processor decides bits: its name and the matrix instructions that kernels are chosen by."""
    return {
        "processor": _processor_name(),
        "matrix flags": " ".join(matrix_flags()) or "none",
        "system": f"{platform.system()} {platform.machine()}",
    }


def kept_flags() -> list[str]:
    """Return the feature flags that a manifest keeps of the processor that its golden examples were made on."""
    return sorted(flag for flag in processor_flags() if flag.startswith(("avx", "amx", "fma")))


def matrix_flags() -> list[str]:
    """Return the feature flags of the processor that matrix kernels are chosen by."""
    return sorted(processor_flags() & MATRIX_FLAGS)


def usable_cores() -> int:
    """Return how many logical processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe() -> dict[str, Any]:
    """Return the hardware and library versions that a run's record keeps."""
    import psutil
    import torch
    import transformers

    return {
        "processor": _processor_name(),
        "cores": psutil.cpu_count(logical=False) or psutil.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "matrix_flags": matrix_flags(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def _processor_name() -> str:
    path = Path("/proc/cpuinfo")
    if path.exists():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
