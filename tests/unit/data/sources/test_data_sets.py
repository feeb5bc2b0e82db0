from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from luthier.data.rows import Rows
from luthier.data.sources import read
from luthier.errors import DataError

datasets = pytest.importorskip("datasets")


def _read(source: Any, folder: Path, **options: Any) -> Rows:
    return read(source, folder=folder, cache=folder / "cache", **options)


def _refusal(source: str, folder: Path, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        _read(source, folder, **options)
    assert caught.value.where == source
    assert caught.value.fix
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def data() -> Any:
    kinds = datasets.Features(text=datasets.Value("string"), label=datasets.ClassLabel(names=["neg", "pos"]))
    return datasets.Dataset.from_dict({"text": ["a", "b", "c"], "label": [1, 0, -1]}, features=kinds)


class TestSavedFolder:
    def test_one(self, data: Any, tmp_path: Path) -> None:
        data.save_to_disk(tmp_path / "saved", num_shards=2)
        rows = _read("saved", tmp_path)
        assert rows.table.to_pydict() == {"text": ["a", "b", "c"], "label": ["pos", "neg", None]}
        assert rows.place(2) == "saved row 3"

    def test_it_needs_no_library(self, data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        data.save_to_disk(tmp_path / "saved")
        monkeypatch.setitem(sys.modules, "datasets", None)
        assert len(_read("saved", tmp_path)) == 3

    def test_filtered_rows(self, data: Any, tmp_path: Path) -> None:
        data.select([2, 1]).save_to_disk(tmp_path / "saved")
        assert _read("saved", tmp_path).column("text") == ["c", "b"]

    def test_parts(self, data: Any, tmp_path: Path) -> None:
        datasets.DatasetDict(train=data, test=data.select([1])).save_to_disk(tmp_path / "saved")
        assert _read("saved", tmp_path).column("text") == ["a", "b", "c"]
        assert _read("saved", tmp_path, split="test").column("text") == ["b"]
        assert _read("saved@test", tmp_path).column("text") == ["b"]
        assert 'has no part "validation"; it has train, test.' in _refusal("saved", tmp_path, split="validation")
        assert 'has no part "dev"' in _refusal("saved@dev", tmp_path)

    def test_no_parts(self, data: Any, tmp_path: Path) -> None:
        data.save_to_disk(tmp_path / "saved")
        assert "one data set without parts" in _refusal("saved@test", tmp_path)

    @pytest.mark.parametrize("name", ["state.json", "dataset_info.json", "data-00000-of-00001.arrow"])
    def test_incomplete(self, name: str, data: Any, tmp_path: Path) -> None:
        data.save_to_disk(tmp_path / "saved")
        (tmp_path / "saved" / name).unlink()
        assert "must be a whole saved data set" in _refusal("saved", tmp_path)

    def test_files_outside_are_not_read(self, data: Any, tmp_path: Path) -> None:
        data.save_to_disk(tmp_path / "saved")
        data.save_to_disk(tmp_path / "other")
        state = json.loads((tmp_path / "saved" / "state.json").read_text())
        state["_data_files"] = [{"filename": "../other/data-00000-of-00001.arrow"}]
        (tmp_path / "saved" / "state.json").write_text(json.dumps(state))
        assert "must be a whole saved data set" in _refusal("saved", tmp_path)

    def test_class_number_without_a_name(self, data: Any, tmp_path: Path) -> None:
        data.save_to_disk(tmp_path / "saved")
        info = json.loads((tmp_path / "saved" / "dataset_info.json").read_text())
        info["features"]["label"]["names"] = ["neg"]
        (tmp_path / "saved" / "dataset_info.json").write_text(json.dumps(info))
        assert 'column "label" holds class numbers beyond its 1 class names' in _refusal("saved", tmp_path)


class TestHub:
    @pytest.fixture
    def hub(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], list[tuple[Any, ...]]]:
        """Give a function that makes the library answer with a data set, or an error; it returns what was asked."""

        def answer_with(answer: Any) -> list[tuple[Any, ...]]:
            asked: list[tuple[Any, ...]] = []

            def load(name: str, config: str | None, *, split: str) -> Any:
                asked.append((name, config, split, datasets.are_progress_bars_disabled()))
                if isinstance(answer, Exception):
                    raise answer
                return answer

            monkeypatch.setattr(datasets, "load_dataset", load)
            return asked

        return answer_with

    def test_ids(self, hub: Any, data: Any, tmp_path: Path) -> None:
        asked = hub(data)
        assert _read("owner/name", tmp_path).column("label") == ["pos", "neg", None]
        assert _read("owner/name:small", tmp_path, split="test").column("text") == ["a", "b", "c"]
        assert _read("name@dev", tmp_path).place(0) == "name@dev row 1"
        assert _read("owner/name:small@dev", tmp_path).columns == ["text", "label"]
        assert asked == [
            ("owner/name", None, "train", True),
            ("owner/name", "small", "test", True),
            ("name", None, "dev", True),
            ("owner/name", "small", "dev", True),
        ]

    def test_nobody_is_told(self, hub: Any, data: Any, tmp_path: Path) -> None:
        from huggingface_hub import constants

        hub(data)
        _read("owner/name", tmp_path)
        assert constants.HF_HUB_DISABLE_TELEMETRY
        assert not datasets.config.HF_UPDATE_DOWNLOAD_COUNTS
        assert not datasets.are_progress_bars_disabled(), "put back as it was"

    def test_filtered_rows_and_content_hash(self, hub: Any, data: Any, tmp_path: Path) -> None:
        hub(data.select([2, 0]))
        one = _read("owner/name", tmp_path)
        assert one.column("text") == ["c", "a"]
        hub(datasets.concatenate_datasets([data.select([2]), data.select([0])]))
        assert _read("owner/other", tmp_path).fingerprint == one.fingerprint

    def test_without_the_library(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "datasets", None)
        message = _refusal("owner/name", tmp_path)
        assert "is no file here" in message
        assert "pip install 'luthier[hub]'" in message

    @pytest.mark.parametrize(
        ("error", "message"),
        [
            (datasets.exceptions.DatasetNotFoundError("x"), "neither a file here nor a data set on the hub"),
            (datasets.exceptions.DatasetNotFoundError("Dataset 'x' is a gated dataset"), "is gated"),
            (ConnectionError("Couldn't reach\n the Hub"), "cannot be reached (Couldn't reach the Hub)"),
            (ValueError("Unknown split \"train\". Should be one of ['test', 'dev']."), "it has 'test', 'dev'."),
            (ValueError("Config name is missing.\nPick one of ['a', 'b']"), "several configurations: 'a', 'b'."),
            (ValueError("BuilderConfig 'c' not found. Available: ['a']"), "several configurations: 'a'."),
            (RuntimeError("Dataset scripts are no longer supported, but found x.py"), "code of its own"),
            (TypeError("a\nb"), "cannot be loaded (TypeError: a b)"),
        ],
        ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
    )
    def test_errors_in_words(self, error: Exception, message: str, hub: Any, tmp_path: Path) -> None:
        hub(error)
        assert message in _refusal("owner/name", tmp_path)

    def test_files_come_first(self, hub: Any, tmp_path: Path) -> None:
        asked = hub(ValueError())
        (tmp_path / "owner").mkdir()
        for source in ("owner/name", "name.csv", "name.json.gz", "../name", "/name", "name.xlsx"):
            assert "does not exist" in _refusal(source, tmp_path)
        assert not asked
