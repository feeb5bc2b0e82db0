"""The methods by name."""

from __future__ import annotations

from luthier.models.tuning.base import Method
from luthier.models.tuning.full import Full

METHODS: dict[str, type[Method]] = {
    "full": Full,
}
