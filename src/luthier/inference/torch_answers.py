"""The generator of an encoder-decoder in PyTorch: a text is read once, keys and values of both sides are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from luthier.data.batches import pad
from luthier.inference.tokens import Ids
from luthier.models.assembly import TaskModel
from luthier.models.reading import start_token


@dataclass(frozen=True)
class Reading:
    """What is remembered of a batch.

    Attributes:
        cache: keys and values of each layer, of the answer so far and of the text.
        states: (B, T, H) of the encoder.
        mask: (B, T) 1 where a token of the text is real.
    """

    cache: Any
    states: Tensor
    mask: Tensor


class AnswerGenerator:
    """An encoder-decoder with its sequence-to-sequence head.

    Args:
        model: in evaluation mode.
    """

    def __init__(self, model: TaskModel) -> None:
        self._backbone: Any = model.backbone
        self._head: Any = next(iter(model.heads.values()))
        self._start = start_token(model.backbone)

    def prefill(self, prompts: Sequence[Ids]) -> tuple[NDArray[np.float32], Reading]:
        """Read texts; return the logits of the answers' first tokens."""
        ids, mask = (torch.from_numpy(array) for array in pad(list(prompts), 0))
        with torch.inference_mode():
            states = self._backbone.get_encoder()(input_ids=ids, attention_mask=mask).last_hidden_state
            start = torch.full((len(prompts), 1), self._start)
            return self._write(start, states, mask, None)

    def step(self, state: Reading, tokens: Ids) -> tuple[NDArray[np.float32], Reading]:
        """Read one more token of each answer; return the next one's logits."""
        ids = torch.from_numpy(np.asarray(tokens, np.int64))[:, None]
        with torch.inference_mode():
            return self._write(ids, state.states, state.mask, state.cache)

    def keep(self, state: Reading, rows: NDArray[np.int64]) -> Reading:
        """Return what is remembered of some rows."""
        chosen = torch.from_numpy(rows)
        with torch.inference_mode():
            state.cache.batch_select_indices(chosen)
        return Reading(state.cache, state.states[chosen], state.mask[chosen])

    def _write(self, ids: Tensor, states: Tensor, mask: Tensor, cache: Any) -> tuple[NDArray[np.float32], Reading]:
        found = self._backbone(
            decoder_input_ids=ids,
            encoder_outputs=(states,),
            attention_mask=mask,
            past_key_values=cache,
            use_cache=True,
        )
        logits = self._head.logits(found.last_hidden_state[:, -1]).float()
        return logits.numpy(), Reading(found.past_key_values, states, mask)
