"""How many threads compute inside an operation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def threads(number: int | None) -> Iterator[None]:
    """Compute with so many threads inside the block; afterwards with as many as before.

    MKL's number is one for all threads of the process, so it is also put back where only other threads changed it.

    Args:
        number: None leaves it as it is.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
