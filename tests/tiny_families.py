"""A tiny random model of every family, for tests of the machinery. They show nothing about quality."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_WIDE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
_DECODER = {**_WIDE, "num_key_value_heads": 1, "bos_token_id": 2, "eos_token_id": 3}
_TWO_STACKS = {
    "d_model": 16,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "bos_token_id": 2,
    "eos_token_id": 3,
    "decoder_start_token_id": 0,
    "forced_eos_token_id": 3,
}
SIZES: dict[str, dict[str, Any]] = {
    "albert": {**_WIDE, "embedding_size": 8},
    "bart": _TWO_STACKS,
    "bert": _WIDE,
    "deberta-v2": {
        **_WIDE,
        "relative_attention": True,
        "position_buckets": 8,
        "pos_att_type": ["p2c", "c2p"],
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "position_biased_input": False,
        "type_vocab_size": 0,
    },
    "distilbert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32},
    "electra": {**_WIDE, "embedding_size": 8},
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "bos_token_id": 2, "eos_token_id": 3},
    "llama": _DECODER,
    "marian": _TWO_STACKS,
    "modernbert": {
        **_WIDE,
        "bos_token_id": 2,
        "eos_token_id": 3,
        "cls_token_id": 2,
        "sep_token_id": 3,
        "local_attention": 4,
        "global_attn_every_n_layers": 2,
    },
    "qwen2": _DECODER,
    "qwen3": {**_DECODER, "head_dim": 8},
    "roberta": {**_WIDE, "bos_token_id": 2, "eos_token_id": 3},
    "t5": {
        "d_model": 16,
        "d_kv": 8,
        "d_ff": 32,
        "num_layers": 2,
        "num_heads": 2,
        "eos_token_id": 3,
        "decoder_start_token_id": 0,
    },
    "xlm-roberta": {**_WIDE, "bos_token_id": 2, "eos_token_id": 3},
    "xlnet": {"d_model": 16, "n_layer": 2, "n_head": 2, "d_inner": 32, "bos_token_id": 2, "eos_token_id": 3},
}
"""A line per family, beside what all of them take."""
UNLIMITED = ("t5", "xlnet")


def config_of(family: str, *, vocabulary: int = 50, positions: int = 40, **more: Any) -> Any:
    """Return a tiny configuration of Transformers; the pad token is 0, where a text begins 2, where it ends 3."""
    from transformers import AutoConfig

    limit = {} if family in UNLIMITED else {"max_position_embeddings": positions}
    values = {"vocab_size": vocabulary, "pad_token_id": 0, **limit, **SIZES[family], **more}
    return AutoConfig.for_model(family, **values)


def build_backbone(folder: Path, family: str, *, spread: float = 0.0, **more: Any) -> Path:
    """Write a tiny random backbone without a tokenizer; `spread` is added to every weight as noise."""
    import torch
    from transformers import AutoModel

    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = AutoModel.from_config(config_of(family, **more))
        for parameter in model.parameters():
            parameter.data.add_(spread * torch.randn_like(parameter))
    model.save_pretrained(folder)
    return folder
