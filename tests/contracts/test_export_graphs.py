"""Graphs of every model family against torch over several batches and lengths; refusals by name. Tiny random models."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.tiny_families import build_family

from luthier.artifacts.bundle import Runtime
from luthier.compression.export.agreement import largest_difference, shapes
from luthier.compression.export.formats import FORMATS
from luthier.compression.export.program import ProgramScorer, programmed
from luthier.compression.export.traceable import Traceable, traceable
from luthier.errors import ModelError
from luthier.inference.runtimes import RUNTIMES
from luthier.models.assembly import assemble
from luthier.models.families import FAMILIES
from luthier.models.source import locate
from luthier.tasks.base import PER_TOKEN, HeadSpec

HEADS: dict[str, dict[str, Any]] = {
    "classification": {"outputs": 3},
    "token-classification": {"outputs": 5},
    "span": {},
    "embedding": {"normalize": True},
}
SCORING = {name: [head for head in HEADS if head in family.plain] for name, family in FAMILIES.items()}
REFUSED = ("xlnet",)
"""Families whose code fixes the number of tokens."""
CELLS = [(name, heads[place % len(heads)]) for place, (name, heads) in enumerate(SCORING.items()) if heads]
LENGTH = 30


@dataclass
class TorchModel:
    model: Any

    def score(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        with torch.inference_mode():
            outputs = self.model({name: torch.from_numpy(array) for name, array in batch.items()})
        return {name: value.double().numpy() for name, value in outputs.items()}


@dataclass
class Manifest:
    runtimes: list[Runtime]
    files: dict[str, Any] = field(default_factory=dict)


def built(family: str, head: str, folder: Path) -> tuple[Any, dict[str, np.ndarray], Traceable]:
    """Return a family's model with the attention kernel that a bundle is opened with, a batch, and what is exported."""
    source = locate(str(build_family(folder / "pretrained", family)))
    kernel = FAMILIES[family].attention[-1]
    spec = HeadSpec(head, HEADS[head])
    model = assemble(source, spec, pooling="auto", attention=kernel, dropout=0.0, seed=1).model.eval()
    ids = np.random.default_rng(0).integers(4, 40, size=(3, 11))
    batch = {"input_ids": ids, "attention_mask": np.ones_like(ids), "unknown": np.zeros(3, np.int32)}
    found = traceable(model, batch)
    assert found.inputs == ["input_ids", "attention_mask"]
    return model, batch, found


def difference(to: str, family: str, head: str, folder: Path) -> float:
    """Return how far a family's graph is from torch."""
    model, batch, found = built(family, head, folder)
    kind = FORMATS[to]
    path = folder / kind.file
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
    scorer = RUNTIMES[kind.runtime](folder, Manifest([runtime]))
    assert len(shapes(LENGTH)) == 9
    return largest_difference(TorchModel(model), scorer, batch, LENGTH, PER_TOKEN.get(head, ()))


def program_difference(family: str, head: str, folder: Path) -> float:
    """Return how far a family's `.pt2` program is from torch."""
    model, batch, found = built(family, head, folder)
    scorer = ProgramScorer(programmed(found), found.inputs, found.outputs)
    return largest_difference(TorchModel(model), scorer, batch, LENGTH, PER_TOKEN.get(head, ()))


@pytest.mark.parametrize(("family", "head"), [cell for cell in CELLS if cell[0] not in REFUSED])
def test_the_graph_answers_as_torch(family: str, head: str, tmp_path: Path) -> None:
    assert difference("onnx", family, head, tmp_path) < 1e-5


@pytest.mark.parametrize(("family", "head"), [cell for cell in CELLS if cell[0] != "xlnet"])
def test_the_program_answers_as_torch(family: str, head: str, tmp_path: Path) -> None:
    assert program_difference(family, head, tmp_path) < 1e-5


@pytest.mark.long
@pytest.mark.parametrize("to", FORMATS)
@pytest.mark.parametrize(
    ("family", "head"), [(name, head) for name, heads in SCORING.items() if name not in REFUSED for head in heads]
)
def test_every_graph_answers_as_torch(to: str, family: str, head: str, tmp_path: Path) -> None:
    assert difference(to, family, head, tmp_path) < 1e-5


@pytest.mark.parametrize("family", REFUSED)
def test_a_family_that_is_no_graph_is_refused(family: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be exported to ONNX"):
        difference("onnx", family, "classification", tmp_path)


def test_a_program_that_fixes_the_number_of_tokens_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"cannot be exported by torch\.export: Guard failed"):
        program_difference("xlnet", "classification", tmp_path)
