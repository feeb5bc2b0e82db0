"""A bundle of a random two-layer BERT, made without training: small, but through every real layer of prediction."""

from pathlib import Path

import torch
from tests.tiny import build_model

from luthier.artifacts.bundle import GOLDENS, BundleManifest, EntryPoint, Preprocess, Runtime
from luthier.artifacts.files import write_json_atomic
from luthier.artifacts.manifest import seal
from luthier.inference.goldens import record
from luthier.inference.predictor import Predictor
from luthier.models.assembly import assemble
from luthier.models.folder import manifest_parts, write_folder
from luthier.models.source import locate, save_tokenizer
from luthier.tasks.base import HeadSpec

LABELS = ["negative", "positive"]


def make_bundle(folder: Path, *, column: str = "text", max_length: int = 32) -> Path:
    """Write a bundle and return its folder."""
    source = locate(str(build_model(folder / "pretrained")))
    bundle = folder / "bundle"
    (bundle / "model").mkdir(parents=True)
    save_tokenizer(source, bundle / "model", max_length=max_length, truncation_side="right")
    head = HeadSpec("classification", {"outputs": len(LABELS)})
    assembled = assemble(source, head, pooling="auto", attention="eager", dropout=None, seed=13)
    with torch.no_grad():
        assembled.model.backbone.embeddings.word_embeddings.weight.mul_(30)  # so that answers differ from row to row
    sha256 = write_folder(assembled, bundle / "model", labels=LABELS)
    backbone, written_head = manifest_parts(assembled, source="random")
    manifest = BundleManifest(
        name="tiny",
        luthier="test",
        backbone=backbone,
        heads=[written_head],
        entry_points=[_entry(column, max_length)],
        runtimes=[Runtime(name="torch", precision="fp32", tolerance=1e-4, raw_tolerance=1e-3, processor={})],
        weights_sha256=sha256,
    )
    goldens = record(Predictor(bundle, manifest), [("test", {"text": "the film was good"}), ("test", {"text": "bad"})])
    write_json_atomic(bundle / GOLDENS, {"examples": [one.model_dump(mode="json") for one in goldens]})
    seal(bundle, manifest.model_dump(mode="json", exclude={"files", "self"}))
    return bundle


def _entry(column: str, max_length: int) -> EntryPoint:
    preprocess = Preprocess(max_length=max_length, truncation_side="right", columns={"text": column, "label": "label"})
    return EntryPoint(
        task="text-classification",
        head="main",
        targets={"labels": LABELS, "values": {label: label for label in LABELS}},
        calibration={"temperature": 1.0},
        preprocess=preprocess,
    )
