from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from luthier.artifacts.files import home, sha256_file
from luthier.errors import SampleError
from luthier.samples import SAMPLES, Sample, SamplePath, describe, fetch, path, resolve, store
from luthier.samples.build import BUILDERS
from luthier.samples.distribution import downloads
from luthier.samples.pip_settings import PipSettings


@pytest.fixture
def ready(index: Any, tiny_sample: Sample, tiny_wheel: bytes, use_settings: Callable[[PipSettings], None]) -> Any:
    """An index that serves the tiny sample."""
    index.files[tiny_sample.distribution.filename] = tiny_wheel
    use_settings(PipSettings(indexes=(f"{index.url}/simple",), retries=0))
    return index


def test_resolve_fetches_once_and_gives_the_folder(ready: Any, tiny_sample: Sample) -> None:
    found = resolve("sample:tiny")
    assert found == SamplePath("data", home() / "samples" / "tiny" / f"1.0-{tiny_sample.recipe[:12]}", tiny_sample)
    assert found.file == found.path / "data.arrow"
    assert found.file.read_bytes() == b"alpha"
    assert found.columns == {"text": "text"}
    assert resolve("tiny") == found == path("tiny") == fetch("tiny")
    assert len(ready.file_requests()) == 1


def test_the_manifest_lists_every_file(ready: Any, tiny_sample: Sample) -> None:
    found = resolve("tiny")
    manifest = json.loads((found.path / "sample.json").read_text("utf-8"))
    assert manifest == found.manifest
    assert set(manifest["files"]) == {"data.arrow", "deep/big.bin", "SAMPLE.md"}
    for name, entry in manifest["files"].items():
        assert entry == {"sha256": sha256_file(found.path / name), "size": (found.path / name).stat().st_size}
    assert manifest["recipe"] == tiny_sample.recipe
    assert manifest["distribution"]["sha256"] == tiny_sample.distribution.sha256
    assert manifest["contents"] == {"rows": 1}
    assert (found.path / "SAMPLE.md").read_text("utf-8") == tiny_sample.card()


def test_nothing_but_the_sample_is_left(ready: Any) -> None:
    found = resolve("tiny")
    assert [entry.name for entry in found.path.parent.iterdir()] == [found.path.name]


def test_path_of_an_unfetched_sample_says_the_command(ready: Any) -> None:
    with pytest.raises(SampleError) as raised:
        path("sample:tiny")
    assert str(raised.value) == "sample:tiny is not on this machine. Run `luthier samples fetch tiny`."
    assert not ready.requests


@pytest.mark.parametrize("name", ["minlm", "sample:Movie-Reviews", "nothing-like-it", ""])
def test_an_unknown_name_gives_the_list_and_the_nearest(name: str) -> None:
    for function in (resolve, fetch, path, describe):
        with pytest.raises(SampleError) as raised:
            function(name)
        text = str(raised.value)
        assert "a sample must be one of minilm, smollm2, movie-reviews, movie-readings, tweets, support-chat" in text
        assert repr(name.removeprefix("sample:")) in text
        near = {"minlm": "sample:minilm", "sample:Movie-Reviews": "sample:movie-reviews"}.get(name)
        assert (f"Did you mean {near}?" in text) if near else ("Did you mean" not in text)


def shorten(folder: Path) -> None:
    (folder / "deep/big.bin").write_bytes(b"short")


def remove(folder: Path) -> None:
    (folder / "data.arrow").unlink()


def spoil_manifest(folder: Path) -> None:
    (folder / "sample.json").write_text("{not json")


def drop_manifest(folder: Path) -> None:
    (folder / "sample.json").unlink()


@pytest.mark.parametrize("damage", [shorten, remove, spoil_manifest, drop_manifest])
def test_a_damaged_folder_is_set_aside_and_made_anew(
    ready: Any, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], None]
) -> None:
    found = resolve("tiny")
    damage(found.path)
    with pytest.raises(SampleError, match=r"sample:tiny is damaged: .* Run `luthier samples fetch tiny`"):
        path("tiny")
    with caplog.at_level(logging.WARNING):
        again = resolve("tiny")
    assert again == found
    assert again.file.read_bytes() == b"alpha"
    assert "set aside" in caplog.text
    assert (found.path.parent / f"{found.path.name}.damaged-1").is_dir()
    assert path("tiny") == found


