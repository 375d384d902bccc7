"""log Σ_i φ_i (Laplace_b * N(μ_i, s_i²))(x): the balancing term of Eq. 14 if its first term is L1.

The paper speaks of L1 where its Eq. 9 is Gaussian; this is Eq. 14 for p(y|x) = Laplace(y; ŷ, b). With d = |x - μ|:

    (Laplace_b * N(μ, s²))(x) = (T₋ + T₊) / 2b
    T∓ = exp(s²/2b² ∓ d/b) Φ(±d/s - s/b) = ½ exp(-d²/2s²) erfcx(u∓),    u∓ = (s/b ∓ d/s) / √2

The first writing overflows when s/b is large, the second when u₋ is far below zero: each is used where it is exact, so
the result holds from the peak to tails of any length. In the derivative the parts with N(x; μ, s²) cancel:

    d/dx log p = (1/b) Σ_i r_i sign(x - μ_i) tanh(½ (log T₊ - log T₋)),   r_i the share of component i

which lies within ±1/b: times b, the balancing term never pulls harder than L1 does.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from wbsr_losses.blocks import by_blocks
from wbsr_losses.log_erfcx import log_erfcx
from wbsr_losses.shares import EXP_FLOOR, value_and_shares
from wbsr_losses.slope import with_slope

TEMPORARIES = 8  # arrays that `_block` holds at once


def laplace_log_density(x: Tensor, weights: Tensor, means: Tensor, stds: Tensor, scale: float) -> Tensor:
    """log Σ_i φ_i (Laplace_b * N(μ_i, s_i²))(x) per channel, differentiable once, with respect to `x` alone.

    Args:
        x: values (N, C, P), float32 or float64; the result has the same precision.
        weights: φ (L,).
        means: μ (C, L), one row for each channel.
        stds: s (C, L), positive.
        scale: b, positive.

    Returns:
        log-densities (N, C, P).
    """
    return with_slope(x, lambda x, _: value_and_slope(x, weights, means, stds, scale))


def value_and_slope(x: Tensor, weights: Tensor, means: Tensor, stds: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """The log-density and its derivative (N, C, P); arguments as for `laplace_log_density`."""
    log_scale = weights.detach().double().log() - math.log(2 * scale)
    parts = (log_scale[:, None].to(x), means.detach()[..., None].to(x), stds.detach()[..., None].to(x), scale)
    return by_blocks(lambda some: _block(some, *parts), x, TEMPORARIES * means.numel())


def _block(x: Tensor, log_scale: Tensor, centre: Tensor, spread: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Value and slope (n, C, p) of the values x (n, C, p)."""
    offset = x[:, :, None] - centre  # (n, C, L, p)
    distance = offset.abs()
    ratio, steps = spread / scale, distance / spread
    bell = -0.5 * steps.square()
    far = (ratio + steps) / math.sqrt(2)
    near = (ratio - steps) / math.sqrt(2)
    log_far = bell + log_erfcx(far)
    exact_tail = 0.5 * ratio.square() - distance / scale + torch.erfc(near.clamp(max=0)).log()
    log_near = torch.where(near > 0, bell + log_erfcx(near.clamp(min=0)), exact_tail)
    half_gap = 0.5 * (log_far - log_near)
    both = torch.maximum(log_near, log_far) + torch.log1p(torch.exp((-2 * half_gap.abs()).clamp_(min=EXP_FLOOR)))
    value, share = value_and_shares(both.add_(log_scale - math.log(2)), 2)
    slope = (share.mul_(half_gap.tanh_()).mul_(offset.sign_())).sum(2) / scale
    return value, slope
