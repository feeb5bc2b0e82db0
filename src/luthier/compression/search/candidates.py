"""What the search tries, as folders: variants of the model with torch weights, and each variant in a form.

A folder here is a bundle in all but its manifest: what `manifest.json` will say lies in `entry.json`, as in a run's
`train/`. Each folder gets its name only when it is whole, so a search that was killed finds whole ones or none.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from luthier.artifacts.bundle import GOLDENS, MODEL, BundleManifest, Golden, Runtime, read_goldens
from luthier.artifacts.files import read_json, sha256_file, write_json_atomic
from luthier.artifacts.manifest import new_folder, seal
from luthier.compression.derived import copy_parts, golden_batch, graph_manifest
from luthier.compression.export.formats import FORMATS
from luthier.compression.export.onnx_graph import write_onnx
from luthier.compression.export.traceable import Batch, traceable
from luthier.compression.search.forms import Form
from luthier.compression.search.layers import depth, without_layers, write_depth
from luthier.compression.search.low_rank import fit_factors
from luthier.compression.search.weight_only import WeightForm
from luthier.compression.search.width import fit
from luthier.inference.goldens import difference, record
from luthier.inference.predictor import Predictor
from luthier.inference.runtimes import TorchScorer
from luthier.models.assembly import TaskModel
from luthier.models.folder import WEIGHTS, untied
from luthier.training.hardware import kept_flags

ENTRY = "entry.json"
ROOM = 10
"""How much further than between a batch and its rows alone a golden answer may move on another day."""


@dataclass(frozen=True)
class Variant:
    """A changed model.

    Attributes:
        model: in evaluation mode, fp32.
        layers: numbers of the layers that it has of the model that it was made of.
    """

    model: TaskModel
    layers: list[int]


@dataclass(frozen=True)
class Graph:
    """An ONNX file and its names."""

    path: Path
    inputs: list[str]
    outputs: list[str]


def entry_of(folder: Path) -> BundleManifest:
    """Return the manifest of a candidate or a variant."""
    return BundleManifest.model_validate(read_json(folder / ENTRY))


def opened(folder: Path) -> Predictor:
    """Return a candidate that answers."""
    return Predictor(folder, entry_of(folder))


def size_of(folder: Path) -> int:
    """Return the bytes of a candidate's files, its manifest aside."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and path.name != ENTRY)


def write_variant(variant: Variant, target: Path) -> None:
    """Write a variant's tensors, and which layers of the model it has, into a new folder; tied tensors once."""
    from safetensors.torch import save_file

    tensors = {name: tensor.detach().contiguous() for name, tensor in untied(variant.model.state_dict()).items()}
    with new_folder(target) as folder:
        save_file(tensors, folder / WEIGHTS, metadata={"layers": json.dumps(variant.layers)})


def read_variant(whole: TaskModel, folder: Path) -> Variant:
    """Return the variant of a model that lies in a folder.

    Args:
        whole: the model that it was made of.
        folder: as `write_variant` wrote it.
    """
    from safetensors import safe_open

    with safe_open(folder / WEIGHTS, framework="pt") as reader:
        kept = json.loads(reader.metadata()["layers"])
        state = {name: reader.get_tensor(name) for name in reader.keys()}  # noqa: SIM118  # no mapping
    model = without_layers(whole, [layer for layer in range(depth(whole)) if layer not in kept])
    fit_factors(model, state)
    fit(model, state)
    missing, unexpected = model.load_state_dict(state, strict=False)
    own = untied(model.state_dict())
    assert not unexpected, f"{folder} holds tensors of another model, such as {unexpected[0]}"
    assert own.keys().isdisjoint(missing), f"{folder} lacks tensors"
    return Variant(model.eval(), kept)


def graph_of(variant: Predictor, folder: Path) -> Graph:
    """Return a variant's ONNX graph, written at the first call.

    Args:
        variant: with torch.
        folder: where it is kept.
    """
    assert isinstance(variant.scorer, TorchScorer), "a variant runs on torch"
    if not folder.exists():
        model = traceable(variant.scorer.model, golden_batch(variant))
        with new_folder(folder) as made:
            write_onnx(model, made / "model.onnx")
            write_json_atomic(made / "names.json", {"inputs": model.inputs, "outputs": model.outputs})
    names = read_json(folder / "names.json")
    return Graph(folder / "model.onnx", names["inputs"], names["outputs"])


