"""Random numbers that are a function of what they are for, never of how many were drawn before."""

from __future__ import annotations

import hashlib

import numpy as np


def key(*parts: object) -> int:
    """Return a 128-bit number from the parts, such as `key(seed, "order", epoch)`."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big")


def generator(*parts: object) -> np.random.Generator:
    """Return a NumPy generator that depends only on the parts."""
    return np.random.Generator(np.random.Philox(key=key(*parts)))


def torch_seed(*parts: object) -> int:
    """Return a seed that `torch.manual_seed` takes (63 bits)."""
    return key(*parts) >> 65
