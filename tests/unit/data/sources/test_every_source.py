"""One suite over `SOURCES`: the same three rows in every format come out the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from luthier.data.rows import Rows
from luthier.data.sources import SOURCES, read

ROWS = {"text": ["good", "很好", "NA"], "label": ["a", "b", "a"]}
TABLE = pa.table(ROWS)


def _delimited(folder: Path, name: str, delimiter: str) -> str:
    lines = [delimiter.join(cells) for cells in zip(*([key, *values] for key, values in ROWS.items()), strict=True)]
    (folder / name).write_text("\n".join(lines), "utf-8")
    return name


def _json_lines(folder: Path, _: pytest.MonkeyPatch) -> str:
    text = "\n".join(json.dumps(dict(zip(ROWS, row, strict=True))) for row in zip(*ROWS.values(), strict=True))
    (folder / "rows.jsonl").write_text(text, "utf-8")
    return "rows.jsonl"


def _parquet(folder: Path, _: pytest.MonkeyPatch) -> str:
    pq.write_table(TABLE, folder / "rows.parquet")
    return "rows.parquet"


def _arrow(folder: Path, _: pytest.MonkeyPatch) -> str:
    with pa.OSFile(str(folder / "rows.arrow"), "wb") as sink, pa.ipc.new_file(sink, TABLE.schema) as writer:
        writer.write_table(TABLE)
    return "rows.arrow"


def _sample(folder: Path, patch: pytest.MonkeyPatch) -> str:
    file = folder / _arrow(folder, patch)
    patch.setattr("luthier.samples.resolve", lambda _: SimpleNamespace(kind="data", path=folder, file=file))
    return "sample:three-rows"


def _folder(folder: Path, _: pytest.MonkeyPatch) -> str:
    pytest.importorskip("datasets").Dataset.from_dict(ROWS).save_to_disk(folder / "saved")
    return "saved"


def _hub(_: Path, patch: pytest.MonkeyPatch) -> str:
    datasets = pytest.importorskip("datasets")
    patch.setattr(datasets, "load_dataset", lambda *_, **__: datasets.Dataset.from_dict(ROWS))
    return "owner/three-rows"


MAKERS: dict[str, Callable[[Path, pytest.MonkeyPatch], Any]] = {
    "csv": lambda folder, _: _delimited(folder, "rows.csv", ","),
    "tsv": lambda folder, _: _delimited(folder, "rows.tsv", "\t"),
    "jsonl": _json_lines,
    "parquet": _parquet,
    "arrow": _arrow,
    "sample": _sample,
    "folder": _folder,
    "hub": _hub,
    "frame": lambda *_: pd.DataFrame(ROWS),
    "table": lambda *_: TABLE,
}


def _read(format: str, folder: Path, patch: pytest.MonkeyPatch, **options: Any) -> Rows:
    return read(MAKERS[format](folder, patch), folder=folder, cache=folder / "cache", **options)


def test_every_source_is_here() -> None:
    assert set(MAKERS) == set(SOURCES)


@pytest.mark.parametrize("format", SOURCES)
def test_same_rows(format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = _read(format, tmp_path, monkeypatch)
    assert rows.columns == list(ROWS)
    assert {name: rows.column(name) for name in ROWS} == ROWS
    assert [cell for block in rows.blocks(["text"]) for cell in block["text"]] == ROWS["text"]
    assert (rows.repairs, rows.mixed) == ((), ())
    assert len(rows.fingerprint) == 64
    assert rows.source in rows.place(0)


@pytest.mark.parametrize("format", SOURCES)
def test_read_again(format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, again = (_read(format, tmp_path, monkeypatch) for _ in range(2))
    assert first.fingerprint == again.fingerprint
    assert len(list((tmp_path / "cache").iterdir())) == 1


@pytest.mark.parametrize("format", SOURCES)
def test_limit(format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, some = (_read(format, tmp_path, monkeypatch, limit=limit) for limit in (None, 2))
    assert some.column("text") == ROWS["text"][:2]
    assert some.fingerprint != whole.fingerprint


def test_model_samples_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("luthier.samples.resolve", lambda _: SimpleNamespace(kind="model", path=tmp_path))
    with pytest.raises(Exception, match="sample:x: must be a data sample; it is a model"):
        read("sample:x", folder=tmp_path, cache=tmp_path)
