"""GGUF: the file that llama.cpp reads, with weights, tokenizer and chat template in it.

Covered: the families and kinds of tokenizer in the tables below. Whatever is not in them is refused by name, because
llama.cpp would read it as something else without a word.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier.artifacts.files import read_json
from luthier.data.text import TextEncoder
from luthier.errors import ModelError
from luthier.inference.graphs import not_installed

FILE = "model.gguf"
QWEN2_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLAMA3_WORDS = QWEN2_WORDS.replace(r"\p{N}|", r"\p{N}{1,3}|")
SPLITS: Mapping[tuple[str, ...], str] = {
    ("bytes with words",): "gpt-2",
    ("digits", "bytes with words"): "smollm",
    (QWEN2_WORDS, "bytes"): "qwen2",
    (LLAMA3_WORDS, "bytes"): "llama-bpe",
}
"""llama.cpp's name of how a text is cut before its bytes are merged, by the steps of `tokenizer.json`."""


@dataclass(frozen=True)
class Family:
    """A family in GGUF.

    Attributes:
        keys: `{writer's method: key of config.json}`.
        rotates: whether queries and keys turn by their position.
        pairs: whether llama.cpp wants the two rows that turn together next to each other.
        flipped: parts of names of weights that Transformers keeps as (in, out).
    """

    keys: Mapping[str, str]
    rotates: bool = True
    pairs: bool = False
    flipped: tuple[str, ...] = ()


SIZES = {
    "add_context_length": "max_position_embeddings",
    "add_embedding_length": "hidden_size",
    "add_block_count": "num_hidden_layers",
    "add_feed_forward_length": "intermediate_size",
    "add_head_count": "num_attention_heads",
    "add_head_count_kv": "num_key_value_heads",
    "add_layer_norm_rms_eps": "rms_norm_eps",
    "add_vocab_size": "vocab_size",
}
GPT2 = {
    "add_context_length": "n_positions",
    "add_embedding_length": "n_embd",
    "add_block_count": "n_layer",
    "add_head_count": "n_head",
    "add_layer_norm_eps": "layer_norm_epsilon",
    "add_vocab_size": "vocab_size",
}
FAMILIES: Mapping[str, Family] = {
    "llama": Family(SIZES, pairs=True),
    "qwen2": Family(SIZES),
    "qwen3": Family(SIZES),
    "gpt2": Family(GPT2, rotates=False, flipped=("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")),
}
EXPECTED = {
    "hidden_act": "silu",
    "activation_function": "gelu_new",
    "use_sliding_window": False,
    "scale_attn_by_inverse_layer_idx": False,
}
"""Values of config.json that llama.cpp takes for granted."""


def write_gguf(model: Path, encoder: TextEncoder, end_id: int, path: Path) -> None:
    """Write a plain Transformers folder as a GGUF file, in the precision of an fp32 bundle.

    Args:
        model: the folder, with whole weights.
        encoder: its tokenizer.
        end_id: the token that ends an answer.
        path: of the new file.

    Raises:
        ModelError: the model or its tokenizer has no name in GGUF, or the package gguf is not installed.
    """
    try:
        import gguf
    except ImportError:
        raise not_installed("gguf", "llama-cpp") from None
    config = read_json(model / "config.json")
    family = _family(config, model)
    split = _split(read_json(model / "tokenizer.json"), model)
    writer = gguf.GGUFWriter(path, config["model_type"])
    try:
        writer.add_file_type(gguf.LlamaFileType.ALL_F32)
        _write_sizes(writer, config, family)
        _write_tokenizer(writer, encoder, config["vocab_size"], split, end_id)
        _write_tensors(writer, model, config, family)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()


def _family(config: Mapping[str, Any], model: Path) -> Family:
    name = config["model_type"]
    if name not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise ModelError(f"model type must be one of {known} for GGUF; got {name}.", where=str(model), fix=ELSE)
    for key, value in EXPECTED.items():
        if config.get(key, value) != value:
            raise ModelError(
                f"config.json {key} must be {value} for GGUF; got {config[key]}.", where=str(model), fix=ELSE
            )
    kind = config.get("rope_parameters", {}).get("rope_type", "default")
    if kind != "default":
        raise ModelError(f"rope_type must be default for GGUF; got {kind}.", where=str(model), fix=ELSE)
    return FAMILIES[name]


