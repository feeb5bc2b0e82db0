"""Tuning methods: which parameters move. One file per method, and the table that names them."""

from __future__ import annotations

from luthier.models.tuning.base import Method
from luthier.models.tuning.full import Full

METHODS: dict[str, type[Method]] = {
    "full": Full,
}

__all__ = ["METHODS", "Full", "Method"]
