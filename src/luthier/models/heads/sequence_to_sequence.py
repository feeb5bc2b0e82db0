"""The sequence-to-sequence head: token probabilities of an answer, from the decoder's states before each token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from luthier.errors import ModelError
from luthier.models.heads.base import width
from luthier.models.heads.language_model import TokenHead, sums, token_loss

BIASED = ("bart", "marian")
"""Model types whose plain class adds a fixed number to the logit of each token (`final_logits_bias`)."""


class SequenceToSequenceHead(TokenHead):
    """Log-probabilities of an answer's tokens.

    A tied head has no weight of its own: it reads the decoder's input embedding, so the weight is trained, frozen and
    saved where the backbone's is.

    Args:
        hidden: width of the backbone's states.
        vocabulary: number of tokens of the answer's side.
        tied: whether the output weight is the decoder's input embedding.
        scaled: whether states are multiplied by `hidden ** -0.5` first, as in the first T5 (v1.1 and FLAN are not).
        bias: whether each token has a fixed number that is added to its logit; it never trains.
    """

    bias: Tensor | None

    def __init__(self, *, hidden: int, vocabulary: int, tied: bool, scaled: bool = False, bias: bool = False) -> None:
        super().__init__(hidden=hidden, vocabulary=vocabulary, tied=tied)
        self.scale = hidden**-0.5 if scaled else 1.0
        self.register_buffer("bias", torch.zeros(1, vocabulary) if bias else None)

    @classmethod
    def follow(cls, config: Any) -> dict[str, Any]:
        """Return what follows from an encoder-decoder's configuration.

        Transformers reads a T5 whose `tie_word_embeddings` is false as one with an output of its own and no scaling,
        and remembers that as `scale_decoder_outputs` alone.

        Raises:
            ModelError: the two sides have vocabularies of their own.
        """
        if not getattr(config, "share_encoder_decoder_embeddings", True):
            raise ModelError(
                "has a vocabulary for each side; this version reads one tokenizer for both.",
                fix="Choose a model with share_encoder_decoder_embeddings: true.",
            )
        scaled = bool(getattr(config, "scale_decoder_outputs", False))
        tied = scaled if config.model_type == "t5" else bool(getattr(config, "tie_word_embeddings", True))
        size = {"hidden": width(config), "vocabulary": int(config.vocab_size)}
        return {**size, "tied": tied, "scaled": scaled, "bias": config.model_type in BIASED}

    def attach(self, backbone: nn.Module) -> None:
        """Take the decoder's input embedding of the backbone that this head stands on."""
        self._embedding = (backbone.get_decoder().get_input_embeddings(),)  # type: ignore[operator]

    def logits(self, states: Tensor) -> Tensor:
        """Return (..., V) logits of states (..., H): for generation."""
        found = self.product(states * self.scale)
        return found if self.bias is None else found + self.bias[0]

    def forward(self, states: Tensor, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return per row the sum of negative log-probabilities and the number of the answer's tokens.

        Args:
            states: (B, S, H) before each of the answer's tokens.
            batch: `label_ids` (B, S), and `label_mask` (B, S) that is 1 where a token is real.

        Returns:
            `nll` and `tokens`, (B,) each; outside training also `correct`, how many tokens were the likeliest.
        """
        picked = batch["label_mask"].bool()
        chosen = states[picked] * self.scale
        bias = None if self.bias is None else self.bias[0]
        target = batch["label_ids"][picked]
        loss, correct = token_loss(chosen, self.weight, target, count=not self.training, bias=bias)
        return sums(picked, loss, None if self.training else correct)
