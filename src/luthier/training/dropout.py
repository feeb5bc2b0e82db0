"""Dropout whose draws are a function of a key.

torch draws dropout from one stream that the whole process shares. Inside `KeyedDropout` each thread draws its own, from
(seed, step, micro-batch, rank), so that micro-batches can be computed side by side, and a run that goes on needs no
generator states.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from luthier.data.draws import key
from luthier.errors import TrainingError

LEVELS = 1 << 16
STREAM = {
    torch.rand,
    torch.randn,
    torch.rand_like,
    torch.randn_like,
    torch.randint,
    torch.randperm,
    torch.bernoulli,
    torch.multinomial,
    torch.normal,
    Tensor.bernoulli_,
    Tensor.uniform_,
    Tensor.normal_,
    Tensor.random_,
}


class KeyedDropout(TorchFunctionMode):
    """Inside the block `dropout`, also the one in fused attention, draws from a key; on this thread alone.

    Deviation from `torch.nn.functional.dropout`: the probability is rounded to a 65,536th, in the scale as well.

    Args:
        parts: the key.
        alone: whether no other thread computes beside this one. If not, a function that draws from torch's shared
            stream is refused: its numbers would depend on which thread came first.
    """

    def __init__(self, *parts: object, alone: bool = True) -> None:
        super().__init__()
        self._bits = np.random.SFC64(key(*parts))
        self._alone = alone

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Take the place of dropout, and pass everything else on."""
        kwargs = kwargs or {}
        if func is F.dropout:
            return self._dropout(*args, **kwargs)
        if func is F.scaled_dot_product_attention:
            return self._attention(*args, **kwargs)
        if func in STREAM and not self._alone:
            raise TrainingError(
                f"train.lanes must be 1 for this model: it draws by {func.__name__}, and lanes would share the stream.",
                fix="Set train.lanes: 1.",
            )
        return func(*args, **kwargs)

    def _dropout(self, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        if not training or p == 0.0:
            return input
        limit = round(p * LEVELS)
        if limit == LEVELS:
            return input * 0.0
        number = input.numel()
        bits = self._bits.random_raw(-(-number // 4)).view(np.uint16)[:number]
        keep = torch.from_numpy(bits >= limit).view(input.shape)
        return input * keep.to(input.dtype).mul_(LEVELS / (LEVELS - limit))

    def _attention(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        """Attend with (B, h, T, d) arrays; with dropout in plain steps, as torch does on a CPU too."""
        if dropout_p == 0.0:
            return F.scaled_dot_product_attention(
                query, key, value, attn_mask, 0.0, is_causal, scale=scale, enable_gqa=enable_gqa
            )
        if enable_gqa:
            repeats = query.size(-3) // key.size(-3)
            key, value = key.repeat_interleave(repeats, -3), value.repeat_interleave(repeats, -3)
        scores = query @ key.transpose(-2, -1) * (1.0 / math.sqrt(query.size(-1)) if scale is None else scale)
        if is_causal:
            seen = torch.ones(query.size(-2), key.size(-2), dtype=torch.bool, device=query.device).tril()
            scores = scores.masked_fill(~seen, -math.inf)
        if attn_mask is not None:
            hidden = attn_mask.dtype == torch.bool
            scores = scores.masked_fill(~attn_mask, -math.inf) if hidden else scores + attn_mask
        return self._dropout(scores.softmax(-1).to(value.dtype), dropout_p) @ value
