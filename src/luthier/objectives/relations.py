"""Relation distillation: the tokens of a row stand to each other as they do in a teacher's layer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from math import gcd
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from luthier.objectives.distillation import Distillation

NARROWEST = 16
"""Numbers of a relation head, at least, where the widths allow it."""


class RelationDistillation:
    r"""A distillation of outputs, and of the relations between tokens in one layer of each model.

    Queries, keys and values of a layer are cut into A relation heads of width d each. The relation of a token i in a
    head is \(p_i = \mathrm{softmax}_j(x_i \cdot x_j / \sqrt{d})\) over the row's tokens j, once with the queries as x,
    once with the keys, once with the values. Added to the loss of the outputs is \(w\) times the divergence
    \(\sum_j p_{ij} (\log p_{ij} - \log q_{ij})\) of the teacher's p from the model's q, averaged over the three, the
    heads and the tokens of a row. So the two layers may have any widths and numbers of heads of their own.

    Args:
        outputs: the distillation of outputs.
        taught: the teacher's matrices of queries, keys and values; each gives (B, T, width).
        learning: the model's.
        weight: w.

    References:
        Wang et al. 2021, MiniLMv2: Multi-Head Self-Attention Relation Distillation for Compressing Pretrained
        Transformers.
    """

    whole_batch: ClassVar[bool] = False

    def __init__(
        self, outputs: Distillation, *, taught: Sequence[nn.Module], learning: Sequence[nn.Module], weight: float = 1.0
    ) -> None:
        self.outputs = outputs
        self.weight = weight
        self._taught = _Recorder(taught)
        self._learning = _Recorder(learning)

    def close(self) -> None:
        """Leave both models as they were."""
        self._taught.remove()
        self._learning.remove()

    def step(self, model: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
        """Return `{"loss": (sum over rows or tokens, how many)}`.

        Args:
            model: gives the teacher's outputs, (B, ...) each.
            batch: what both read, with `attention_mask` (B, T).
        """
        loss, number = self.outputs.step(model, batch)["loss"]
        mask = batch["attention_mask"].bool()
        pairs = zip(self._taught.take(), self._learning.take(), strict=True)
        rows = torch.stack([divergence(wanted, given, mask) for wanted, given in pairs]).mean(0)
        lengths = mask.sum(1) if self.outputs.per_token else torch.ones_like(rows)
        return {"loss": (loss + self.weight * (rows * lengths).sum(), number)}


def divergence(wanted: Tensor, given: Tensor, mask: Tensor) -> Tensor:
    """Return how far the relations of one kind are from a teacher's, (B,): the mean over heads and a row's tokens.

    Args:
        wanted: (B, T, width) the teacher's queries, keys or values.
        given: (B, T, width of its own) the model's.
        mask: (B, T) which tokens are real.
    """
    heads = relation_heads(wanted.shape[-1], given.shape[-1])
    p, q = _log_relations(wanted, heads, mask), _log_relations(given, heads, mask)
    gaps = F.kl_div(q, p, reduction="none", log_target=True).masked_fill(~mask[:, None, None], 0.0).sum(-1).mean(1)
    return (gaps * mask).sum(1) / mask.sum(1).clamp(min=1)


def relation_heads(wanted: int, given: int) -> int:
    """Return into how many heads two widths can both be cut, none narrower than `NARROWEST` where that can be."""
    common = gcd(wanted, given)
    numbers = [number for number in range(1, common + 1) if common % number == 0]
    wide = [number for number in numbers if min(wanted, given) // number >= NARROWEST]
    return max(wide, default=1)


def _log_relations(values: Tensor, heads: int, mask: Tensor) -> Tensor:
    """Return log relations, (B, A, T, T); what is related to padding is -1e4 before the softmax."""
    cut = values.reshape(*values.shape[:2], heads, -1).transpose(1, 2)
    products: Tensor = (cut @ cut.transpose(-1, -2)).float() / cut.shape[-1] ** 0.5
    return products.masked_fill(~mask[:, None, None], -1e4).log_softmax(-1)


class _Recorder:
    """Keeps what modules returned last, for each thread by itself: lanes run the same modules at the same time.

    Hooks stay on the modules until `remove`: adding one while another thread goes through them would fail there.

    Args:
        modules: each gives one tensor.
    """

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self._own = threading.local()
        self._hooks = [module.register_forward_hook(self._keeping(place)) for place, module in enumerate(modules)]

    def take(self) -> list[Tensor]:
        """Return what this thread's last pass left, in the order of the modules, and forget it."""
        found, self._own.found = self._own.found, {}
        return [found[place] for place in sorted(found)]

    def remove(self) -> None:
        """Take the hooks off."""
        for hook in self._hooks:
            hook.remove()

    def _keeping(self, place: int) -> Callable[[nn.Module, object, Tensor], None]:
        def keep(_: nn.Module, __: object, result: Tensor) -> None:
            if not hasattr(self._own, "found"):
                self._own.found = {}
            self._own.found[place] = result

        return keep
