"""Texts read through overlapping windows: which token stands for which part of the text, and what windows agree on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier.data.features import FeatureBlock
from luthier.data.text import TextEncoder, Window
from luthier.errors import ModelError
from luthier.tasks.entities import Document, Place

NO_PLACE: Place = (-1, -1)


def check_stride(stride: int, encoder: TextEncoder) -> None:
    """Raise a `ModelError` where windows would not move forward."""
    room = encoder.max_length - encoder.special_tokens
    if stride >= room:
        raise ModelError(
            f"the task's stride must be less than the {room} tokens of a window; got {stride}.",
            fix="Lower the stride, or raise model.max_length.",
        )


def windows_of_texts(encoder: TextEncoder, texts: Sequence[str], stride: int) -> list[list[Window]]:
    """Return each text's windows."""
    return encoder.windows(texts, stride=stride)


def windows_of_lines(encoder: TextEncoder, texts: Sequence[str], stride: int) -> list[list[Window]]:
    """Return each text's windows, none of which goes beyond a line; blank lines have none, unless all are blank."""
    lines: list[str] = []
    places: list[tuple[int, int]] = []  # of each line: its text, and where it begins in it
    for number, text in enumerate(texts):
        start, before = 0, len(lines)
        for line in text.split("\n"):
            if line.strip():
                lines.append(line)
                places.append((number, start))
            start += len(line) + 1
        if len(lines) == before:
            lines.append(text)
            places.append((number, 0))
    found: list[list[Window]] = [[] for _ in texts]
    for (number, start), parts in zip(places, encoder.windows(lines, stride=stride), strict=True):
        found[number] += [replace(part, spans=np.where(part.spans < 0, -1, part.spans + start)) for part in parts]
    return found


def first_tokens(document: Document, windows: Sequence[Window]) -> dict[Place, Place]:
    """Return `{place of a token: place that it stands for}` for the first token of each unit.

    A token that covers several units stands for all of them; a unit that no token reaches is in no place.

    Args:
        document: what was tokenized.
        windows: of the whole document.
    """
    units = document.units
    owner = np.full(len(document.text), -1, np.int64)
    for number, (start, end) in enumerate(units):
        owner[start:end] = number
    spans = np.unique(np.concatenate([window.spans for window in windows]), axis=0)
    found: dict[Place, Place] = {}
    claimed = -1
    for start, end in spans.tolist():
        inside = owner[start:end] if start >= 0 else owner[:0]
        inside = inside[inside > claimed]
        if len(inside):
            first, claimed = int(inside[0]), int(inside[-1])
            found[start, end] = (units[first][0], units[claimed][1])
    return found


def places_of(window: Window, stand_for: Mapping[Place, Place]) -> list[Place]:
    """Return what each token of a window stands for; (-1, -1) for special and for following tokens."""
    found: list[Place] = []
    before: Place | None = None
    for start, end in window.spans.tolist():
        here = (start, end)
        repeated = here == before  # a character of several byte tokens
        found.append(NO_PLACE if repeated else stand_for.get(here, NO_PLACE))
        before = here
    return found


def overlap(ends: NDArray[Any], starts: NDArray[Any]) -> bool:
    """Return whether a window shares places with the next one.

    Args:
        ends: (T,) of the window's places, -1 where a token stands for none.
        starts: (T,) of the next window's.
    """
    begun = starts[starts >= 0]
    return len(begun) > 0 and int(ends.max(initial=-1)) > int(begun[0])


def context(length: int, *, first: bool, last: bool) -> NDArray[np.float64]:
    """Return (length,) how many tokens of context each token of a window has on its poorer side.

    The beginning and the end of the text take no context away.
    """
    place = np.arange(length, dtype=np.float64)
    left = np.full(length, np.inf) if first else place
    right = np.full(length, np.inf) if last else length - 1 - place
    around: NDArray[np.float64] = np.minimum(left, right)
    return around


def window_block(
    rows: NDArray[np.int64],
    windows: Sequence[Sequence[Window]],
    *,
    types: bool,
    ragged: Mapping[str, Sequence[NDArray[np.int32]]],
    scalar: Mapping[str, NDArray[Any]],
) -> FeatureBlock:
    """Return a feature per window.

    Args:
        rows: (R,) group of each text.
        windows: of each text.
        types: whether token types are a field.
        ragged: further ragged fields, a row per window.
        scalar: further `{field: (N,)}`; `full_length`, `cut` and `unknown`, which the check reads, are added.
    """
    flat = [window for one in windows for window in one]
    number = len(flat)
    lists: dict[str, Sequence[NDArray[np.int32]]] = {"input_ids": [window.ids for window in flat], **ragged}
    if types:
        lists["token_type_ids"] = [window.types for window in flat]
    return FeatureBlock(
        group=np.repeat(rows, [len(one) for one in windows]),
        cost={"encoder_tokens": np.fromiter((len(window.ids) for window in flat), np.int64, number)},
        ragged=lists,
        scalar={
            "full_length": np.fromiter((window.full_length for window in flat), np.int32, number),
            "cut": np.zeros(number, np.int32),  # windows read the whole text
            "unknown": np.fromiter((window.unknown for window in flat), np.int32, number),
            **scalar,
        },
    )
