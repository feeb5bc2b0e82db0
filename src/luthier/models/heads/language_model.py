"""The language-model head: token probabilities, made only where a token carries a label."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from luthier.models.heads.base import Head, width
from luthier.models.packed import FEW_STATES, PackedEmbedding, PackedLinear, product8

PACKED = (PackedEmbedding, PackedLinear)
CHUNK_LOGITS = 2**23  # logits held at a time, 32 MiB in fp32


class TokenHead(Head):
    """A product with a vocabulary: by a weight of its own, or by the table of embeddings that it is tied to.

    Args:
        hidden: width of the states.
        vocabulary: number of tokens.
        tied: whether the output weight is an embedding of the backbone.
    """

    def __init__(self, *, hidden: int, vocabulary: int, tied: bool) -> None:
        super().__init__()
        self.output = None if tied else nn.Linear(hidden, vocabulary, bias=False)
        self._embedding: tuple[nn.Module, ...] = ()  # in a tuple, so that it is not registered a second time

    @property
    def weight(self) -> Tensor:
        """(V, H) the output weight; of packed numbers in bf16, made for the moment."""
        owner = self._owner
        return owner.matrix().matrix() if isinstance(owner, PACKED) else owner.weight  # type: ignore[return-value]

    @property
    def _owner(self) -> nn.Module:
        return self.output if self.output is not None else self._embedding[0]

    def product(self, states: Tensor) -> Tensor:
        """Return (..., V) of states (..., H)."""
        owner = self._owner
        if isinstance(owner, PACKED):
            return product8(states, owner.matrix(), FEW_STATES)
        return nn.functional.linear(states, self.weight)


class LanguageModelHead(TokenHead):
    """Next-token log-probabilities at labelled positions.

    A tied head has no parameters of its own: it reads the backbone's input embedding, so the weight is trained, frozen
    and saved where the backbone's is.

    Args:
        hidden: width of the backbone's states.
        vocabulary: number of tokens.
        tied: whether the output weight is the input embedding.
    """

    @classmethod
    def follow(cls, config: Any) -> dict[str, Any]:
        """Return width, vocabulary and whether the model ties its output to its input embedding."""
        tied = bool(getattr(config, "tie_word_embeddings", True))
        return {"hidden": width(config), "vocabulary": int(config.vocab_size), "tied": tied}

    def attach(self, backbone: nn.Module) -> None:
        """Take the input embedding of the backbone that this head stands on."""
        self._embedding = (backbone.get_input_embeddings(),)  # type: ignore[operator]

    def logits(self, states: Tensor) -> Tensor:
        """Return (..., V) logits of states (..., H): for generation, where the last position is needed."""
        return self.product(states)

    def forward(self, states: Tensor, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return per row the sum of negative log-probabilities and the number of labelled tokens.

        Args:
            states: (B, S, H) of the last S of the batch's T - 1 positions that have a next token.
            batch: `input_ids` and `label_mask`, (B, T) each.

        Returns:
            `nll` and `tokens`, (B,) each; outside training also `correct`, how many labelled tokens were the likeliest.
        """
        picked = self._picked(states, batch)
        target = batch["input_ids"][:, -states.shape[1] :][picked]
        loss, correct = token_loss(states[picked], self.weight, target, count=not self.training)
        return sums(picked, loss, None if self.training else correct)

    def labelled_logits(self, states: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        """Return (M, V) logits before each labelled token, of the arguments that `forward` takes."""
        return self.product(states[self._picked(states, batch)])

    @staticmethod
    def _picked(states: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        """Return (B, S): which states stand before a labelled token."""
        return batch["label_mask"][:, -states.shape[1] :].bool()


def sums(picked: Tensor, loss: Tensor, correct: Tensor | None) -> dict[str, Tensor]:
    """Return `nll`, `tokens`, and `correct` where it is given, (B,) each: sums over each row's labelled tokens.

    Args:
        picked: (B, S) where a token is labelled, M in all.
        loss: (M,) of each.
        correct: (M,) 1 where the likeliest token was right.
    """
    row = picked.nonzero()[:, 0]
    zeros = torch.zeros(len(picked), dtype=torch.float32, device=loss.device)
    found = {"nll": zeros.index_add(0, row, loss), "tokens": picked.sum(dim=1).float()}
    return found if correct is None else {**found, "correct": zeros.index_add(0, row, correct)}


def token_loss(
    states: Tensor, weight: Tensor, target: Tensor, *, count: bool = False, bias: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return each position's cross-entropy and whether its likeliest token is the target, (M,) each in fp32.

    The product with the vocabulary is made in chunks, in the precision of autocast, and never held as a whole.

    Args:
        states: (M, H).
        weight: (V, H).
        target: (M,) token ids.
        count: whether to look for the likeliest token; zeros otherwise.
        bias: (V,) added to the logits; it gets no gradient.
    """
    dtype = torch.get_autocast_dtype(states.device.type) if torch.is_autocast_enabled(states.device.type) else None
    loss, correct = _TokenLoss.apply(states, weight, target, bias, count, dtype)  # type: ignore[no-untyped-call]
    return loss, correct


class _TokenLoss(torch.autograd.Function):
    """Cross-entropy over a large vocabulary without its logits.

    With a frozen weight the states' gradient for a unit gradient of each loss is made in the forward pass, from the
    logits that are there, and scaled in the backward one; with a trained weight the backward pass makes them again.
    """

    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        weight: Tensor,
        target: Tensor,
        bias: Tensor | None,
        count: bool,
        dtype: torch.dtype | None,
    ) -> tuple[Tensor, Tensor]:
        early = ctx.needs_input_grad[0] and not ctx.needs_input_grad[1]
        cast = weight.detach().to(dtype or weight.dtype)
        inputs = states.detach().to(cast.dtype)
        loss = torch.empty(len(states), dtype=torch.float32, device=states.device)
        correct = torch.zeros_like(loss)
        unit = torch.empty_like(inputs) if early else None
        for part in _chunks(len(states), len(weight)):
            logits = _logits(inputs[part], cast, bias)
            if count:
                correct[part] = (logits.argmax(dim=-1) == target[part]).float()
            logs = torch.log_softmax(logits, dim=-1, dtype=torch.float32)
            loss[part] = -logs.gather(1, target[part, None])[:, 0]
            if unit is not None:
                unit[part] = _slope(logs, target[part]).to(cast.dtype) @ cast
        ctx.save_for_backward(unit if unit is not None else states, weight, target, bias)
        ctx.early, ctx.dtype, ctx.of = early, cast.dtype, states.dtype
        ctx.mark_non_differentiable(correct)
        return loss, correct

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        saved, weight, target, bias = ctx.saved_tensors
        scale = gradients[0][:, None]
        if ctx.early:
            return (saved * scale).to(ctx.of), None, None, None, None, None
        cast, inputs = weight.detach().to(ctx.dtype), saved.detach().to(ctx.dtype)
        of_states = torch.empty_like(saved) if ctx.needs_input_grad[0] else None
        of_weight = torch.zeros(weight.shape, dtype=torch.float32, device=weight.device)
        for part in _chunks(len(saved), len(weight)):
            logs = torch.log_softmax(_logits(inputs[part], cast, bias), dim=-1, dtype=torch.float32)
            slope = (_slope(logs, target[part]) * scale[part]).to(ctx.dtype)
            if of_states is not None:
                of_states[part] = (slope @ cast).to(of_states.dtype)
            of_weight += slope.T @ inputs[part]
        return of_states, of_weight.to(weight.dtype), None, None, None, None


def _logits(states: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    found = states @ weight.T
    return found if bias is None else found + bias


def _chunks(rows: int, vocabulary: int) -> list[slice]:
    size = max(16, CHUNK_LOGITS // vocabulary)
    return [slice(start, start + size) for start in range(0, rows, size)]


def _slope(logs: Tensor, target: Tensor) -> Tensor:
    """Return the gradient of cross-entropy by logits; takes over the log-probabilities' memory."""
    slope = logs.exp_()
    slope[torch.arange(len(target), device=target.device), target] -= 1.0
    return slope
