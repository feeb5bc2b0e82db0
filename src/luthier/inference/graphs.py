"""What the runtimes of exported graphs share: where the graph lies, its names, and how many threads compute."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from luthier.artifacts.bundle import BundleManifest, Runtime
from luthier.errors import ArtifactError, ModelError
from luthier.training.hardware import usable_cores

QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""A container's processor time on Linux: microseconds allowed, or `max`, and the period that they are of."""


PRECISIONS_OF_BF16 = ("bf16", "int8-bf16")
"""Precisions of a graph that computes in bf16 what is not quantised."""


def graph_file(folder: Path, manifest: BundleManifest) -> Path:
    """Return the file of a bundle's graph.

    Raises:
        ArtifactError: the manifest names none, or one that is not among the bundle's files.
    """
    runtime = manifest.runtimes[0]
    if runtime.file is None or (manifest.files and runtime.file not in manifest.files):
        raise ArtifactError(
            f"runtime {runtime.name} must name a file of the bundle; got {runtime.file}.", where=str(folder)
        )
    return folder / runtime.file


def check_names(runtime: Runtime, inputs: Sequence[str], outputs: Sequence[str], *, where: str) -> None:
    """Refuse a graph whose inputs or outputs are not the manifest's.

    Raises:
        ArtifactError: names both.
    """
    wanted = graph_outputs(runtime.outputs)
    for kind, told, found in (("inputs", runtime.inputs, inputs), ("outputs", wanted, outputs)):
        if list(told) != list(found):
            raise ArtifactError(f"the graph's {kind} must be {', '.join(told)}; got {', '.join(found)}.", where=where)


def graph_outputs(outputs: Sequence[str]) -> list[str]:
    """Return the outputs' names inside a graph, where a layer may have the name of an output already."""
    return [f"output.{name}" for name in outputs]


def named_inputs(runtime: Runtime, batch: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the arrays of a collated batch that the graph reads."""
    return {name: np.ascontiguousarray(batch[name]) for name in runtime.inputs}


def not_installed(package: str, extra: str) -> ModelError:
    """Return the error for a runtime whose package is absent."""
    return ModelError(f"{package} is not installed.", fix=f'Install it: pip install "luthier[{extra}]".')


def writes_no_text(runtime: Runtime) -> NoReturn:
    """Refuse to make text token by token."""
    raise ModelError(f"runtime {runtime.name} cannot write text.", fix="Use a bundle with the torch runtime.")


def available_threads(quota: Path = QUOTA) -> int:
    """Return how many threads this process may keep busy: its processors, or less where a container has a quota.

    Args:
        quota: the file that tells the quota; absent means none.
    """
    number = usable_cores()
    try:
        allowed, period = quota.read_text(encoding="ascii").split()
        return number if allowed == "max" else max(1, min(number, math.ceil(int(allowed) / int(period))))
    except (OSError, ValueError):
        return number
