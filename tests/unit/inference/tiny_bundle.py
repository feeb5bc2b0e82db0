"""A bundle of a random two-layer BERT, made without training: small, but through every real layer of prediction."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

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
WORDS = [
    "a",
    "the",
    "film",
    "was",
    "is",
    "good",
    "bad",
    "very",
    "not",
    "plot",
    "actor",
    "boring",
    "great",
    "and",
    "but",
    "ok",
]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def make_bundle(folder: Path, *, column: str = "text", max_length: int = 32) -> Path:
    """Write a bundle and return its folder."""
    pretrained = _pretrained(folder / "pretrained")
    source = locate(str(pretrained))
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
    return EntryPoint(
        task="text-classification",
        head="main",
        targets={"labels": LABELS, "values": {label: label for label in LABELS}},
        calibration={"temperature": 1.0},
        preprocess=Preprocess(
            max_length=max_length, truncation_side="right", columns={"text": column, "label": "label"}
        ),
    )


def _pretrained(folder: Path) -> Path:
    vocabulary = {token: number for number, token in enumerate([*SPECIAL, *WORDS])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    names: dict[str, Any] = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    torch.manual_seed(7)
    config = BertConfig(vocab_size=len(vocabulary), max_position_embeddings=64, **sizes)
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder
