"""A bundle written as a bundle for another runtime.

The golden examples are answered in the new runtime, and batches of several sizes and lengths are compared with torch,
before the new bundle gets its name. Covered: models that score (classification, entities, pairs, embeddings, ...), and
those that write text as a GGUF file. Not covered: adapters that are kept apart from their base.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.artifacts.bundle import MODEL, BundleManifest, Runtime, bundle_folder, open_bundle, read_goldens
from luthier.artifacts.files import sha256_file, write_json_atomic
from luthier.artifacts.manifest import new_folder, seal
from luthier.compression.derived import (
    WEIGHTS,
    copy_parts,
    golden_batch,
    graph_manifest,
    refuse_writing,
    torch_manifest,
)
from luthier.compression.export.agreement import largest_difference, shapes
from luthier.compression.export.container import write_container
from luthier.compression.export.executorch_program import FILE as PHONE
from luthier.compression.export.executorch_program import ExecutorchScorer, lengths_below, write_executorch
from luthier.compression.export.formats import FORMATS, Format
from luthier.compression.export.gguf_folder import write_gguf_folder
from luthier.compression.export.mlflow_folder import write_mlflow
from luthier.compression.export.program import PROGRAM, ProgramScorer, programmed, save
from luthier.compression.export.traceable import Batch, Traceable, traceable
from luthier.errors import ArtifactError
from luthier.inference.goldens import replay
from luthier.inference.loading import verify
from luthier.inference.plain import replay_plain
from luthier.inference.predictor import Predictor
from luthier.inference.runtimes import Scorer, TorchScorer

LOOSER = 10
"""How much further than in torch a decoded number may be from the evaluated model's: other kernels round otherwise."""
PLAIN, PT2, PTE, GGUF, MLFLOW, CONTAINER = "transformers", "pt2", "executorch", "gguf", "mlflow", "container"
LICENCES = "licences"


@dataclass(frozen=True)
class Exported:
    """What was written, and what was measured of it.

    Attributes:
        folder: a new bundle, for `transformers` a plain folder, for `pt2` and `executorch` a program and its
            tokenizer, for `gguf` a file for llama.cpp, for `mlflow` a model of MLflow's, for `container` one to build
            an image from.
        format: a key of `FORMATS`, `transformers`, `pt2`, `executorch`, `gguf`, `mlflow` or `container`.
        seconds: to write and compare it.
        bytes: of all its files.
        goldens: how many examples were answered as when they were evaluated.
        golden_difference: largest in any decoded number of theirs; for `transformers` in any raw output, for `gguf` in
            a token's log-probability.
        shapes: how many batch sizes and lengths were compared with torch; 0 without a graph.
        torch_difference: largest in any raw output over them; None without a graph.
        attention_nodes: fused ones in the graph; None without a graph, and for `pt2`.
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
        to: a key of `FORMATS` (a bundle for another runtime), `transformers` (a plain folder), `pt2` (a program of
            torch.export), `executorch` (a program for phones), `gguf` (a file for llama.cpp), `mlflow` (a model of
            MLflow's), or `container` (a folder to build an image from).
        out: the new folder, which must not be there yet.

    Returns:
        What was written and measured.

    Raises:
        ArtifactError: the bundle is damaged or of a kind that is not exported, or the new one answers otherwise.
        ModelError: the model cannot be exported, or a package is not installed.
    """
    started = time.perf_counter()
    target, source = Path(out), bundle_folder(Path(bundle))
    known = (*FORMATS, PLAIN, PT2, PTE, GGUF, MLFLOW, CONTAINER)
    if to not in known:
        raise ArtifactError(f"format must be one of {', '.join(known)}; got {to}.")
    if target.exists():
        raise ArtifactError("exists already.", where=str(target), fix="Choose another folder.")
    with new_folder(target) as folder:
        found = _write(source, to, folder)
    size = sum(one.stat().st_size for one in target.rglob("*") if one.is_file())
    seconds, goldens = time.perf_counter() - started, len(read_goldens(source))
    return Exported(folder=target, format=to, seconds=seconds, bytes=size, goldens=goldens, **found)


def _write(source: Path, to: str, folder: Path) -> dict[str, Any]:
    """Write one form, and return what was measured of it."""
    if to == CONTAINER:
        whole = verify(source)
        write_container(source, open_bundle(source), folder)
        return {"golden_difference": whole.largest_difference}
    if to == MLFLOW:
        return {"golden_difference": write_mlflow(source, folder)}
    before = Predictor(source, torch_manifest(source))
    if to == PT2:
        return _program(before, folder)
    if to == PTE:
        return _phone(before, folder)
    if to == GGUF:
        found = write_gguf_folder(before, folder)
        _copy_papers(source, folder)
        return {"golden_difference": found}
    return _plain(before, folder) if to == PLAIN else _graph(before, FORMATS[to], folder)


def _plain(before: Predictor, folder: Path) -> dict[str, Any]:
    """Write the plain Transformers folder, replayed through the classes that its configuration names."""
    worst = replay_plain(before.folder, before.manifest, before, read_goldens(before.folder))
    shutil.copytree(before.folder / MODEL, folder, dirs_exist_ok=True)
    _copy_papers(before.folder, folder)
    return {"golden_difference": worst}


