"""The exponential moving average of a network's weights, which is tested and saved beside them (`train:ema_decay`)."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


class MovingAverage:
    """Lets the weights of `average` follow those of `network`: a ← decay · a + (1 - decay) · w.

    The operators take all tensors at once, and do to each what BasicSR's `mul_` and `add_` do, to the last bit. Weights
    that need no gradient are copied, for rounding would make their average drift; buffers are let be, as in BasicSR.

    Args:
        average: a network of the same architecture.
        network: the one that is trained.
        decay: in (0, 1).
    """

    def __init__(self, average: nn.Module, network: nn.Module, decay: float) -> None:
        self._decay = decay
        averages = dict(average.named_parameters())
        pairs = [(averages[name], weight) for name, weight in network.named_parameters()]
        self._moving = _columns((own, weight) for own, weight in pairs if weight.requires_grad)
        self._frozen = _columns((own, weight) for own, weight in pairs if not weight.requires_grad)

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights as they are now."""
        averages, weights = self._moving
        if averages:
            torch._foreach_mul_(averages, self._decay)
            torch._foreach_add_(averages, weights, alpha=1 - self._decay)
        averages, weights = self._frozen
        if averages:
            torch._foreach_copy_(averages, weights)


def _columns(pairs: Iterable[tuple[Tensor, Tensor]]) -> tuple[list[Tensor], list[Tensor]]:
    both = list(pairs)
    return [own for own, _ in both], [weight for _, weight in both]
