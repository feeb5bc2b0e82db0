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
from luthier.inference.predictor import Predictor
from luthier.inference.runtimes import TorchScorer
from luthier.version import __version__

LOOSER = 10
"""How much further than in torch a decoded number may be from the evaluated model's: other kernels round otherwise."""
WEIGHTS = shutil.ignore_patterns("*.safetensors", "*.bin")


@dataclass(frozen=True)
class Exported:
    """A bundle that was written, and what was measured of it.

    Attributes:
        folder: the new bundle.
        runtime: what runs it.
        seconds: to write and compare it.
        graph_bytes: size of the graph with its weights.
        attention_nodes: fused ones in the graph.
        goldens: how many examples were answered as when they were evaluated.
        golden_difference: largest in any decoded number of theirs.
        shapes: how many batch sizes and lengths were compared with torch.
        torch_difference: largest in any raw output over them.
    """

    folder: Path
    runtime: str
    seconds: float
    graph_bytes: int
    attention_nodes: int
    goldens: int
    golden_difference: float
    shapes: int
    torch_difference: float


def export(bundle: str | Path, to: str, out: str | Path) -> Exported:
    """Write a bundle for another runtime.

    Args:
        bundle: its folder, or the run's folder that holds it.
        to: a key of `FORMATS`.
        out: the new bundle's folder, which must not be there yet.

    Returns:
        What was written and measured.

    Raises:
        ArtifactError: the bundle is damaged or of a kind that is not exported, or the new one answers otherwise.
        ModelError: the model cannot be exported, or a package is not installed.
    """
    started = time.perf_counter()
    target, source = Path(out), bundle_folder(Path(bundle))
    if to not in FORMATS:
        raise ArtifactError(f"format must be one of {', '.join(FORMATS)}; got {to}.")
    if target.exists():
        raise ArtifactError("exists already.", where=str(target), fix="Choose another folder.")
    manifest = _exportable(source)
    kind, before = FORMATS[to], Predictor(source, manifest)
    if before.decoding is not None:
        raise ArtifactError(
            f"task {before.entry.task} writes text, which {to} graphs do not here.",
            where=str(source),
            fix="Serve the bundle as it is, with torch.",
        )
    assert isinstance(before.scorer, TorchScorer), "the torch runtime was chosen"
    goldens, batch = read_goldens(source), _golden_batch(before)
    model = traceable(before.scorer.model, batch)
    with new_folder(target) as folder:
        _copy(source, folder)
        path = folder / kind.file
        path.parent.mkdir(parents=True)
        attention = kind.write(model, path)
        made = _manifest(source, manifest, kind, model, sha256_file(folder / kind.weights))
        after = Predictor(folder, made)
        decoded = replay(after, goldens, made.runtimes[0])
        longest, per_token = before.entry.preprocess.max_length, before.per_token
        raw, allowed = largest_difference(before.scorer, after.scorer, batch, longest, per_token), made.runtimes[0]
        if raw > allowed.raw_tolerance:
            raise ArtifactError(
                f"answers in {kind.runtime} differ from torch by {raw:.3g} (allowed {allowed.raw_tolerance:g}).",
                where=str(source),
                fix="Serve the bundle as it is, with torch.",
            )
        with (folder / "README.md").open("a", encoding="utf-8") as card:
            card.write(_note(made, raw))
        seal(folder, made.model_dump(mode="json", exclude={"files", "self"}))
        size = sum(one.stat().st_size for one in path.parent.iterdir())
    seconds, count = time.perf_counter() - started, len(shapes(longest))
    return Exported(target, kind.runtime, seconds, size, attention, len(goldens), decoded, count, raw)


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
