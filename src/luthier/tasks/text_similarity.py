"""Similarity of two texts read together: a number for a pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from luthier.data.features import FeatureBlock, Field
from luthier.data.text import TextEncoder
from luthier.tasks.base import Role, Targets, token_fields
from luthier.tasks.encoding import text_block
from luthier.tasks.regression import Regression, standardised


class TextSimilarity(Regression):
    """A number for two texts in one sequence (a cross-encoder), such as how alike they are.

    It has everything of `regression`; the headline is Spearman's correlation, as in the semantic text similarity tasks
    of SemEval. Of a pair that is too long the longer text is cut first.
    """

    name: ClassVar[str] = "text-similarity"
    roles: ClassVar[tuple[Role, ...]] = (Role("first"), Role("second"), Role("value", target=True))
    evaluation: ClassVar[str] = "similarity"
    headline: ClassVar[str] = "spearman"

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
        """Return one feature per row: `input_ids`, `token_type_ids`, and in training `value` in standard deviations."""
        pairs = list(zip(columns["first"], columns["second"], strict=True))
        known = {} if target is None else {"value": standardised(columns["value"], targets)}
        return text_block(rows, encoder.encode(pairs), encoder, known, types=True)
