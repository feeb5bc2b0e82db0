"""The bundle: the one artifact that leaves a run.

BUNDLE/manifest.json     version 1; size and sha256 of every file; what to do with an input
BUNDLE/model/            a plain Transformers folder: config, tokenizer, weights; with adapters, the base alone
BUNDLE/adapters/NAME/    what a tuning method trained beside the base, and the head that goes with it
BUNDLE/goldens.json      inputs with the outputs that the evaluated model gave
BUNDLE/profile.json      what the training data looked like
BUNDLE/evaluation.json   the evaluation of these weights
BUNDLE/README.md         the model card
BUNDLE/runtimes/NAME/    the graph of an exported bundle, which keeps no weights in model/
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from luthier.artifacts.files import read_json
from luthier.artifacts.manifest import read_manifest, verify_files
from luthier.errors import ArtifactError

GOLDENS = "goldens.json"
PROFILE = "profile.json"
MODEL = "model"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Backbone(_Frozen):
    """The pretrained part: a folder that Transformers reads."""

    folder: str
    model_type: str
    source: str = Field(description="the id it came from")
    prefix: str = Field(description="what the backbone's tensor names start with in the folder's weights")


class Adapter(_Frozen):
    """A tuning method's own tensors; none where they were folded into the backbone's weights."""

    name: str
    folder: str


class Head(_Frozen):
    """A head: its kind, its settings, and where its tensors lie."""

    name: str
    kind: str
    settings: dict[str, Any]
    tensors: dict[str, str] = Field(description="{name in the head: name in the weights file}")
    file: str | None = Field(default=None, description="the weights file; null is that of the backbone's folder")


class Preprocess(_Frozen):
    """How an input becomes model input."""

    max_length: int = Field(ge=1, description="tokens, special ones included")
    truncation_side: Literal["left", "right"]
    columns: dict[str, str] = Field(description="{role: column name in the user's data}")


class EntryPoint(_Frozen):
    """One thing that the bundle can be asked."""

    name: str = Field(default="main", description="by which it is chosen where there are several")
    task: str
    task_settings: dict[str, Any] = {}
    adapter: str | None = None
    head: str
    targets: dict[str, Any] = Field(description="what the task needs to decode, such as its label map")
    calibration: dict[str, float] = Field(description="fitted on validation, such as a temperature")
    preprocess: Preprocess


class Runtime(_Frozen):
    """A way to run the bundle, and how far its answers may be from the goldens."""

    name: str
    precision: str
    tolerance: float = Field(gt=0, description="largest absolute difference in any decoded number")
    raw_tolerance: float = Field(gt=0, description="largest absolute difference in any raw model output")
    processor: dict[str, Any] = Field(description="the processor that the goldens were made on")
    file: str | None = Field(default=None, description="where the graph lies in the bundle; null builds it from model/")
    inputs: list[str] = Field(default=[], description="names of the graph's inputs")
    outputs: list[str] = Field(default=[], description="names of the graph's outputs")


class BundleManifest(_Frozen):
    """`manifest.json` of a bundle, version 1."""

    version: Literal[1] = 1
    kind: Literal["bundle"] = "bundle"
    name: str
    luthier: str
    backbone: Backbone
    adapters: list[Adapter] = []
    heads: list[Head]
    entry_points: list[EntryPoint] = Field(min_length=1)
    runtimes: list[Runtime] = Field(min_length=1)
    weights_sha256: str
    parent: str | None = Field(default=None, description="sha256 of the manifest of the bundle this came from")
    files: dict[str, dict[str, Any]] = {}
    self: str = ""


class Golden(_Frozen):
    """An input, the token ids it became, and what the evaluated model answered."""

    entry: str = Field(default="main", description="name of the entry point that was asked")
    origin: str = Field(description="validation row, or how the text was made")
    inputs: dict[str, Any]
    features: list[dict[str, list[int]]] = Field(description="per feature of the input's group")
    raw: list[dict[str, list[float]]] = Field(description="named model outputs per feature, flattened")
    prediction: dict[str, Any]


def read_goldens(folder: Path) -> list[Golden]:
    """Return a bundle's golden examples."""
    path = folder / GOLDENS
    try:
        return [Golden.model_validate(item) for item in read_json(path)["examples"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"cannot be read: {error}.", where=str(path)) from None


def open_bundle(folder: Path) -> BundleManifest:
    """Return a bundle's manifest after checking the hash of every file.

    Raises:
        ArtifactError: not a bundle, of another version, or any file missing, added or changed.
    """
    if not folder.is_dir():
        raise ArtifactError(
            "is not a folder.", where=str(folder), fix="Give a bundle's folder, such as runs/NAME/bundle."
        )
    manifest = read_manifest(folder)
    if manifest.get("kind") != "bundle" or manifest.get("version") != 1:
        raise ArtifactError(
            f"must be a bundle of version 1; got kind {manifest.get('kind')!r}, version {manifest.get('version')!r}.",
            where=str(folder),
        )
    verify_files(folder, manifest)
    try:
        return BundleManifest.model_validate(manifest)
    except ValidationError as error:
        raise ArtifactError(f"is not a valid bundle manifest: {error}", where=str(folder / "manifest.json")) from None


def choose_entry(manifest: BundleManifest, name: str | None, *, where: str) -> BundleManifest:
    """Return the manifest with one entry point, its head and its adapter.

    Args:
        manifest: of a bundle.
        name: of the entry point; None takes the only one.
        where: the bundle, for messages.

    Raises:
        ArtifactError: there is no such entry point, or no name although there are several.
    """
    names = [entry.name for entry in manifest.entry_points]
    if name is None and len(names) > 1:
        fix = f"Choose one: {', '.join(names)} (--entry, or entry= in Python)."
        raise ArtifactError(f"holds {len(names)} entries.", where=where, fix=fix)
    if name is not None and name not in names:
        raise ArtifactError(f"entry must be one of {', '.join(names)}; got {name}.", where=where)
    entry = next(entry for entry in manifest.entry_points if name in {None, entry.name})
    return manifest.model_copy(
        update={
            "entry_points": [entry],
            "heads": [head for head in manifest.heads if head.name == entry.head],
            "adapters": [adapter for adapter in manifest.adapters if adapter.name == entry.adapter],
        }
    )


def choose_runtime(manifest: BundleManifest, name: str | None, *, where: str) -> BundleManifest:
    """Return the manifest with one runtime.

    Args:
        manifest: of a bundle.
        name: of the runtime; None takes the first.
        where: the bundle, for messages.

    Raises:
        ArtifactError: the bundle has no such runtime.
    """
    names = [runtime.name for runtime in manifest.runtimes]
    if name is not None and name not in names:
        fix = "`luthier export` makes a bundle for another runtime."
        raise ArtifactError(f"runtime must be one of {', '.join(names)}; got {name}.", where=where, fix=fix)
    chosen = next(runtime for runtime in manifest.runtimes if name in {None, runtime.name})
    return manifest.model_copy(update={"runtimes": [chosen]})


def bundle_folder(path: Path) -> Path:
    """Return the bundle's folder for a bundle or for a run that holds one."""
    if not (path / "manifest.json").exists() and (path / "bundle" / "manifest.json").exists():
        return path / "bundle"
    return path
