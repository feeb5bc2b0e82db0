"""States of a decoder before each next token, with a prompt that rows share computed once.

Rows of a batch often begin alike: a chat template puts the same system message before every prompt. In a causal model
the states of a common beginning do not depend on what follows, so they are computed for one row and their keys and
values are expanded to all: the same sums in less work, gradients included.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from luthier.models.packing import block_mask

LEAST_SHARED = 8  # tokens; below it a second pass costs more than it saves


def next_token_states(backbone: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """Return (B, S, H): the states of the last S of the T - 1 positions that have a next token.

    Every state before a labelled token is among them.

    Args:
        backbone: a decoder with right-padded input.
        batch: `input_ids`, `attention_mask` and `label_mask`, (B, T) each; packed rows have `position_ids` and
            `segments` as well, see `models.packing`.
    """
    if "segments" in batch:
        return _packed_states(backbone, batch)
    ids, mask = batch["input_ids"][:, :-1], batch["attention_mask"][:, :-1]
    shared = shared_tokens(batch) if can_share(backbone) else 0
    if shared == 0:
        found: Tensor = backbone(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        return found
    start = backbone(input_ids=ids[:1, :shared], attention_mask=mask[:1, :shared], use_cache=True).past_key_values
    cache = expanded(start, len(ids))
    states: Tensor = backbone(
        input_ids=ids[:, shared:], attention_mask=mask, past_key_values=cache, use_cache=True
    ).last_hidden_state
    return states


def _packed_states(backbone: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """Return the states of rows that share sequences and do not see each other."""
    found: Tensor = backbone(
        input_ids=batch["input_ids"][:, :-1],
        attention_mask=block_mask(batch["segments"][:, :-1]),
        position_ids=batch["position_ids"][:, :-1],
        use_cache=False,
    ).last_hidden_state
    return found


def expanded(cache: Any, rows: int) -> Any:
    """Return keys and values of one row as those of several, without copying them."""
    from transformers import DynamicCache

    size = (rows, -1, -1, -1)
    return DynamicCache([(layer.keys.expand(size), layer.values.expand(size)) for layer in cache.layers])


def shared_tokens(batch: Mapping[str, Tensor]) -> int:
    """Return how many tokens at the start are the same in all rows and followed by the state before any label."""
    ids, mask, labels = batch["input_ids"], batch["attention_mask"], batch["label_mask"]
    if len(ids) < 2:
        return 0
    alike = (ids == ids[:1]).all(dim=0) & mask.bool().all(dim=0) & ~labels.bool().any(dim=0)
    common = int(alike.long().cumprod(dim=0).sum()) - 1  # the state before the first label must be every row's own
    return common if common >= LEAST_SHARED else 0


def can_share(backbone: nn.Module) -> bool:
    """Return whether the states of a beginning are the same in every row: no dropout, no prompt of a method's own."""
    if getattr(getattr(backbone, "active_peft_config", None), "is_prompt_learning", False):
        return False
    if any(getattr(module, "gradient_checkpointing", False) for module in backbone.modules()):
        return False
    return not backbone.training or not any(_drops(module) for module in backbone.modules())


def _drops(module: nn.Module) -> bool:
    probability: Any = getattr(module, "p", 0.0) if isinstance(module, nn.Dropout) else 0.0
    return float(probability) > 0 or float(getattr(module, "attention_dropout", 0.0) or 0.0) > 0
