"""logsumexp and softmax of the components in one go: the log-density of a mixture, and each component's share in it."""

from __future__ import annotations

import torch

EXP_FLOOR = -80.0  # e⁻⁸⁰ is nothing beside 1; below it exp is several times slower, being denormal


def value_and_shares(log_parts: torch.Tensor, dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    """logsumexp (without `dim`) and softmax of `log_parts` along `dim`; `log_parts` is overwritten by the softmax."""
    top = log_parts.amax(dim, keepdim=True)
    share = log_parts.sub_(top).clamp_(min=EXP_FLOOR).exp_()
    total = share.sum(dim, keepdim=True)
    return top.add_(total.log()).squeeze(dim), share.div_(total)
