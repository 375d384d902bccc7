"""λ‖θ‖², the third term of Eq. 14, as an explicit term.

train:
  weight_penalty: 1.0e-8

Its gradient 2λθ is written down rather than left to autograd: the term belongs to a step, not to a subnet, and DDP
allows no second backward pass. With Adam it is the same as `weight_decay: 2λ` in `optim_g`, which stock models have.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn


@torch.no_grad()
def add_weight_penalty(parameters: Iterable[nn.Parameter], factor: float) -> Tensor:
    """Add 2λθ to the gradient of every parameter.

    Args:
        parameters: θ; those that need no gradient are left out.
        factor: λ.

    Returns:
        λ‖θ‖², a scalar.
    """
    trained: list[Tensor] = [parameter for parameter in parameters if parameter.requires_grad]
    used = [(parameter, parameter.grad) for parameter in trained if parameter.grad is not None]
    unused = [parameter for parameter in trained if parameter.grad is None]
    if used:
        torch._foreach_add_([gradient for _, gradient in used], [parameter for parameter, _ in used], alpha=2 * factor)
    if unused:
        for parameter, gradient in zip(unused, torch._foreach_mul(unused, 2 * factor), strict=True):
            parameter.grad = gradient
    return factor * torch.stack(torch._foreach_norm(trained)).square().sum()


def penalty_factor(opt: dict[str, Any]) -> float:
    """λ of `train:weight_penalty`; 0 where it is not given.

    Raises:
        ValueError: it is no number of at least 0.
    """
    factor = (opt.get("train") or {}).get("weight_penalty", 0)
    if isinstance(factor, bool) or not isinstance(factor, (int, float)) or not 0 <= factor < math.inf:
        raise ValueError(f"train:weight_penalty must be a number of at least 0, got {factor!r}")
    return float(factor)
