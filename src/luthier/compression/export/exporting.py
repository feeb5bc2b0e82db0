"""A bundle written as a bundle for another runtime.

The golden examples are answered in the new runtime, and batches of several sizes and lengths are compared with torch,
before the new bundle gets its name. Covered: models that score (classification, entities, pairs, embeddings, ...).
Not covered: models that write text, adapters that are kept apart from their base.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from luthier.artifacts.bundle import (
    MODEL,
    BundleManifest,
    Runtime,
    bundle_folder,
    choose_runtime,
    open_bundle,
    read_goldens,
)
from luthier.artifacts.files import sha256_file
from luthier.artifacts.manifest import MANIFEST, new_folder, seal
from luthier.compression.export.agreement import largest_difference, shapes
from luthier.compression.export.formats import FORMATS, Format
from luthier.compression.export.traceable import Batch, Traceable, traceable
from luthier.errors import ArtifactError
from luthier.inference.goldens import replay
from luthier.inference.plain import replay_plain
from luthier.inference.predictor import Predictor
from luthier.inference.runtimes import TorchScorer
from luthier.version import __version__

LOOSER = 10
"""How much further than in torch a decoded number may be from the evaluated model's: other kernels round otherwise."""
PLAIN = "transformers"
LICENCES = "licences"
WEIGHTS = shutil.ignore_patterns("*.safetensors", "*.bin")


@dataclass(frozen=True)
class Exported:
    """What was written, and what was measured of it.

    Attributes:
        folder: a new bundle, or for `transformers` a plain folder.
        format: a key of `FORMATS`, or `transformers`.
        seconds: to write and compare it.
        bytes: of all its files.
        goldens: how many examples were answered as when they were evaluated.
        golden_difference: largest in any decoded number of theirs; for `transformers` in any raw output.
        shapes: how many batch sizes and lengths were compared with torch; 0 without a graph.
        torch_difference: largest in any raw output over them; None without a graph.
        attention_nodes: fused ones in the graph; None without a graph.
    """

    folder: Path
    format: str
    seconds: float
    bytes: int
    goldens: int
    golden_difference: float
    shapes: int = 0
    torch_difference: float | None = None
    attention_nodes: int | None = None


def export(bundle: str | Path, to: str, out: str | Path) -> Exported:
    """Write a bundle in another form.

    Args:
        bundle: its folder, or the run's folder that holds it.
        to: a key of `FORMATS` (a bundle for another runtime), or `transformers` (a plain folder).
        out: the new folder, which must not be there yet.

    Returns:
        What was written and measured.

    Raises:
        ArtifactError: the bundle is damaged or of a kind that is not exported, or the new one answers otherwise.
        ModelError: the model cannot be exported, or a package is not installed.
    """
    started = time.perf_counter()
    target, source = Path(out), bundle_folder(Path(bundle))
    if to not in (*FORMATS, PLAIN):
        raise ArtifactError(f"format must be one of {', '.join((*FORMATS, PLAIN))}; got {to}.")
    if target.exists():
        raise ArtifactError("exists already.", where=str(target), fix="Choose another folder.")
    before = Predictor(source, _exportable(source))
    with new_folder(target) as folder:
        found = _plain(before, folder) if to == PLAIN else _graph(before, FORMATS[to], folder)
    size = sum(one.stat().st_size for one in target.rglob("*") if one.is_file())
    seconds, goldens = time.perf_counter() - started, len(read_goldens(source))
    return Exported(folder=target, format=to, seconds=seconds, bytes=size, goldens=goldens, **found)


def _plain(before: Predictor, folder: Path) -> dict[str, Any]:
    """Write the plain Transformers folder, replayed through the classes that its configuration names."""
    worst = replay_plain(before.folder, before.manifest, before, read_goldens(before.folder))
    shutil.copytree(before.folder / MODEL, folder, dirs_exist_ok=True)
    shutil.copyfile(before.folder / "README.md", folder / "README.md")
    if (before.folder / LICENCES).exists():
        shutil.copytree(before.folder / LICENCES, folder / LICENCES)
    return {"golden_difference": worst}


