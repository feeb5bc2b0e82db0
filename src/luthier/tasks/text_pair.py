"""Classification of two texts read together: one label out of several for a pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from luthier.data.features import FeatureBlock, Field
from luthier.data.text import TextEncoder
from luthier.tasks.base import Role, Targets, token_fields
from luthier.tasks.encoding import text_block
from luthier.tasks.text_classification import TextClassification


class TextPair(TextClassification):
    """One label out of several for two texts in one sequence (a cross-encoder).

    The first text's tokens have the type 0, the second one's 1, where the model has types. Of a pair that is too long
    the longer text is cut first.
    """

    name: ClassVar[str] = "text-pair"
    roles: ClassVar[tuple[Role, ...]] = (Role("first"), Role("second"), Role("label", target=True))

    def fields(self, encoder: TextEncoder) -> dict[str, Field]:
        """Return the padding of token ids and token types."""
        return token_fields(encoder, types=True)

    def encode(
        self,
        columns: Mapping[str, Sequence[Any]],
        rows: NDArray[np.int64],
        encoder: TextEncoder,
        target: NDArray[np.int64] | None,
        targets: Targets,
    ) -> FeatureBlock:
        """Return one feature per row: `input_ids`, `token_type_ids`, and `full_length` and `unknown` for the check."""
        pairs = list(zip(columns["first"], columns["second"], strict=True))
        scalar = {} if target is None else {"label": target}
        return text_block(rows, encoder.encode(pairs), encoder, scalar, types=True)
