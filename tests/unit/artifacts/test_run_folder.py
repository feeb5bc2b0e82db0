"""The files of a run's folder that grow line by line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from luthier.artifacts.run import RunDir


@pytest.mark.parametrize("torn", [b'{"time": "2026', b"\xe4\xbd"])
def test_a_line_that_a_kill_cut_off_is_gone(tmp_path: Path, torn: bytes) -> None:
    record = RunDir(tmp_path)
    record.note_test_read(split="test", rows=3, weights_sha256="a")
    ledger = tmp_path / "ledger.jsonl"
    with ledger.open("ab") as stream:
        stream.write(torn)
    record.note_test_read(split="test", rows=3, weights_sha256="b")
    lines = ledger.read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["weights_sha256"] for line in lines] == ["a", "b"]


def test_a_first_line_that_was_cut_off_is_gone(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_bytes(b"half a li")
    record = RunDir(tmp_path)
    record.log("one")
    record.log("two")
    assert (tmp_path / "log.txt").read_text(encoding="utf-8") == "one\ntwo\n"
