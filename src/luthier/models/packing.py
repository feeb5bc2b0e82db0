"""Several rows in one sequence without padding between them; each row sees itself alone.

A row's tokens keep the positions that they have alone, and a mask lets a token see the tokens before it in its own row
only, so losses and gradients are those of the rows apart (Krell et al. 2021, Efficient Sequence Packing without
Cross-contamination).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

CAPACITY = 512
"""Tokens of a packed sequence; attention's work grows with their square."""
PACKABLE = ("gpt2", "llama", "qwen2")
"""Model types whose attention takes positions and a mask for each pair of tokens."""


def packed(batch: Mapping[str, Tensor], capacity: int = CAPACITY) -> dict[str, Tensor]:
    """Return padded rows as fewer, fuller sequences.

    Args:
        batch: `input_ids`, `attention_mask` and `label_mask`, (B, T) each, padded on the right.
        capacity: tokens of a sequence; a longer row makes one alone.

    Returns:
        The same fields, (S, L) each, with `position_ids` and `segments` (S, L): the number of a token's row in its
        sequence, from 1, and 0 for padding.
    """
    lengths = batch["attention_mask"].sum(dim=1).tolist()
    bins = _bins(lengths, capacity)
    width = max(sum(lengths[row] for row in rows) for rows in bins)
    names = ("input_ids", "attention_mask", "label_mask")
    ids = batch["input_ids"]
    found = {name: torch.zeros(len(bins), width, dtype=ids.dtype, device=ids.device) for name in names}
    found["position_ids"], found["segments"] = (
        torch.zeros_like(found["input_ids"]),
        torch.zeros_like(found["input_ids"]),
    )
    for place, rows in enumerate(bins):
        start = 0
        for number, row in enumerate(rows, start=1):
            part = slice(start, start + lengths[row])
            for name in names:
                found[name][place, part] = batch[name][row, : lengths[row]].to(ids.dtype)
            found["position_ids"][place, part] = torch.arange(lengths[row], device=ids.device)
            found["segments"][place, part] = number
            start += lengths[row]
    return found


def block_mask(segments: Tensor) -> Tensor:
    """Return the (S, 1, L, L) numbers that are added to attention: 0 within a row up to each token, else very low.

    Args:
        segments: (S, L) from `packed`.
    """
    same = segments[:, :, None] == segments[:, None, :]
    seen = same & torch.ones_like(same[0]).tril()
    low = torch.finfo(torch.float32).min
    return torch.zeros(seen.shape, device=segments.device).masked_fill(~seen, low)[:, None]


def _bins(lengths: list[int], capacity: int) -> list[list[int]]:
    """Return rows by sequence: the longest first, each into the first sequence that has room."""
    bins: list[list[int]] = []
    room: list[int] = []
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        place = next((place for place, left in enumerate(room) if left >= lengths[row]), len(bins))
        if place == len(bins):
            bins.append([])
            room.append(max(capacity, lengths[row]))
        bins[place].append(row)
        room[place] -= lengths[row]
    return bins
