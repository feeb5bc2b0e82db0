"""Several adapters over one base in one bundle, each under its own name.

COMBINED/model/, COMBINED/adapters/NAME/   one base; each adapter with its head
COMBINED/goldens.json                      the golden examples of all, each with the name it belongs to
COMBINED/entries/NAME/                     profile, evaluation and model card of the bundle it came from
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from luthier.artifacts.bundle import GOLDENS, MODEL, PROFILE, BundleManifest, bundle_folder, open_bundle, read_goldens
from luthier.artifacts.files import fingerprint, read_json, write_json_atomic
from luthier.artifacts.manifest import new_folder, seal
from luthier.errors import ArtifactError
from luthier.inference.loading import load
from luthier.version import __version__

KEPT = (PROFILE, "evaluation.json", "README.md")
WEIGHTS, CONFIG, TOKENIZER = f"{MODEL}/model.safetensors", f"{MODEL}/config.json", f"{MODEL}/tokenizer.json"


def combine(bundles: Sequence[str | Path], out: str | Path) -> Path:
    """Make one bundle of several that keep their adapters apart from the same base.

    Each bundle's own name becomes the name of its entry: `luthier.load(out, entry=NAME)`.

    Args:
        bundles: two or more; folders of bundles, or of runs that hold one.
        out: the new bundle's folder, which must not be there yet.

    Returns:
        The new bundle's folder, opened and verified entry by entry.

    Raises:
        ArtifactError: a bundle is damaged, has no adapter of its own, or stands on another base.
    """
    target = Path(out)
    if target.exists():
        raise ArtifactError("exists already.", where=str(target), fix="Choose another folder.")
    if len(bundles) < 2:
        raise ArtifactError(f"bundles must be at least two; got {len(bundles)}.")
    folders = [bundle_folder(Path(bundle)) for bundle in bundles]
    manifests = [open_bundle(folder) for folder in folders]
    for folder, manifest in zip(folders, manifests, strict=True):
        _refuse(folders[0], manifests[0], folder, manifest)
    names = [manifest.name for manifest in manifests]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ArtifactError(f"bundles must have different names; got {repeated[0]} more than once.")
    with new_folder(target) as folder:
        _fill(folder, folders, names)
        parts = [_entry(manifest) for manifest in manifests]
        seal(folder, _manifest(target.name, manifests, parts))
    for name in names:
        load(target, entry=name)
    return target


def _refuse(first: Path, base: BundleManifest, folder: Path, manifest: BundleManifest) -> None:
    """Refuse a bundle that cannot stand on the first one's base."""
    where = str(folder)
    if len(manifest.entry_points) != 1:
        raise ArtifactError("must hold one entry; it is a combined bundle already.", where=where)
    if manifest.entry_points[0].adapter is None:
        raise ArtifactError(
            "has no adapter of its own: training changed the base's weights.",
            where=where,
            fix="Train with a method that is kept apart (adapter-pfeiffer), or with merge: false (lora).",
        )
    if manifest.files[WEIGHTS]["sha256"] != base.files[WEIGHTS]["sha256"] or _plain(folder) != _plain(first):
        raise ArtifactError(f"stands on another base than {first}.", where=where, fix="Train both from the same model.")
    if manifest.runtimes[0].name != base.runtimes[0].name:
        raise ArtifactError(f"has another runtime than {first}.", where=where)


def _plain(folder: Path) -> list[Any]:
    """Return configuration and tokenizer without what differs from run to run: dropout and length limits."""
    config = {key: value for key, value in read_json(folder / CONFIG).items() if "drop" not in key}
    tokenizer = read_json(folder / TOKENIZER)
    return [config, {key: value for key, value in tokenizer.items() if key not in {"truncation", "padding"}}]


def _fill(folder: Path, sources: Sequence[Path], names: Sequence[str]) -> None:
    """Copy base, adapters, licences and papers, and gather the golden examples."""
    shutil.copytree(sources[0] / MODEL, folder / MODEL)
    goldens = []
    for source, name in zip(sources, names, strict=True):
        (old,) = (source / "adapters").iterdir()
        shutil.copytree(old, folder / "adapters" / name)
        if (source / "licences").exists():
            shutil.copytree(source / "licences", folder / "licences", dirs_exist_ok=True)
        kept = folder / "entries" / name
        kept.mkdir(parents=True)
        for file in KEPT:
            if (source / file).exists():
                shutil.copyfile(source / file, kept / file)
        goldens += [one.model_copy(update={"entry": name}) for one in read_goldens(source)]
    write_json_atomic(folder / GOLDENS, {"examples": [one.model_dump(mode="json") for one in goldens]})
    (folder / "README.md").write_text(_card(names), encoding="utf-8")


def _entry(manifest: BundleManifest) -> dict[str, Any]:
    """Return a bundle's adapter, head and entry point under its name."""
    name, entry = manifest.name, manifest.entry_points[0]
    (adapter,) = [one for one in manifest.adapters if one.name == entry.adapter]
    (head,) = [one for one in manifest.heads if one.name == entry.head]
    place = f"adapters/{name}"
    file = None if head.file is None else f"{place}/{Path(head.file).name}"
    return {
        "adapters": adapter.model_copy(update={"name": name, "folder": place}),
        "heads": head.model_copy(update={"name": name, "file": file}),
        "entry_points": entry.model_copy(update={"name": name, "adapter": name, "head": name}),
    }


def _manifest(name: str, manifests: Sequence[BundleManifest], parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    gathered = {kind: [part[kind] for part in parts] for kind in parts[0]}
    digest = fingerprint([manifest.weights_sha256 for manifest in manifests])
    made = manifests[0].model_copy(
        update={"name": name, "luthier": __version__, "weights_sha256": digest, "parent": None, **gathered}
    )
    return json.loads(made.model_dump_json(exclude={"files", "self"}))  # type: ignore[no-any-return]  # a mapping


def _card(names: Sequence[str]) -> str:
    lines = ["# Adapters over one base", "", "Each entry has its own model card, evaluation and profile:", ""]
    lines += [f"- `{name}`: [card](entries/{name}/README.md)" for name in names]
    lines += ["", "`luthier predict BUNDLE INPUT --entry NAME`", ""]
    return "\n".join(lines)
