from __future__ import annotations

import multiprocessing
import os
from pathlib import Path
from typing import Any

import pytest
from source_files import Reader

from luthier.data import sources
from luthier.data.sources import read, store
from luthier.errors import DataError

CSV = "t,l\na,b\n\nc,d\n"


def _refuse_to_read(*_: Any) -> Any:
    raise AssertionError("the cache has it")


def test_same_bytes_are_read_once(read_file: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    first = read_file("a.csv", CSV)
    monkeypatch.setattr(store, "_make", _refuse_to_read)
    again = read_file("b.csv", CSV)
    assert again.fingerprint == first.fingerprint
    assert again.table.equals(first.table)
    assert first.repairs[0].places == ("a.csv:3",)
    assert again.repairs[0].places == ("b.csv:3",), "places name the file of this reading"


def test_what_changes_the_rows_changes_the_fingerprint(read_file: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    prints = [
        read_file("a.csv", CSV).fingerprint,
        read_file("a.csv", CSV.replace("c", "x")).fingerprint,
        read_file("a.csv", CSV, limit=1).fingerprint,
        read_file("a.csv", CSV, limit=2).fingerprint,
        read_file("a.csv", CSV, bad_rows="skip").fingerprint,
        read_file("a.csv", CSV, delimiter=";").fingerprint,
        read_file("a.csv", CSV, encoding="latin-1").fingerprint,
        read_file("a.tsv", CSV, delimiter=",").fingerprint,
    ]
    monkeypatch.setattr(store, "READER_VERSION", store.READER_VERSION + 1)
    prints.append(read_file("a.csv", CSV).fingerprint)
    assert len(set(prints)) == len(prints)


def test_spellings_of_an_encoding_are_one(read_file: Reader) -> None:
    assert read_file("a.csv", CSV, encoding="UTF8").fingerprint == read_file("a.csv", CSV).fingerprint


@pytest.mark.parametrize("name", ["rows.arrow", "manifest.json"])
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_damaged_cache_is_made_anew(name: str, damage: str, read_file: Reader, tmp_path: Path) -> None:
    folder = tmp_path / "cache" / read_file("a.csv", CSV).fingerprint
    if damage == "gone":
        (folder / name).unlink()
    else:
        (folder / name).write_bytes((folder / name).read_bytes()[:-10])
    assert read_file("a.csv", CSV).column("t") == ["a", "c"]


def test_leftovers_of_a_killed_process_do_no_harm(read_file: Reader, tmp_path: Path) -> None:
    key = read_file("a.csv", CSV).fingerprint
    (tmp_path / "cache" / f".{key}.abc.tmp").mkdir()
    assert read_file("a.csv", CSV).column("t") == ["a", "c"]


def test_default_cache_is_under_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path / "home"))
    (tmp_path / "a.csv").write_text(CSV)
    rows = read("a.csv", folder=tmp_path)
    assert (tmp_path / "home" / "cache" / "rows" / rows.fingerprint / "rows.arrow").is_file()


def test_cache_that_cannot_be_written(read_file: Reader, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(DataError, match=r"cache: the rows could not be kept \(.*\)\. .*LUTHIER_HOME"):
        read_file("a.csv", CSV)


def test_file_that_changes_while_it_is_read(read_file: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = store._write

    def write_and_touch(*arguments: Any) -> int:
        with (tmp_path / "a.csv").open("a") as stream:
            stream.write("e,f\n")
        return write(*arguments)

    monkeypatch.setattr(store, "_write", write_and_touch)
    with pytest.raises(DataError, match=r"a\.csv: changed while it was read\."):
        read_file("a.csv", CSV)
    assert not list((tmp_path / "cache").iterdir())


def test_absolute_and_relative_paths(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "a.csv").write_text(CSV)
    cache = tmp_path / "cache"
    for source in ("below/a.csv", "./below/../below/a.csv", str(tmp_path / "below" / "a.csv"), Path("below/a.csv")):
        rows = read(source, folder=tmp_path, cache=cache)
        assert rows.source == os.fspath(source)
        assert len(rows) == 2


def _read_in_process(folder: str) -> list[Any]:
    return read("a.csv", folder=Path(folder), cache=Path(folder) / "cache").column("t", [0, 29_999])


def test_processes_may_read_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("t,l\n" + "".join(f"{i},x\n" for i in range(30_000)))
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        assert pool.map(_read_in_process, [str(tmp_path)] * 3, chunksize=1) == [["0", "29999"]] * 3
    assert [path.name[0] for path in (tmp_path / "cache").iterdir()].count(".") == 0


def test_importing_sources_is_light() -> None:
    import subprocess
    import sys

    heavy = "{'pyarrow', 'pandas', 'datasets', 'torch'}"
    code = f"import sys, luthier.data.sources, luthier.data.infer; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
    assert sources.SOURCES