def _copy_papers(source: Path, folder: Path) -> None:
    """Copy the model card and the licences."""
    shutil.copyfile(source / "README.md", folder / "README.md")
    if (source / LICENCES).exists():
        shutil.copytree(source / LICENCES, folder / LICENCES)


def _program(before: Predictor, folder: Path) -> dict[str, Any]:
    """Write the program that torch.export makes, its tokenizer, and the names of what goes in and comes out."""
    refuse_writing(before)
    assert isinstance(before.scorer, TorchScorer), "the torch runtime was chosen"
    batch = golden_batch(before)
    model = traceable(before.scorer.model, batch)
    program = programmed(model)
    scorer = ProgramScorer(program, model.inputs, model.outputs)
    decoded = _replayed(before, scorer)
    raw = _agreed(before, scorer, batch, "torch.export")
    save(program, folder / PROGRAM)
    _copy_beside(before.folder, folder, model)
    longest = before.entry.preprocess.max_length
    return {"golden_difference": decoded, "shapes": len(shapes(longest)), "torch_difference": raw}


def _phone(before: Predictor, folder: Path) -> dict[str, Any]:
    """Write a program of ExecuTorch with a method for each of some lengths, its tokenizer, and what goes in and out."""
    refuse_writing(before)
    assert isinstance(before.scorer, TorchScorer), "the torch runtime was chosen"
    batch = golden_batch(before)
    model = traceable(before.scorer.model, batch)
    lengths = lengths_below(before.entry.preprocess.max_length)
    write_executorch(model, lengths, folder / PHONE)
    pads = {name: field.pad for name, field in before.task.fields(before.encoder).items()}
    scorer = ExecutorchScorer(folder / PHONE, model, lengths, pads, before.per_token)
    decoded = _replayed(before, scorer)
    raw = max(_agreed(before, scorer, batch, "ExecuTorch", length) for length in lengths)
    _copy_beside(before.folder, folder, model, lengths=lengths)
    compared = sum(len(shapes(length)) for length in lengths)
    return {"golden_difference": decoded, "shapes": compared, "torch_difference": raw}


def _replayed(before: Predictor, scorer: Scorer) -> float:
    """Answer the golden examples with another scorer, and return the largest difference in a decoded number."""
    runtime = before.manifest.runtimes[0]
    runtime = runtime.model_copy(update={"tolerance": LOOSER * runtime.tolerance})
    return replay(Predictor(before.folder, before.manifest, scorer), read_goldens(before.folder), runtime)


def _copy_beside(source: Path, folder: Path, model: Traceable, **more: Any) -> None:
    """Copy what a program needs beside it: the tokenizer, the names of what goes in and out, card and licences."""
    shutil.copytree(source / MODEL, folder / MODEL, ignore=WEIGHTS)
    write_json_atomic(folder / "names.json", {"inputs": model.inputs, "outputs": model.outputs, **more})
    _copy_papers(source, folder)


def _graph(before: Predictor, kind: Format, folder: Path) -> dict[str, Any]:
    """Write a bundle that runs a graph."""
    source = before.folder
    refuse_writing(before)
    assert isinstance(before.scorer, TorchScorer), "the torch runtime was chosen"
    batch = golden_batch(before)
    model = traceable(before.scorer.model, batch)
    copy_parts(source, folder)
    path = folder / kind.file
    path.parent.mkdir(parents=True)
    attention = kind.write(model, path)
    made = _manifest(source, before.manifest, kind, model, sha256_file(folder / kind.weights))
    after = Predictor(folder, made)
    decoded = replay(after, read_goldens(source), made.runtimes[0])
    raw = _agreed(before, after.scorer, batch, kind.runtime)
    with (folder / "README.md").open("a", encoding="utf-8") as card:
        card.write(_note(made, raw))
    seal(folder, made.model_dump(mode="json", exclude={"files", "self"}))
    return {
        "golden_difference": decoded,
        "shapes": len(shapes(before.entry.preprocess.max_length)),
        "torch_difference": raw,
        "attention_nodes": attention,
    }


def _agreed(before: Predictor, scorer: Scorer, batch: Batch, runtime: str, longest: int | None = None) -> float:
    """Return the largest difference of a scorer from torch in any raw output; one beyond the tolerance is an error."""
    longest = longest or before.entry.preprocess.max_length
    allowed = before.manifest.runtimes[0].raw_tolerance
    raw = largest_difference(before.scorer, scorer, batch, longest, before.per_token)
    if raw > allowed:
        raise ArtifactError(
            f"answers in {runtime} differ from torch by {raw:.3g} (allowed {allowed:g}).",
            where=str(before.folder),
            fix="Serve the bundle as it is, with torch.",
        )
    return raw


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
    return graph_manifest(source, manifest, runtime, weights)


def _note(manifest: BundleManifest, raw: float) -> str:
    """Return what the model card says of the export."""
    runtime = manifest.runtimes[0]
    return (
        f"\n## Export\n\nThis bundle is a {runtime.precision} graph for {runtime.name}, exported from the bundle whose "
        f"manifest has the sha256 `{manifest.parent}`. The evaluation is that bundle's. The golden examples are "
        f"answered as they were there; the largest difference from torch in a raw output was {raw:.1e}.\n"
    )
