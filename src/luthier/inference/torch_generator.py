"""The generator in PyTorch: keys and values of what was read are kept, a shared beginning is read once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from luthier.inference.tokens import Ids
from luthier.models.assembly import TaskModel
from luthier.models.causal import LEAST_SHARED, can_share, expanded


@dataclass(frozen=True)
class State:
    """What is remembered of a batch.

    Attributes:
        cache: keys and values of each layer.
        mask: (B, L) 1 where what was read is real.
        positions: (B,) the position of each row's next token.
    """

    cache: Any
    mask: Tensor
    positions: Tensor


class TorchGenerator:
    """A decoder with its language-model head.

    Args:
        model: in evaluation mode.
    """

    def __init__(self, model: TaskModel) -> None:
        self._backbone = model.backbone
        self._head: Any = next(iter(model.heads.values()))

    def prefill(self, prompts: Sequence[Ids]) -> tuple[NDArray[np.float32], State]:
        """Read prompts, padded on the left behind what they share; return the next token's logits."""
        with torch.inference_mode():
            shared = _shared(prompts) if can_share(self._backbone) else 0
            rest = [prompt[shared:] for prompt in prompts]
            width = max(len(one) for one in rest)
            ids = torch.zeros(len(rest), width, dtype=torch.int64)
            mask = torch.zeros(len(rest), width, dtype=torch.int64)
            for row, one in enumerate(rest):
                ids[row, width - len(one) :] = torch.from_numpy(np.asarray(one, np.int64))
                mask[row, width - len(one) :] = 1
            cache = None
            if shared:
                start = torch.from_numpy(np.asarray(prompts[0][:shared], np.int64))[None]
                cache = expanded(self._backbone(input_ids=start, use_cache=True).past_key_values, len(rest))
            positions = shared + (mask.cumsum(dim=1) - 1).clamp(min=0)
            whole = torch.cat([torch.ones(len(rest), shared, dtype=torch.int64), mask], dim=1)
            return self._read(ids, whole, positions, cache)

    def step(self, state: State, tokens: Ids) -> tuple[NDArray[np.float32], State]:
        """Read one more token per row; return the next one's logits."""
        with torch.inference_mode():
            ids = torch.from_numpy(np.asarray(tokens, np.int64))[:, None]
            mask = torch.cat([state.mask, torch.ones(len(ids), 1, dtype=torch.int64)], dim=1)
            return self._read(ids, mask, state.positions[:, None], state.cache)

    def keep(self, state: State, rows: NDArray[np.int64]) -> State:
        """Return what is remembered of some rows."""
        chosen = torch.from_numpy(rows)
        with torch.inference_mode():
            state.cache.batch_select_indices(chosen)
        return State(state.cache, state.mask[chosen], state.positions[chosen])

    def _read(self, ids: Tensor, mask: Tensor, positions: Tensor, cache: Any) -> tuple[NDArray[np.float32], State]:
        found = self._backbone(
            input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
        )
        logits = self._head.logits(found.last_hidden_state[:, -1]).float()
        return logits.numpy(), State(found.past_key_values, mask, positions[:, -1] + 1)


def _shared(prompts: Sequence[Ids]) -> int:
    """Return how many tokens all prompts begin with, one of each left over; 0 where that saves nothing."""
    if len(prompts) < 2:
        return 0
    width = min(len(prompt) for prompt in prompts) - 1
    first = np.stack([prompt[:width] for prompt in prompts])
    common = int(np.cumprod((first == first[:1]).all(axis=0)).sum()) if width > 0 else 0
    return common if common >= LEAST_SHARED else 0