def _split(tokenizer: Mapping[str, Any], model: Path) -> str:
    """Return llama.cpp's name of how the tokenizer cuts a text."""
    first = tokenizer["pre_tokenizer"] or {}
    steps = tuple(_step(one) for one in first.get("pretokenizers", [first]))
    kind = tokenizer["model"]["type"]
    if kind != "BPE" or steps not in SPLITS:
        raise ModelError(
            f"tokenizer must be byte-level BPE that cuts as gpt2, SmolLM, Qwen 2 or Llama 3 does for GGUF; got {kind} "
            f"after {', then '.join(steps)}.",
            where=str(model),
            fix=ELSE,
        )
    if not tokenizer["model"]["merges"]:
        raise ModelError("tokenizer must have merges for GGUF; it has none.", where=str(model), fix=ELSE)
    return SPLITS[steps]


def _step(one: Mapping[str, Any]) -> str:
    kind = one.get("type", "nothing")
    if kind == "ByteLevel" and not one["add_prefix_space"]:
        return "bytes with words" if one.get("use_regex", True) else "bytes"
    if kind == "Digits" and one["individual_digits"]:
        return "digits"
    if kind == "Split" and (one["behavior"], one["invert"]) == ("Isolated", False):
        return str(one["pattern"].get("Regex"))
    return str(kind)


def _write_sizes(writer: Any, config: Mapping[str, Any], family: Family) -> None:
    for method, key in family.keys.items():
        getattr(writer, method)(config[key])
    if "n_embd" in config:
        writer.add_feed_forward_length(config.get("n_inner") or 4 * config["n_embd"])
    if family.rotates:
        width = _head_width(config)
        writer.add_rope_dimension_count(width)
        writer.add_key_length(width)
        writer.add_value_length(width)
        writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])


def _head_width(config: Mapping[str, Any]) -> int:
    return int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])


def _write_tokenizer(writer: Any, encoder: TextEncoder, size: int, split: str, end_id: int) -> None:
    import gguf

    tokenizer = read_json(encoder.folder / "tokenizer.json")
    added = {one["id"]: one for one in tokenizer["added_tokens"]}
    names = {number: token for token, number in tokenizer["model"]["vocab"].items()}
    names |= {number: one["content"] for number, one in added.items()}
    kinds = []
    for number in range(size):
        kind = gguf.TokenType.NORMAL if number in names else gguf.TokenType.UNUSED
        if number in added:
            kind = gguf.TokenType.CONTROL if added[number]["special"] else gguf.TokenType.USER_DEFINED
        kinds.append(kind)
    merges = [one if isinstance(one, str) else " ".join(one) for one in tokenizer["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(split)
    writer.add_token_list([names.get(number, f"[PAD{number}]") for number in range(size)])
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    whole, bare = encoder.ids(["a"], special=True)[0].tolist(), encoder.ids(["a"])[0].tolist()
    first = whole[0] if whole[: len(bare)] != bare else None
    writer.add_add_bos_token(first is not None)
    writer.add_add_eos_token(len(whole) > len(bare) + (first is not None))
    own_end = encoder.end_id if encoder.end_id is not None else end_id
    writer.add_eos_token_id(own_end)
    writer.add_eot_token_id(end_id)
    writer.add_pad_token_id(encoder.pad_id)
    begins = first if first is not None else encoder.token_id("bos_token")
    if begins is not None:
        writer.add_bos_token_id(begins)
    if encoder.chat_template is not None:
        writer.add_chat_template(encoder.chat_template)


def _write_tensors(writer: Any, model: Path, config: Mapping[str, Any], family: Family) -> None:
    import gguf
    from safetensors import safe_open

    blocks = config[family.keys["add_block_count"]]
    arch = next(one for one, name in gguf.MODEL_ARCH_NAMES.items() if name == config["model_type"])
    names = gguf.get_tensor_name_map(arch, blocks)
    heads: dict[str, int] = {}
    if family.pairs:
        heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
    for path in sorted(model.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118  # it is no mapping
                new = names.get_name(name, try_suffixes=(".weight", ".bias"))
                if new is None:
                    raise ModelError(f"{name} has no name in GGUF.", where=str(path), fix=ELSE)
                values: NDArray[np.float32] = file.get_tensor(name).float().numpy()
                if name.endswith(".weight") and any(part in name for part in family.flipped):
                    values = values.T
                part = name.split(".")[-2]
                if part in heads:
                    values = paired(values, heads[part])
                writer.add_tensor(new, np.ascontiguousarray(values))


def paired(rows: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Return rows of queries or keys in llama.cpp's order: the two that turn together next to each other.

    Args:
        rows: (heads * head width, ...), pairs half a head apart.
        heads: how many heads the rows belong to.
    """
    rest = rows.shape[1:]
    return rows.reshape(heads, 2, len(rows) // heads // 2, *rest).swapaxes(1, 2).reshape(rows.shape)


ELSE = "Export it to transformers."
