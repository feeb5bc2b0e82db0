"""How a backbone is read: a batch to the states that heads stand on. One function per way, and the table.

`states` is the way of encoders, and of decoders that are not asked for a next token; `next-token` is that of language
models, `echo` that of encoder-decoders which classify, and `answer` that of encoder-decoders which write.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from luthier.models.causal import next_token_states

Batch = Mapping[str, Tensor]


def token_states(backbone: nn.Module, batch: Batch) -> Tensor:
    """Return (B, T, H) states of `input_ids` (B, T), with `token_type_ids` where the model reads them."""
    named = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
    if "token_type_ids" in batch and reads_types(backbone):
        named["token_type_ids"] = batch["token_type_ids"]
    found: Tensor = backbone(**named).last_hidden_state
    return found


def reads_types(backbone: nn.Module) -> bool:
    """Return whether a model tells the texts of a pair apart by token types."""
    config: Any = backbone.config
    return config.model_type == "xlnet" or int(getattr(config, "type_vocab_size", 0) or 0) > 1


def echo_states(backbone: nn.Module, batch: Batch) -> Tensor:
    """Return (B, T, H) states of a decoder that reads the encoder's own tokens, shifted by one."""
    ids, mask = batch["input_ids"], batch["attention_mask"]
    found: Tensor = backbone(
        input_ids=ids, attention_mask=mask, decoder_input_ids=shifted(ids, start_token(backbone)), use_cache=False
    ).last_hidden_state
    return found


def answer_states(backbone: nn.Module, batch: Batch) -> Tensor:
    """Return (B, S, H): the decoder's state before each token of `label_ids` (B, S)."""
    decoder_ids = shifted(batch["label_ids"], start_token(backbone))
    found: Tensor = backbone(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        decoder_input_ids=decoder_ids,
        use_cache=False,
    ).last_hidden_state
    return found


def shifted(ids: Tensor, start: int) -> Tensor:
    """Return ids (B, T) moved one place to the right, behind a start token."""
    return nn.functional.pad(ids[:, :-1], (1, 0), value=start)


def start_token(backbone: nn.Module) -> int:
    """Return the token that a decoder begins with."""
    config: Any = backbone.config
    start = config.decoder_start_token_id
    return int(config.pad_token_id if start is None else start)


READINGS: dict[str, Callable[[nn.Module, Batch], Tensor]] = {
    "states": token_states,
    "next-token": next_token_states,
    "echo": echo_states,
    "answer": answer_states,
}
