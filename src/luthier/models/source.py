"""From a model's name to a local folder: a sample, a folder, or a Hugging Face id."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.artifacts.files import fingerprint, sha256_file
from luthier.errors import ModelError

PREFIX = "sample:"
RELATIVE = frozenset({"t5", "xlnet"})
"""Model types whose positions are relative and without an end."""
AFTER_PADDING = frozenset({"roberta", "xlm-roberta"})
"""Model types whose first token has the position after that of the padding token, whose number is its id."""
WANTED = ("*.json", "*.safetensors", "*.txt", "*.model", "*.tiktoken", "LICENSE*", "README.md")


@dataclass(frozen=True)
class ModelSource:
    """A model's folder on this machine.

    Attributes:
        id: as the user wrote it.
        folder: a plain Transformers folder with safetensors weights.
        config: its `config.json`.
    """

    id: str
    folder: Path
    config: dict[str, Any]

    @property
    def model_type(self) -> str:
        """Transformers' name of the architecture family, such as `bert`."""
        return str(self.config.get("model_type", ""))

    @property
    def weights(self) -> list[Path]:
        """The weight files."""
        return sorted(self.folder.glob("*.safetensors"))

    def fingerprint(self) -> str:
        """Return a hash over the configuration, the tokenizer and the weights."""
        files = [path for path in sorted(self.folder.iterdir()) if path.suffix in {".json", ".safetensors", ".txt"}]
        return fingerprint({path.name: sha256_file(path) for path in files})

    def position_limit(self) -> int | None:
        """Return the most tokens that the model has positions for; None where it has no such limit."""
        limit = self.config.get("max_position_embeddings", self.config.get("n_positions"))
        if not isinstance(limit, int) or self.model_type in RELATIVE:
            return None
        if self.model_type not in AFTER_PADDING:
            return limit
        return limit - 1 - int(self.config.get("pad_token_id") or 0)


def locate(model_id: str, *, revision: str | None = None) -> ModelSource:
    """Return the folder of a model, fetching a sample or a Hugging Face model that is not here yet.

    Raises:
        ModelError: there is no such model, or its weights are not safetensors.
    """
    folder = _folder(model_id, revision)
    config = folder / "config.json"
    if not config.is_file():
        raise ModelError("has no config.json, so it is not a Transformers model folder.", where=str(folder))
    source = ModelSource(model_id, folder, json.loads(config.read_text(encoding="utf-8")))
    if not source.weights:
        raise ModelError(
            "has no *.safetensors weights; other forms carry pickles and are not read.",
            where=str(folder),
            fix="Convert them once with Transformers' save_pretrained.",
        )
    return source


def _folder(model_id: str, revision: str | None) -> Path:
    if model_id.startswith(PREFIX):
        from luthier import samples

        found = samples.resolve(model_id)
        if found.kind != "model":
            raise ModelError(f'model must be a model; got "{model_id}", which is data.')
        return found.path
    local = Path(model_id).expanduser()
    if local.is_dir():
        return local
    if local.is_absolute() or model_id.startswith((".", "~")) or model_id.count("/") > 1:
        raise ModelError(f'model must be a folder, a Hugging Face id or a sample; got "{model_id}".')
    return _from_hub(model_id, revision)


def _from_hub(model_id: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(model_id, revision=revision, allow_patterns=list(WANTED)))
    except Exception as error:  # the hub client raises many kinds, connection errors of two libraries among them
        raise ModelError(
            f'model "{model_id}" is neither a folder here nor could it be fetched from the hub: '
            f"{type(error).__name__}: {str(error).splitlines()[0]}",
            fix="Check the name and the connection, or give a local folder or `sample:minilm`.",
        ) from None


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep Transformers from printing and from drawing progress bars for the time of a block."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def save_tokenizer(source: ModelSource, folder: Path, *, max_length: int, truncation_side: str) -> None:
    """Write a model's tokenizer as Transformers would load it, with our limit and side in its configuration.

    Raises:
        ModelError: the tokenizer has no fast form (`tokenizer.json`).
    """
    from transformers import AutoTokenizer

    with quiet_transformers():
        try:
            tokenizer = AutoTokenizer.from_pretrained(
                source.folder, local_files_only=True, model_max_length=max_length, truncation_side=truncation_side
            )
        except (OSError, ValueError, ImportError) as error:
            raise ModelError(f"has no tokenizer that can be read: {error}", where=str(source.folder)) from None
        tokenizer.save_pretrained(folder)
    if not (folder / "tokenizer.json").exists():
        raise ModelError("has no fast tokenizer (tokenizer.json).", where=str(source.folder))
