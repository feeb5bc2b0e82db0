"""Keep freed memory for the next step instead of giving it back to the system.

A step frees and takes the same few hundred megabytes again: gradients and activations. glibc returns large blocks to
the system at once, and each comes back as pages that the kernel must clear first. Inside `retained` they stay with the
process. A thread's own arena is made of heaps of 64 MiB, and an empty one is given back unless the one below it and its
own free space are smaller than the padding; so the padding is larger than two heaps.
"""

from __future__ import annotations

import ctypes
import gc
import platform
from collections.abc import Iterator
from contextlib import contextmanager

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -2, -3, -4  # malloc.h of glibc
# What glibc's own thresholds grow to by themselves; setting any of them ends that growth for good.
DEFAULTS = {M_MMAP_MAX: 65536, M_MMAP_THRESHOLD: 32 << 20, M_TRIM_THRESHOLD: 64 << 20, M_TOP_PAD: 0}
RETAINING = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: 2**31 - 1, M_TOP_PAD: 160 << 20}


@contextmanager
def retained() -> Iterator[None]:
    """Keep freed memory inside the block; give it back after it. Does nothing where the C library is not glibc."""
    if platform.libc_ver()[0] != "glibc":
        yield
        return
    library = ctypes.CDLL(None)
    _set(library, RETAINING)
    try:
        yield
    finally:
        _set(library, DEFAULTS)
        gc.collect()
        library.malloc_trim(0)


def _set(library: ctypes.CDLL, values: dict[int, int]) -> None:
    for name, value in values.items():
        library.mallopt(name, value)
