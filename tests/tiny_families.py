"""A tiny random model of every family, for tests of the machinery. They show nothing about quality."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.tiny import BAD, CHAT, FILLER, GOOD, LETTERS

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
DECODERS = ("gpt2", "llama", "qwen2", "qwen3")
WRITERS = ("bart", "marian", "t5")
POSITIONS = 256
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
AROUND = {
    "marian": ("$A [SEP]", "$A [SEP] $B [SEP]"),
    "t5": ("$A [SEP]", "$A [SEP] $B [SEP]"),
    "xlnet": ("$A [SEP] [CLS]:2", "$A [SEP] $B:1 [SEP]:1 [CLS]:2"),
}
"""Special tokens around a text and around a pair, where they are not BERT's; a text ends with token 3."""


def config_of(family: str, *, vocabulary: int = 50, positions: int = 40, **more: Any) -> Any:
    """Return a tiny configuration of Transformers; the pad token is 0, where a text begins 2, where it ends 3."""
    from transformers import AutoConfig

    limit = {} if family in UNLIMITED else {"max_position_embeddings": positions}
    values = {"vocab_size": vocabulary, "pad_token_id": 0, **limit, **SIZES[family], **more}
    return AutoConfig.for_model(family, **values)


def build_family(folder: Path, family: str) -> Path:
    """Write a tiny random model of a family with what its pretraining leaves, and a tokenizer as the family has it."""
    import torch
    from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSeq2SeqLM

    vocabulary = _bytes(folder) if family in DECODERS else _word_pieces(folder, family)
    kinds = {**dict.fromkeys(DECODERS, AutoModelForCausalLM), **dict.fromkeys(WRITERS, AutoModelForSeq2SeqLM)}
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = kinds.get(family, AutoModel).from_config(config_of(family, vocabulary=vocabulary, positions=POSITIONS))
    model.save_pretrained(folder)
    return folder


def _word_pieces(folder: Path, family: str) -> int:
    """Write a word-piece tokenizer that puts special tokens where the family has them; return its size."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    pieces = [*LETTERS, *(f"##{letter}" for letter in LETTERS)]
    vocabulary = {word: number for number, word in enumerate(dict.fromkeys([*SPECIAL, *GOOD, *BAD, *FILLER, *pieces]))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    single, pair = AROUND.get(family, ("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single=single, pair=pair, special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        bos_token="[CLS]",
        eos_token="[SEP]",
        model_max_length=POSITIONS,
    ).save_pretrained(folder)
    return len(vocabulary)


def _bytes(folder: Path) -> int:
    """Write a tokenizer of bytes with a chat template and nothing around a text; return its size."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = ("<pad>", "<unknown>", "<start>", "<end>")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*special, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in special])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<start>",
        eos_token="<end>",
        pad_token="<pad>",
        model_max_length=POSITIONS,
    )
    fast.chat_template = CHAT
    fast.save_pretrained(folder)
    return len(vocabulary)


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
