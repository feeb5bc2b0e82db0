"""States of frozen layers, computed once and kept on disk.

A row's states at the top of layers that never train are the same in every epoch, so they are computed once, without
dropout, and read from a memory-mapped file afterwards. Where the whole backbone is frozen and the heads read one state
of a row, that state alone is kept.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from luthier.artifacts.files import home
from luthier.artifacts.manifest import new_folder, read_manifest, seal, verify_files
from luthier.data.batches import Batch, sorted_batches
from luthier.data.features import Features
from luthier.errors import ArtifactError
from luthier.training.gradients import to_torch
from luthier.training.precision import HalfWeights, autocast
from luthier.training.threads import threads

NAME = "states.bin"
TOKENS, LANE_TOKENS = 8192, 2048
"""Of a batch, padding included; of a lane's batch on a CPU."""

IntArray = NDArray[np.int64]
Reduce = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class FrozenFeatures:
    """Features whose batches hold `states` in the place of token ids.

    Attributes:
        features: what they were computed from.
        states: (S, H) fp32, the rows' states end to end.
        offsets: (N + 1,) where each feature's states begin.
        pooled: whether each row has one state.
    """

    features: Features
    states: NDArray[np.float32]
    offsets: IntArray
    pooled: bool

    @property
    def total_cost(self) -> IntArray:
        """As of the features, so that batches are the same."""
        return self.features.total_cost

    @property
    def group(self) -> IntArray:
        """Row numbers of the features."""
        return self.features.group

    def collate(self, indices: Sequence[int] | IntArray) -> Batch:
        """Return `states` (B, T, H), their mask (B, T), and the scalars of some features."""
        if self.pooled:
            states = self.states[self.offsets[indices]][:, None]
            mask = np.ones(states.shape[:2], dtype=np.int64)
            return {**self.features.scalars(indices), "attention_mask": mask, "states": states}
        batch = dict(self.features.collate(indices))
        del batch["input_ids"]
        rows = [self.states[self.offsets[i] : self.offsets[i + 1]] for i in indices]
        states = np.zeros((len(rows), max(map(len, rows), default=0), self.states.shape[1]), dtype=np.float32)
        for place, row in enumerate(rows):
            states[place, : len(row)] = row
        return {**batch, "states": states}


def frozen_features(
    fingerprint: str,
    features: Features,
    index: IntArray,
    backbone: nn.Module,
    *,
    hidden: int,
    precision: str,
    reduce: Reduce | None = None,
    folder: Path | None = None,
) -> FrozenFeatures:
    """Return features with the states of frozen layers, from the cache or computed now.

    Args:
        fingerprint: of everything that decides the states.
        features: with `input_ids` and `attention_mask`.
        index: the features to compute; the others get no states.
        backbone: gives `last_hidden_state`; it is put into evaluation mode.
        hidden: H.
        precision: see `autocast`.
        reduce: (B, T, H) states and (B, T) mask to the one state of a row, (B, H); None keeps all.
        folder: the cache; default `LUTHIER_HOME/cache/states`.
    """
    target = (folder or home() / "cache" / "states") / fingerprint
    lengths = np.zeros(len(features), dtype=np.int64)
    lengths[index] = 1 if reduce else np.diff(features.offsets["input_ids"])[index]
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    shape = (int(offsets[-1]), hidden)
    try:
        verify_files(target, read_manifest(target))
    except ArtifactError:
        shutil.rmtree(target, ignore_errors=True)
        with new_folder(target) as temporary:
            states = np.memmap(temporary / NAME, dtype="<f4", mode="w+", shape=shape)
            _fill(states, offsets, features, index, backbone, precision, reduce)
            states.flush()
            del states
            seal(temporary, {"kind": "states"})
    return FrozenFeatures(
        features, np.memmap(target / NAME, dtype="<f4", mode="r", shape=shape), offsets, reduce is not None
    )


def _fill(
    states: NDArray[np.float32],
    offsets: IntArray,
    features: Features,
    index: IntArray,
    backbone: nn.Module,
    precision: str,
    reduce: Reduce | None,
) -> None:
    """Write the states of some features, in as many lanes as there are threads (see `training.gradients`)."""
    device = next(backbone.parameters()).device
    lanes = torch.get_num_threads() if device.type == "cpu" else 1
    share = torch.get_num_threads() // lanes
    backbone.eval()

    def compute(rows: IntArray) -> None:
        torch.set_num_threads(share)
        inputs = to_torch(features.collate(rows), device)
        mask = inputs["attention_mask"]
        with torch.inference_mode(), autocast(precision, device, keep_casts=False):
            found = backbone(input_ids=inputs["input_ids"], attention_mask=mask).last_hidden_state.float()
            kept = (reduce(found, mask)[:, None] if reduce else found).cpu().numpy()
        for place, row in enumerate(rows):
            start, end = offsets[row], offsets[row + 1]
            states[start:end] = kept[place, : end - start]

    tokens = LANE_TOKENS if device.type == "cpu" else TOKENS
    batches = [index[batch] for batch in sorted_batches(features.total_cost[index], tokens)]
    with threads(None), HalfWeights(backbone, (), precision).in_place(), ThreadPoolExecutor(lanes, "lane") as pool:
        for _ in pool.map(
            compute, batches[::-1]
        ):  # the longest first, so that no lane is left alone with it at the end
            pass
