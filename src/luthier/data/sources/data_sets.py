"""Hugging Face data sets: saved folders, which need no library, and hub ids, which need the `datasets` extra."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from luthier.artifacts.files import sha256_file
from luthier.data.sources.columnar import read_arrow
from luthier.data.sources.reading import BATCH_ROWS, Opened, Reading
from luthier.data.sources.tables import open_batches

INSTALL = "pip install 'luthier[hub]'"
_ID = re.compile(r"(?P<name>[^:@]+)(:(?P<config>[^@]+))?(@(?P<split>.+))?")


def open_folder(target: tuple[Path, str | None], reading: Reading) -> Opened:
    """Open a folder that `save_to_disk` wrote, of one data set or of several parts; class numbers become their names.

    Args:
        target: the folder, and the part the user named after an `@`, if any.
        reading: names the part to take otherwise.
    """
    path, part = target
    parts = _json(path / "dataset_dict.json", reading).get("splits") if (path / "dataset_dict.json").is_file() else None
    if parts is not None:
        path = path / _choose(part or reading.options.split, parts, reading)
    elif part is not None:
        raise reading.error(f'holds one data set without parts, so there is no "{part}".', fix=f"Take off @{part}.")
    state, info = _json(path / "state.json", reading), _json(path / "dataset_info.json", reading)
    files = [path / entry["filename"] for entry in state.get("_data_files") or []]
    if not files or any(file.parent != path or not file.is_file() for file in files):
        raise reading.error("must be a whole saved data set; its Arrow files are missing.", fix="Save it again.")
    names = _class_names(info.get("features") or {})
    identity = {"format": "folder", "sha256": [sha256_file(file) for file in files], "names": names}

    def batches(reading: Reading) -> Iterator[Any]:
        for number, file in enumerate(files):
            for batch in read_arrow(file, reading):
                if number == 0 or batch.num_rows:
                    yield _with_names(batch, names, reading)

    return Opened(identity, batches)


def open_hub(source: str, reading: Reading) -> Opened:
    """Open a data set of the Hugging Face hub: `id`, `id:config`, `id@split` or `id:config@split`."""
    found = _ID.fullmatch(source)
    assert found is not None, "locate lets only ids through"
    data = _load(found["name"], found["config"], found["split"] or reading.options.split, reading)
    names = {name: list(kind.names) for name, kind in data.features.items() if type(kind).__name__ == "ClassLabel"}
    return open_batches(partial(_hub_batches, data, names, reading), reading)


def _hub_batches(data: Any, names: Mapping[str, Sequence[str]], reading: Reading) -> Iterator[Any]:
    import pyarrow as pa

    yield _with_names(pa.RecordBatch.from_pylist([], data.features.arrow_schema.remove_metadata()), names, reading)
    for table in data.with_format("arrow").iter(batch_size=BATCH_ROWS):
        for batch in table.combine_chunks().to_batches():
            yield _with_names(batch, names, reading)


def _load(name: str, config: str | None, split: str, reading: Reading) -> Any:
    """Return a hub data set, fetched or from the library's cache; the library reports to nobody and prints nothing."""
    try:
        import datasets
        from datasets.utils import are_progress_bars_disabled
        from huggingface_hub import constants
    except ImportError:
        raise reading.error(
            "is no file here, and reading it as a Hugging Face data set needs the datasets library.",
            fix=f"Check the path, or install it: {INSTALL}.",
        ) from None
    constants.HF_HUB_DISABLE_TELEMETRY = True
    datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False
    was_quiet = are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        return datasets.load_dataset(name, config, split=split)
    except Exception as error:  # the library raises many kinds, of several packages
        raise _readable(error, split, reading) from None
    finally:
        if not was_quiet:
            datasets.enable_progress_bars()


def _readable(error: Exception, split: str, reading: Reading) -> Exception:
    """Return an error of the hub in one sentence with what to do."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    text = " ".join(str(error).split())
    if options := re.search(r"Unknown split .*?\[(.*?)\]", text):
        return reading.error(f'has no part "{split}"; it has {options[1]}.', fix="Name one after an @.")
    if options := re.search(r"(?:Config name is missing|BuilderConfig .* not found).*?\[(.*?)\]", text):
        return reading.error(f"has several configurations: {options[1]}.", fix="Name one after a colon: id:config.")
    if "DatasetNotFoundError" in kinds:
        gated = "gated" in text
        return reading.error(
            "is gated on the Hugging Face hub." if gated else "is neither a file here nor a data set on the hub.",
            fix="Ask for access there, then `hf auth login`." if gated else "Check the path or the id.",
        )
    if kinds & {"ConnectionError", "OfflineModeIsEnabled", "ConnectTimeout", "HTTPError", "TimeoutError", "OSError"}:
        return reading.error(
            f"the Hugging Face hub cannot be reached ({text[:200]}).",
            fix="Check the connection (HF_ENDPOINT, HTTPS_PROXY), or save the data set as a file.",
        )
    if "scripts are no longer supported" in text:
        return reading.error("needs code of its own to load, which is never run.", fix="Save it as Parquet elsewhere.")
    return reading.error(f"cannot be loaded ({type(error).__name__}: {text[:200]}).", fix="Save it as a file instead.")


def _choose(part: str, parts: Sequence[str], reading: Reading) -> str:
    if part in parts:
        return part
    listed = ", ".join(parts)
    raise reading.error(f'has no part "{part}"; it has {listed}.', fix=f"Name one: {reading.source}@{parts[0]}.")


def _json(path: Path, reading: Reading) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise reading.error(f"must be a whole saved data set; {path.name} cannot be read.", fix="Save it again.")
    return found


def _class_names(features: Mapping[str, Any]) -> dict[str, list[str]]:
    return {
        name: list(feature["names"])
        for name, feature in features.items()
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and feature.get("names")
    }


def _with_names(batch: Any, names: Mapping[str, Sequence[str]], reading: Reading) -> Any:
    """Return a batch whose class numbers are replaced by their names; -1, which means no class, by null."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for column, classes in names.items():
        number = batch.schema.get_field_index(column)
        if number < 0 or not pa.types.is_integer(batch.schema.field(number).type):
            continue
        classes_of = pc.if_else(pc.less(batch.column(number), 0), None, batch.column(number))
        try:
            named = pa.array(classes, pa.string()).take(classes_of)
        except pa.ArrowIndexError:
            raise reading.error(
                f'column "{column}" holds class numbers beyond its {len(classes)} class names.', fix="Save it again."
            ) from None
        batch = batch.set_column(number, column, named)
    return batch
