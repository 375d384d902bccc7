"""log Σ_i φ_i N(x; μ_i, S_i): the balancing term of Eq. 14 for every pixel, with its gradient.

    A_i = C_i⁻¹ with C_i C_iᵀ = S_i (Cholesky),    z_i = A_i (x - μ_i)
    log p(x)   = logsumexp_i(log φ_i - ½ log|S_i| - ½ D log 2π - ½ |z_i|²)
    ∇ log p(x) = -Σ_i r_i A_iᵀ z_i,                r_i = softmax_i of the same numbers

The z of all components are one small matrix product. A product with (1, x, x xᵀ) would be one as well, but it takes a
small number as the difference of large ones: with S = 0.01² it is wrong in the third decimal in float32, where z is
right in the fifth. The gradient is worked out beside the value, so nothing of size components × pixels is kept.
"""

from __future__ import annotations

import math

import torch

from .blocks import blocks
from .shares import value_and_shares
from .slope import with_slope


def gaussian_log_density(
    x: torch.Tensor, weights: torch.Tensor, means: torch.Tensor, covariances: torch.Tensor
) -> torch.Tensor:
    """log Σ_i φ_i N(x; μ_i, S_i), differentiable once, with respect to `x` alone.

    Args:
        x: points (N, D, P), float32 or float64; the result has the same precision.
        weights: φ (L,).
        means: μ (L, D).
        covariances: S (L, D, D), the noise included; symmetric and positive definite (not checked here).

    Returns:
        log-densities (N, P).
    """
    components, dimension = means.shape
    factor = torch.linalg.cholesky_ex(covariances.detach().double()).L
    eye = torch.eye(dimension, dtype=torch.float64, device=factor.device).expand_as(factor)
    whiten = torch.linalg.solve_triangular(factor, eye, upper=False)  # (L, D, D)
    shift = -(whiten @ means.detach().double()[..., None])[..., 0]  # (L, D)
    log_scale = weights.detach().double().log() + whiten.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    log_scale = log_scale - 0.5 * dimension * math.log(2 * math.pi)
    rows = whiten.transpose(0, 1).reshape(dimension * components, dimension)  # row d·L + i is row d of A_i
    shifts = shift.T.reshape(dimension * components, 1)
    rows, shifts, log_scale = rows.to(x), shifts.to(x), log_scale.to(x)[:, None]

    def work(x: torch.Tensor, wanted: bool) -> tuple[torch.Tensor, torch.Tensor | None]:
        value = x.new_empty(x.shape[0], x.shape[2])
        slope = torch.empty_like(x) if wanted else None
        for n, p in blocks(x, rows.shape[0]):
            value[n, p] = _block(x[n, :, p], rows, shifts, log_scale, None if slope is None else slope[n, :, p])
        return value, slope

    return with_slope(x, work)


def _block(
    x: torch.Tensor, rows: torch.Tensor, shifts: torch.Tensor, log_scale: torch.Tensor, slope: torch.Tensor | None
) -> torch.Tensor:
    """Values (n, p) of the points x (n, D, p); their gradient goes into `slope` (n, D, p)."""
    images, dimension, pixels = x.shape
    z = torch.baddbmm(shifts[None], rows.expand(images, -1, -1), x)  # (n, D·L, p)
    z = z.view(images, dimension, -1, pixels)
    log_parts = log_scale - 0.5 * z.square().sum(1)  # (n, L, p)
    value, share = value_and_shares(log_parts, 1)
    if slope is not None:
        pull = z.mul_(share[:, None]).view(images, -1, pixels)
        slope.copy_(torch.matmul(rows.T, pull).neg_())
    return value
