"""The table of all keys, read off the models: the source of the reference page, of suggestions and of sentences."""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types as at
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from luthier.config.project import Project
from luthier.config.values import Unit, Words

# What other tools call our keys.
SYNONYMS: Mapping[str, str] = {
    "batch_size": "train.batch_tokens",
    "dataset": "data",
    "early_stop": "train.early_stopping",
    "eval": "evaluate",
    "gradient_accumulation_steps": "train.accumulate",
    "grad_clip": "train.clip_norm",
    "license": "bundle.licence",
    "lr": "train.learning_rate",
    "lr_scheduler_type": "train.schedule",
    "max_grad_norm": "train.clip_norm",
    "max_len": "model.max_length",
    "max_seq_length": "model.max_length",
    "metric_for_best_model": "train.select_by",
    "model_name_or_path": "model.id",
    "num_epochs": "train.epochs",
    "num_train_epochs": "train.epochs",
    "per_device_train_batch_size": "train.batch_tokens",
    "warmup_ratio": "train.warmup",
}


@dataclass(frozen=True)
class Key:
    """One key of the project file.

    Attributes:
        path: the dotted key.
        kind: what a value must be, in words, bounds included.
        unit: what a number counts, or "".
        default: the value it has when it is left out; None where `required`.
        required: whether it must be written.
        description: one sentence of consequence.
        choices: the values it may take, where they are a list of words.
        block: the model of the keys below it, if it can be a block.
    """

    path: str
    kind: str
    unit: str
    default: Any
    required: bool
    description: str
    choices: tuple[str, ...]
    block: type[BaseModel] | None


@cache
def key_table() -> Mapping[str, Key]:
    """Return every key of a project by its dotted path, in the order of the models."""
    return {key.path: key for key in walk(Project)}


def walk(model: type[BaseModel], prefix: str = "") -> Iterator[Key]:
    """Give the keys of a model, each block followed by its own keys."""
    for name, info in model.model_fields.items():
        path = f"{prefix}{name}"
        block = _block(info.annotation)
        yield Key(
            path=path,
            kind=kind_of(info),
            unit=next((part.name for part in _metadata(info) if isinstance(part, Unit)), ""),
            default=None if info.is_required() else info.get_default(),
            required=info.is_required(),
            description=info.description or "",
            choices=_choices(info.annotation),
            block=block,
        )
        if block is not None:
            yield from walk(block, f"{path}.")


def nearest(name: object, names: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """Return the name that was probably meant, or None."""
    choices = {choice.lower().replace("-", "_"): choice for choice in names}
    matches = difflib.get_close_matches(str(name).lower().replace("-", "_"), list(choices), n=1, cutoff=cutoff)
    return choices[matches[0]] if matches else None


def suggest_key(name: object, block: str, table: Mapping[str, Key]) -> str | None:
    """Return the key that was probably meant by an unknown one.

    Args:
        name: the unknown key.
        block: the dotted path of the block it stands in ("" for the top).
        table: all keys.

    Returns:
        A key of the same block by its name alone, one of another block by its dotted path, or None.
    """
    prefix = f"{block}." if block else ""
    elsewhere = [path for path in table if path.rpartition(".")[2] == name]
    if elsewhere:
        return min(elsewhere, key=lambda path: path.count("."))
    if str(name) in SYNONYMS:
        return SYNONYMS[str(name)].removeprefix(prefix)
    leaves = {path.rpartition(".")[2]: path for path in reversed(list(table))}
    close = nearest(name, keys_of(block, table)) or nearest(name, leaves, cutoff=0.8)
    return close if close is None or close in keys_of(block, table) else leaves[close]


def keys_of(block: str, table: Mapping[str, Key]) -> list[str]:
    """Return the names of the keys of a block."""
    return [path.rpartition(".")[2] for path in table if path.rpartition(".")[0] == block]


def _choices(annotation: Any) -> tuple[str, ...]:
    if get_origin(annotation) is Literal:
        return tuple(str(value) for value in get_args(annotation))
    return tuple(choice for part in get_args(annotation) for choice in _choices(part))


def _metadata(info: FieldInfo) -> list[Any]:
    """Return a field's metadata, with that inside a union with null."""
    found = list(info.metadata)
    for part in get_args(info.annotation):
        if get_origin(part) is Annotated:
            found.extend(get_args(part)[1:])
    return found


def _block(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((block for part in get_args(annotation) if (block := _block(part))), None)


# --- words ----------------------------------------------------------------------------------------------------------


def kind_of(info: FieldInfo) -> str:
    """Return in words what a field's value must be, such as `a whole number, at least 1`."""
    return _words(info.annotation, info.metadata)


def _words(annotation: Any, metadata: Sequence[Any] = ()) -> str:
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _words(parts[0], [*parts[1:], *metadata])
    for part in metadata:
        if isinstance(part, Words):
            return part.text
    if origin in (Union, types.UnionType):
        others = [part for part in parts if part is not type(None)]
        names = [_words(part, metadata) for part in others]
        return " or ".join(names) + (", or null" if len(others) < len(parts) else "")
    if origin is Literal:
        return or_list(parts)
    return ", ".join([_noun(annotation, origin, parts), *filter(None, [_bounds(annotation, metadata)])])


def _noun(annotation: Any, origin: Any, parts: tuple[Any, ...]) -> str:
    if origin is tuple:
        return "a list of texts" if get_args(parts[0])[:1] == (str,) else "a list"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return f"a mapping from {_words(parts[0])} to {_words(parts[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "a block of keys"
    nouns = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
    return nouns.get(annotation, "any value")


def _bounds(annotation: Any, metadata: Sequence[Any]) -> str:
    words = []
    for part in metadata:
        if isinstance(part, at.Ge):
            words.append(f"at least {part.ge}")
        elif isinstance(part, at.Gt):
            words.append(f"above {part.gt}")
        elif isinstance(part, at.Le):
            words.append(f"at most {part.le}")
        elif isinstance(part, at.Lt):
            words.append(f"below {part.lt}")
    return " and ".join(words)


def or_list(values: Iterable[Any]) -> str:
    """Return `a, b or c`."""
    texts = [str(value) for value in values]
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} or {texts[-1]}"
