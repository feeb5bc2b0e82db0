"""The chat benchmark: its contestants learn from the same tokens, and its arithmetic; nothing is timed."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.tiny import build_decoder, chat_project

from luthier.pipeline.run import open_project

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(FOLDER))
    yield
    ours = {"generation", "measurement", "training", "tables", "machine"}
    for name in [n for n in sys.modules if n in ours or n.split(".")[0] == "contestants"]:
        del sys.modules[name]


def test_trainer_and_luthier_learn_from_the_same_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path / "home"))
    from transformers import AutoTokenizer

    from contestants import chat
    from generation import prepare

    project = chat_project(tmp_path, build_decoder(tmp_path / "model"))
    options = Namespace(project=str(project), threads=1, seed=13, warm_steps=2, rows=10)
    job = prepare(options, tmp_path)
    theirs = chat.encoded(job, AutoTokenizer.from_pretrained(job.model))
    _, prepared = open_project(project)
    features, index = prepared.part("train")
    assert len(theirs) == len(index) > 50
    for row, number in zip(theirs, index, strict=True):
        ids, mask = features.row("input_ids", int(number)).tolist(), features.row("label_mask", int(number)).tolist()
        assert row["input_ids"] == ids
        assert row["labels"] == [token if labelled else -100 for token, labelled in zip(ids, mask, strict=True)]
    batch = chat.padded(theirs[:3], 1)
    assert batch["attention_mask"].sum(dim=1).tolist() == [len(row["input_ids"]) for row in theirs[:3]]
    assert (batch["labels"][batch["attention_mask"] == 0] == -100).all()


def test_the_summary_takes_medians_and_ratios() -> None:
    from contestants.job import Measured
    from generation import summarise, table

    def made_up(seconds: float) -> Measured:
        return Measured(100, 2500, 5000, 5, seconds, 2 * seconds if seconds > 10 else seconds, 460_800)

    found = summarise({"chat_trainer": [made_up(s) for s in (50, 100, 20)], "luthier": [made_up(10)]})
    assert found["ratios"] == {"luthier/chat_trainer": 5.0}
    assert found["processor_ratios"] == {"luthier/chat_trainer": 10.0}
    assert found["contestants"]["chat_trainer"]["rows_per_second"] == {
        "median": 2.0,
        "min": 1.0,
        "max": 5.0,
        "rounds": [2.0, 1.0, 5.0],
    }
    assert found["contestants"]["luthier"]["padding_share"] == 0.5
    lines = table(found).splitlines()
    assert len(lines) == 4
    assert len({line.count("|") for line in lines}) == 1
