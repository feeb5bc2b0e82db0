"""Opening a bundle: hashes first, then the golden examples, then the answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from luthier.artifacts.bundle import BundleManifest, Golden, bundle_folder, choose_entry, open_bundle, read_goldens
from luthier.errors import ArtifactError
from luthier.inference.goldens import replay
from luthier.inference.predictor import Predictor


def load(path: str | Path, *, entry: str | None = None) -> Predictor:
    """Return the predictor of a bundle, or of the bundle in a run's folder.

    Every file's hash is checked and the golden examples are replayed.

    Args:
        path: the folder.
        entry: which of several entries of a combined bundle; None takes the only one.

    Raises:
        ArtifactError: a file is damaged, or an answer differs from the evaluated model's.
    """
    folder = bundle_folder(Path(path))
    manifest = choose_entry(open_bundle(folder), entry, where=str(folder))
    predictor = Predictor(folder, manifest)
    replay(predictor, _goldens_of(folder, manifest), manifest.runtimes[0])
    return predictor


def _goldens_of(folder: Path, manifest: BundleManifest) -> list[Golden]:
    """Return the golden examples of a manifest's one entry point."""
    return [golden for golden in read_goldens(folder) if golden.entry == manifest.entry_points[0].name]


@dataclass(frozen=True)
class Verified:
    """What `verify` looked at.

    Attributes:
        files: how many had the right hash.
        goldens: how many were answered as before.
        largest_difference: in any decoded number.
        plain_difference: largest difference in a raw output when Transformers loads the folder by itself; None where
            it cannot, because the bundle keeps an adapter apart from the base.
    """

    files: int
    goldens: int
    largest_difference: float
    plain_difference: float | None


def verify(path: str | Path) -> Verified:
    """Check a bundle's hashes, replay its golden examples, and replay them through plain Transformers as well.

    Raises:
        ArtifactError: what is wrong.
    """
    folder = bundle_folder(Path(path))
    whole = open_bundle(folder)
    plain, worst, count = None, 0.0, 0
    for entry in whole.entry_points:
        manifest = choose_entry(whole, entry.name, where=str(folder))
        predictor, goldens = Predictor(folder, manifest), _goldens_of(folder, manifest)
        worst = max(worst, replay(predictor, goldens, manifest.runtimes[0]))
        plain = None if manifest.adapters else _replay_plain(folder, manifest, predictor, goldens)
        count += len(goldens)
    return Verified(len(whole.files), count, worst, plain)


def _replay_plain(folder: Path, manifest: BundleManifest, predictor: Predictor, goldens: list[Golden]) -> float:
    """Replay through the classes that the folder's own configuration names; return the largest difference."""
    import torch
    import transformers

    from luthier.models.source import quiet_transformers

    model_folder = folder / manifest.backbone.folder
    with quiet_transformers():
        tokenizer = transformers.AutoTokenizer.from_pretrained(model_folder, local_files_only=True)
        config = transformers.AutoConfig.from_pretrained(model_folder, local_files_only=True)
        model = getattr(transformers, config.architectures[0]).from_pretrained(
            model_folder, local_files_only=True, use_safetensors=True, dtype=torch.float32
        )
    model.eval()
    side = f"the plain folder {model_folder.name}/ differs from the bundle: its"
    if predictor.decoding is not None:
        worst = max(_plain_gap(model, golden) for golden in goldens)
        return _within(worst, "log-probabilities", side, folder, manifest)
    if list(config.id2label.values()) != manifest.entry_points[0].targets.get("labels", list(config.id2label.values())):
        raise ArtifactError(f"{side} label map is {list(config.id2label.values())}.", where=str(folder))
    worst = 0.0
    for number, golden in enumerate(goldens):
        encoded = tokenizer(*golden.inputs.values(), truncation=True, return_tensors="pt")
        if encoded["input_ids"][0].tolist() != golden.features[0]["input_ids"]:
            raise ArtifactError(f"{side} token ids on golden example {number} are others.", where=str(folder))
        with torch.inference_mode():
            logits = model(**encoded).logits[0].double().numpy()
        worst = max(worst, float(np.max(np.abs(logits - golden.raw[0]["logits"]))))
    return _within(worst, "logits", side, folder, manifest)


def _plain_gap(model: Any, golden: Golden) -> float:
    """Return how far plain Transformers' log-probabilities of a golden answer's tokens are from the golden's."""
    import torch

    prompt = golden.features[0]["input_ids"]
    answer = [int(token) for token in golden.raw[0]["tokens"] if token >= 0]
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1].double()
    found = torch.log_softmax(logits, dim=-1).gather(1, torch.tensor(answer)[:, None])[:, 0].numpy()
    return float(np.max(np.abs(found - golden.raw[0]["logprob"][: len(answer)])))


def _within(worst: float, what: str, side: str, folder: Path, manifest: BundleManifest) -> float:
    if worst > manifest.runtimes[0].raw_tolerance:
        raise ArtifactError(f"{side} {what} differ by {worst:.3g}.", where=str(folder))
    return worst
