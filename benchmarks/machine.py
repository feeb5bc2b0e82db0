"""What a machine is and the most that it can do: `python benchmarks/machine.py` prints both as JSON."""

from __future__ import annotations

import json
import sys
from typing import Any


def describe() -> dict[str, Any]:
    """Return the machine and the versions of what was compared."""
    from importlib.metadata import PackageNotFoundError, version

    from luthier.training.hardware import describe as hardware

    found = hardware()
    for package in ("accelerate", "datasets", "numpy", "luthier", "peft"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def main(threads: str) -> None:
    """Print the peaks in operations per second at a number of threads, and the machine."""
    import torch

    from luthier.training.peak import peak

    torch.set_num_threads(int(threads))
    peaks = {precision: peak(precision) for precision in ("bf16", "fp32", "int8")}
    print(json.dumps({**peaks, "machine": describe()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
