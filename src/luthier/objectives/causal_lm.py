"""Next-token cross-entropy over the tokens that carry a label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from torch import Tensor, nn

from luthier.errors import TrainingError
from luthier.models.packing import packed


class CausalLM:
    """Cross-entropy of each labelled token given the tokens before it; the weight is the number of labelled tokens.

    Args:
        class_weights: must be absent: tokens are not classes.
        label_smoothing: must be 0: a language model's loss is that of the tokens themselves.
        packing: whether rows share sequences, see `models.packing`; the sums are the same.

    Raises:
        TrainingError: one of them is set.
    """

    whole_batch: ClassVar[bool] = False

    def __init__(
        self,
        *,
        class_weights: Sequence[float] | None = None,
        label_smoothing: float = 0.0,
        packing: bool = False,
    ) -> None:
        if class_weights is not None:
            raise TrainingError("train.class_weights must be none for a language model.", fix="Take it out.")
        if label_smoothing:
            raise TrainingError("train.label_smoothing must be 0 for a language model.", fix="Take it out.")
        self.packing = packing

    def step(self, model: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
        """Return `{"loss": (sum over labelled tokens, their number)}`.

        Args:
            model: gives `nll` and `tokens`, a number for each row or packed sequence.
            batch: what the model reads, and which of its tokens are labelled.
        """
        outputs = model(packed(batch) if self.packing else batch)
        return {"loss": (outputs["nll"].sum(), outputs["tokens"].sum())}
