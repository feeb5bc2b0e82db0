"""Bundles made of another bundle: what is copied, and what the new manifest says."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from luthier.artifacts.bundle import MODEL, BundleManifest, Runtime, choose_runtime, open_bundle, read_goldens
from luthier.artifacts.files import sha256_file
from luthier.artifacts.manifest import MANIFEST
from luthier.compression.export.traceable import Batch
from luthier.errors import ArtifactError
from luthier.inference.predictor import Predictor
from luthier.version import __version__

WEIGHTS = shutil.ignore_patterns("*.safetensors", "*.bin")


def torch_manifest(source: Path) -> BundleManifest:
    """Return a bundle's manifest with its torch runtime.

    Raises:
        ArtifactError: the bundle is of a kind that no other is made of.
    """
    manifest = open_bundle(source)
    refuse_several(manifest, source)
    if manifest.adapters:
        raise ArtifactError(
            "keeps an adapter apart from its base.", where=str(source), fix="Train with lora and merge: true, or full."
        )
    if all(runtime.name != "torch" or runtime.file is not None for runtime in manifest.runtimes):
        fix = "Take the bundle that it was made of."
        raise ArtifactError("has no weights in fp32: it was exported or compressed itself.", where=str(source), fix=fix)
    return choose_runtime(manifest, "torch", where=str(source))


def refuse_several(manifest: BundleManifest, source: Path) -> None:
    """Refuse a combined bundle.

    Raises:
        ArtifactError: it is one.
    """
    if len(manifest.entry_points) > 1:
        fix = "Take the bundles that it was combined of."
        raise ArtifactError(f"holds {len(manifest.entry_points)} entries.", where=str(source), fix=fix)


def refuse_writing(predictor: Predictor) -> None:
    """Refuse a model that writes text.

    Raises:
        ArtifactError: it does.
    """
    if predictor.decoding is not None:
        raise ArtifactError(
            f"task {predictor.entry.task} writes text, which graphs do not here.",
            where=str(predictor.folder),
            fix="Serve the bundle as it is, with torch, or export it to transformers.",
        )


def golden_batch(predictor: Predictor) -> Batch:
    """Return all golden examples as one collated batch, of two rows or more."""
    features = predictor.features([golden.inputs for golden in read_goldens(predictor.folder)])
    return features.collate(np.resize(np.arange(len(features)), max(2, len(features))))


def copy_parts(source: Path, folder: Path) -> None:
    """Copy all of a bundle but its manifest and its weights."""
    for path in source.iterdir():
        if path.is_dir():
            shutil.copytree(path, folder / path.name, ignore=WEIGHTS if path.name == MODEL else None)
        elif path.name != MANIFEST:
            shutil.copyfile(path, folder / path.name)


def graph_manifest(source: Path, manifest: BundleManifest, runtime: Runtime, weights: str) -> BundleManifest:
    """Return the manifest of a bundle that runs a graph.

    Args:
        source: the bundle that it is made of.
        manifest: of that.
        runtime: the graph's.
        weights: sha256 of the file that holds the graph's weights.
    """
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