def test_a_flipped_byte_is_seen_by_fetch(ready: Any) -> None:
    found = resolve("tiny")
    data = bytearray((found.path / "deep/big.bin").read_bytes())
    data[1000] ^= 1
    (found.path / "deep/big.bin").write_bytes(data)
    assert resolve("tiny") == found  # names and sizes only
    fetch("tiny")
    assert (found.path.parent / f"{found.path.name}.damaged-1").is_dir()
    assert sha256_file(found.path / "deep/big.bin") == found.manifest["files"]["deep/big.bin"]["sha256"]


def test_another_recipe_makes_another_folder(ready: Any, tiny_sample: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    first = resolve("tiny")
    monkeypatch.setitem(SAMPLES, "tiny", replace(tiny_sample, revision=2))  # type: ignore[arg-type]
    second = resolve("tiny")
    assert first.path != second.path
    assert first.path.is_dir()


def test_a_failing_build_leaves_no_folder(ready: Any, tiny_sample: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(archive: Path, folder: Path, scratch: Path) -> dict[str, Any]:
        (folder / "data.arrow").write_bytes(b"half")
        raise SampleError("no")

    working = BUILDERS["tiny"]
    monkeypatch.setitem(BUILDERS, "tiny", fail)  # type: ignore[arg-type]
    with pytest.raises(SampleError, match="no"):
        resolve("tiny")
    assert not list((home() / "samples" / "tiny").iterdir())
    monkeypatch.setitem(BUILDERS, "tiny", working)  # type: ignore[arg-type]
    resolve("tiny")
    assert len(ready.file_requests()) == 1


def test_what_a_killed_process_left_is_cleared(ready: Any) -> None:
    left_over = home() / "samples" / "tiny" / ".building-dead"
    left_over.mkdir(parents=True)
    (left_over / "x").write_bytes(b"x")
    resolve("tiny")
    assert not left_over.exists()


def test_a_large_distribution_goes_once_its_sample_is_made(ready: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_KEEP_BYTES", 1000)
    resolve("tiny")
    assert not list(downloads().rglob("*.whl"))


def test_a_file_put_there_by_hand_stays(
    tiny_sample: Sample, tiny_wheel: bytes, use_settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_settings(PipSettings(indexes=()))
    monkeypatch.setattr(store, "_KEEP_BYTES", 1000)
    downloads().mkdir(parents=True)
    by_hand = downloads() / tiny_sample.distribution.filename
    by_hand.write_bytes(tiny_wheel)
    assert resolve("tiny").file.is_file()
    assert by_hand.is_file()


def test_a_full_disk_is_said_before_the_download(ready: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("luthier.samples.store.shutil.disk_usage", lambda _: os.stat_result([0] * 10), raising=True)
    usage = type("Usage", (), {"free": 10})()
    monkeypatch.setattr("luthier.samples.store.shutil.disk_usage", lambda _: usage)
    with pytest.raises(SampleError, match=r"sample:tiny needs 1\.\d MB of free disk to be made; got 0\.0 MB"):
        resolve("tiny")
    assert not ready.requests


def test_a_home_that_cannot_be_written_is_said(ready: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path / "file"))
    with pytest.raises(SampleError, match="Set LUTHIER_HOME to a folder that you may write to"):
        resolve("tiny")


def test_a_finished_sample_is_read_without_writing(ready: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found = resolve("tiny")

    def refuse(*_: object) -> None:
        raise AssertionError("a finished sample needs no lock")

    monkeypatch.setattr(store, "locked", refuse)
    assert fetch("tiny") == found


PROGRAM = """
import sys, time
from pathlib import Path
from luthier.samples import SAMPLES, Sample, resolve
from luthier.samples.build import BUILDERS
from luthier.samples.catalogue import Distribution
from luthier.samples.unpack import extract

def build(archive, folder, scratch):
    with open({trace!r}, "a") as trace:
        trace.write("built\\n")
    time.sleep(0.3)
    extract(archive, {{"tiny/a.txt": "data.arrow"}}, folder, max_bytes=2_000_000)
    return {{}}

SAMPLES["tiny"] = Sample("tiny", "data", {pin!r}, "tiny", 1, "", "", "", "", 0)
BUILDERS["tiny"] = build
print(resolve("tiny").file.read_text())
"""


def test_two_processes_build_it_once(
    index: Any, tiny_sample: Sample, tiny_wheel: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pin = tiny_sample.distribution
    index.files[pin.filename] = tiny_wheel
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", f"{index.url}/simple")
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX"):
        monkeypatch.delenv(name, raising=False)
    trace = tmp_path / "trace"
    program = PROGRAM.format(trace=str(trace), pin=pin)
    running = [subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate(timeout=60)[0] for process in running] == ["alpha\n", "alpha\n"]
    assert trace.read_text() == "built\n"
    assert len(index.file_requests()) == 1
