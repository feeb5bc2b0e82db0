"""Graphs of thirteen families that classify, against torch: a tiny random model, several batches and lengths."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.tiny_families import build_family

from luthier.artifacts.bundle import Runtime
from luthier.compression.export.agreement import largest_difference, shapes
from luthier.compression.export.formats import FORMATS
from luthier.compression.export.traceable import traceable
from luthier.inference.runtimes import RUNTIMES
from luthier.models.assembly import assemble
from luthier.models.source import locate
from luthier.tasks.base import HeadSpec

pytestmark = pytest.mark.long
FAMILIES = (
    "albert",
    "bart",
    "bert",
    "deberta-v2",
    "distilbert",
    "electra",
    "gpt2",
    "llama",
    "modernbert",
    "qwen2",
    "qwen3",
    "roberta",
    "xlm-roberta",
)


@dataclasses.dataclass
class _Torch:
    model: Any

    def score(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        import torch

        with torch.inference_mode():
            outputs = self.model({name: torch.from_numpy(array) for name, array in batch.items()})
        return {name: value.double().numpy() for name, value in outputs.items()}


@dataclasses.dataclass
class _Manifest:
    runtimes: list[Runtime]
    files: dict[str, Any] = dataclasses.field(default_factory=dict)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("to", FORMATS)
def test_the_graph_answers_as_torch(to: str, family: str, tmp_path: Path) -> None:
    source = locate(str(build_family(tmp_path / "pretrained", family)))
    head = HeadSpec("classification", {"outputs": 3})
    model = assemble(source, head, pooling="auto", attention="eager", dropout=0.0, seed=1).model.eval()
    ids = np.random.default_rng(0).integers(4, 40, size=(3, 11))
    batch = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    found, kind = traceable(model, batch), FORMATS[to]
    path = tmp_path / kind.file
    path.parent.mkdir(parents=True)
    kind.write(found, path)
    runtime = Runtime(
        name=kind.runtime,
        precision="fp32",
        tolerance=1e-4,
        raw_tolerance=1e-4,
        processor={},
        file=kind.file,
        inputs=found.inputs,
        outputs=found.outputs,
    )
    scorer = RUNTIMES[kind.runtime](tmp_path, _Manifest([runtime]))
    assert found.outputs == ["logits"]
    assert len(shapes(64)) == 9
    assert largest_difference(_Torch(model), scorer, batch, 64, ()) < 1e-5
