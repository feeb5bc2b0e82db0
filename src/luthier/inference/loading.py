"""Opening a bundle: hashes first, then the golden examples, then the answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from luthier.artifacts.bundle import (
    BundleManifest,
    Golden,
    Runtime,
    bundle_folder,
    choose_entry,
    choose_runtime,
    open_bundle,
    read_goldens,
)
from luthier.errors import ArtifactError
from luthier.inference.goldens import replay
from luthier.inference.plain import replay_plain
from luthier.inference.predictor import Predictor
from luthier.training.hardware import MATRIX_FLAGS, matrix_flags


def load(path: str | Path, *, entry: str | None = None, runtime: str | None = None) -> Predictor:
    """Return the predictor of a bundle, or of the bundle in a run's folder.

    Every file's hash is checked and the golden examples are replayed.

    Args:
        path: the folder.
        entry: which of several entries of a combined bundle; None takes the only one.
        runtime: which of the bundle's runtimes; None takes the first.

    Raises:
        ArtifactError: a file is damaged, or an answer differs from the evaluated model's.
    """
    folder = bundle_folder(Path(path))
    manifest = choose_entry(open_bundle(folder), entry, where=str(folder))
    manifest = choose_runtime(manifest, runtime, where=str(folder))
    predictor = Predictor(folder, manifest)
    try:
        replay(predictor, goldens_of(folder, manifest), manifest.runtimes[0])
    except ArtifactError as error:
        note = processor_note(manifest.runtimes[0])
        if note is None:
            raise
        fix = f"{note} Compress on this one, or serve the bundle that this one was made of."
        raise ArtifactError(error.what, where=error.where, fix=fix) from None
    return predictor


def processor_note(runtime: Runtime) -> str | None:
    """Return what to say of a form that was measured on another kind of processor; None where that does not matter.

    fp32 answers alike everywhere within the tolerances. int8 and bf16 take other kernels by instruction set.
    """
    made, here = set(runtime.processor.get("flags", ())), set(matrix_flags())
    differing = sorted((made & MATRIX_FLAGS) ^ here)
    if runtime.precision == "fp32" or not differing:
        return None
    return (
        f"This {runtime.precision} form was measured on a processor of another kind (differing in "
        f"{', '.join(differing)}): speed and answers may differ."
    )


def goldens_of(folder: Path, manifest: BundleManifest) -> list[Golden]:
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
            it cannot, because the bundle keeps an adapter apart from the base, or has no weights in `model/`.
        runtimes: names of those that answered.
        adapters: whether an adapter lies apart from its base.
    """

    files: int
    goldens: int
    largest_difference: float
    plain_difference: float | None
    runtimes: tuple[str, ...]
    adapters: bool = False


def verify(path: str | Path) -> Verified:
    """Check a bundle's hashes, replay its golden examples, and replay them through plain Transformers as well.

    Raises:
        ArtifactError: what is wrong.
    """
    folder = bundle_folder(Path(path))
    whole = open_bundle(folder)
    plain, worst, count = None, 0.0, 0
    has_weights = any(one.file is None for one in whole.runtimes)
    for entry in whole.entry_points:
        one = choose_entry(whole, entry.name, where=str(folder))
        goldens = goldens_of(folder, one)
        for runtime in whole.runtimes:
            manifest = choose_runtime(one, runtime.name, where=str(folder))
            predictor = Predictor(folder, manifest)
            worst = max(worst, replay(predictor, goldens, runtime))
        plain = replay_plain(folder, one, predictor, goldens) if has_weights and not one.adapters else None
        count += len(goldens)
    return Verified(
        len(whole.files), count, worst, plain, tuple(one.name for one in whole.runtimes), bool(whole.adapters)
    )