def _graph(before: Predictor, kind: Format, folder: Path) -> dict[str, Any]:
    """Write a bundle that runs a graph."""
    source = before.folder
    if before.decoding is not None:
        raise ArtifactError(
            f"task {before.entry.task} writes text, which graphs do not here.",
            where=str(source),
            fix="Serve the bundle as it is, with torch, or export it to transformers.",
        )
    assert isinstance(before.scorer, TorchScorer), "the torch runtime was chosen"
    batch = _golden_batch(before)
    model = traceable(before.scorer.model, batch)
    _copy(source, folder)
    path = folder / kind.file
    path.parent.mkdir(parents=True)
    attention = kind.write(model, path)
    made = _manifest(source, before.manifest, kind, model, sha256_file(folder / kind.weights))
    after = Predictor(folder, made)
    decoded = replay(after, read_goldens(source), made.runtimes[0])
    longest, allowed = before.entry.preprocess.max_length, made.runtimes[0].raw_tolerance
    raw = largest_difference(before.scorer, after.scorer, batch, longest, before.per_token)
    if raw > allowed:
        raise ArtifactError(
            f"answers in {kind.runtime} differ from torch by {raw:.3g} (allowed {allowed:g}).",
            where=str(source),
            fix="Serve the bundle as it is, with torch.",
        )
    with (folder / "README.md").open("a", encoding="utf-8") as card:
        card.write(_note(made, raw))
    seal(folder, made.model_dump(mode="json", exclude={"files", "self"}))
    return {
        "golden_difference": decoded,
        "shapes": len(shapes(longest)),
        "torch_difference": raw,
        "attention_nodes": attention,
    }


def _exportable(source: Path) -> BundleManifest:
    """Return a bundle's manifest with its torch runtime.

    Raises:
        ArtifactError: the bundle is of a kind that is not exported.
    """
    manifest = open_bundle(source)
    if len(manifest.entry_points) > 1:
        fix = "Export the bundles that it was combined of."
        raise ArtifactError(f"holds {len(manifest.entry_points)} entries.", where=str(source), fix=fix)
    if manifest.adapters:
        raise ArtifactError(
            "keeps an adapter apart from its base.", where=str(source), fix="Train with lora and merge: true, or full."
        )
    if all(runtime.name != "torch" for runtime in manifest.runtimes):
        fix = "Export the bundle that it was made of."
        raise ArtifactError("has no torch weights: it was exported itself.", where=str(source), fix=fix)
    return choose_runtime(manifest, "torch", where=str(source))


def _golden_batch(predictor: Predictor) -> Batch:
    """Return all golden examples as one collated batch, of two rows or more."""
    features = predictor.features([golden.inputs for golden in read_goldens(predictor.folder)])
    return features.collate(np.resize(np.arange(len(features)), max(2, len(features))))


def _copy(source: Path, folder: Path) -> None:
    """Copy all but the manifest and the weights."""
    for path in source.iterdir():
        if path.is_dir():
            shutil.copytree(path, folder / path.name, ignore=WEIGHTS if path.name == MODEL else None)
        elif path.name != MANIFEST:
            shutil.copyfile(path, folder / path.name)


def _manifest(source: Path, manifest: BundleManifest, kind: Format, model: Traceable, weights: str) -> BundleManifest:
    """Return the new bundle's manifest."""
    old = manifest.runtimes[0]
    runtime = Runtime(
        name=kind.runtime,
        precision="fp32",
        tolerance=LOOSER * old.tolerance,
        raw_tolerance=old.raw_tolerance,
        processor=old.processor,
        file=kind.file,
        inputs=model.inputs,
        outputs=model.outputs,
    )
    return manifest.model_copy(
        update={
            "luthier": __version__,
            "heads": [head.model_copy(update={"tensors": {}, "file": None}) for head in manifest.heads],
            "runtimes": [runtime],
            "weights_sha256": weights,
            "parent": sha256_file(source / MANIFEST),
            "files": {},
        }
    )


def _note(manifest: BundleManifest, raw: float) -> str:
    """Return what the model card says of the export."""
    runtime = manifest.runtimes[0]
    return (
        f"\n## Export\n\nThis bundle is a {runtime.precision} graph for {runtime.name}, exported from the bundle whose "
        f"manifest has the sha256 `{manifest.parent}`. The evaluation is that bundle's. The golden examples are "
        f"answered as they were there; the largest difference from torch in a raw output was {raw:.1e}.\n"
    )