def write_candidate(
    variant: Predictor, form: Form, graph: Graph, target: Path, batches: Sequence[Batch], bundle: Path
) -> None:
    """Write a variant in a form; its golden examples are what this form answers.

    Args:
        variant: with torch.
        form: how it is computed.
        graph: the variant's.
        target: the new folder.
        batches: of training rows.
        bundle: that the search began with.
    """
    kind = FORMATS[form.format]
    with new_folder(target) as folder:
        copy_parts(variant.folder, folder)
        path = folder / kind.file
        path.parent.mkdir(parents=True)
        form.write(graph.path, path, batches)
        old = variant.manifest.runtimes[0]
        runtime = Runtime(
            name=kind.runtime,
            precision=form.precision,
            tolerance=old.tolerance,
            raw_tolerance=old.raw_tolerance,
            processor={"flags": kept_flags()},
            file=kind.file,
            inputs=graph.inputs,
            outputs=graph.outputs,
        )
        made = graph_manifest(bundle, variant.manifest, runtime, sha256_file(folder / kind.weights))
        _keep_goldens(Predictor(folder, made), made, read_goldens(variant.folder), folder)


def write_packed_candidate(
    variant: Predictor, form: WeightForm, target: Path, batches: Sequence[Batch], bundle: Path
) -> None:
    """Write a variant with packed weights; its golden examples are what this form answers.

    Args:
        variant: with torch, in fp32.
        form: how its weights are stored.
        target: the new folder.
        batches: of training rows.
        bundle: that the search began with.
    """
    assert isinstance(variant.scorer, TorchScorer), "a variant runs on torch"
    with new_folder(target) as folder:
        copy_parts(variant.folder, folder)
        write_depth(variant.scorer.model, folder / MODEL)
        path = form.write(variant.scorer.model, folder / MODEL, batches)
        runtime = variant.manifest.runtimes[0].model_copy(
            update={
                "precision": form.precision,
                "processor": {"flags": kept_flags()},
                "file": path.relative_to(folder).as_posix(),
            }
        )
        made = graph_manifest(bundle, variant.manifest, runtime, sha256_file(path))
        _keep_goldens(Predictor(folder, made), made, read_goldens(variant.folder), folder)


def _keep_goldens(predictor: Predictor, manifest: BundleManifest, old: Sequence[Golden], folder: Path) -> None:
    """Write what a candidate answers to the golden examples, and its manifest with tolerances that were measured.

    In reduced precision an answer depends on the batch that its row is in. How far is seen by asking the rows together
    and alone; the tolerances leave room beyond.
    """
    inputs = [(golden.origin, golden.inputs) for golden in old]
    together = record(predictor, inputs)
    alone = [one for pair in inputs for one in record(predictor, [pair])]
    raw, decoded = difference(together, alone)
    runtime = manifest.runtimes[0]
    wider = {
        "tolerance": max(runtime.tolerance, ROOM * decoded),
        "raw_tolerance": max(runtime.raw_tolerance, ROOM * raw),
    }
    made = manifest.model_copy(update={"runtimes": [runtime.model_copy(update=wider)]})
    write_json_atomic(folder / GOLDENS, {"examples": [one.model_dump(mode="json") for one in together]})
    write_json_atomic(folder / ENTRY, made.model_dump(mode="json"))


def write_bundle(candidate: Path, target: Path, *, evaluation: bytes, card: str) -> None:
    """Write the bundle of a candidate.

    Args:
        candidate: its folder.
        target: the new bundle.
        evaluation: the content of its `evaluation.json`.
        card: what the model card says beside what the first bundle's says.
    """
    manifest = entry_of(candidate)
    with new_folder(target) as folder:
        shutil.copytree(candidate, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(ENTRY))
        (folder / "evaluation.json").write_bytes(evaluation)
        with (folder / "README.md").open("a", encoding="utf-8") as stream:
            stream.write(card)
        seal(folder, manifest.model_dump(mode="json", exclude={"files", "self"}))
