"""log Σ_i φ_i N(x; μ_i, S_i): the balancing term of Eq. 14 for every pixel, with its gradient.

    A_i = C_i⁻¹ with C_i C_iᵀ = S_i (Cholesky),    z_i = A_i (x - μ_i)
    log p(x)   = logsumexp_i(log φ_i - ½ log|S_i| - ½ D log 2π - ½ |z_i|²)
    ∇ log p(x) = -Σ_i r_i S_i⁻¹ (x - μ_i),         r_i = softmax_i of the same numbers

Each coordinate of z is a small matrix product for all components, with (1, x) so that μ is inside it; A is triangular,
so the d-th takes d coordinates of x. |z|² as a product with (1, x, x xᵀ) would take a small number as the difference of
large ones: with S = 0.01² it is wrong in the third decimal in float32, where z is right in the fifth. The gradient is
linear in x once the shares r are known: Σ r_i S_i⁻¹ is worked out first, for D² + D numbers per pixel rather than D
for each component, and is as exact as z. It is worked out beside the value, so nothing of size components × pixels is
kept.
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F

from wbsr_losses.blocks import blocks
from wbsr_losses.shares import value_and_shares
from wbsr_losses.slope import with_slope


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
    return factored_log_density(x, *factors(weights, means, covariances))


def factors(
    weights: torch.Tensor, means: torch.Tensor, covariances: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What `factored_log_density` takes beside `x`, in float64; arguments as for `gaussian_log_density`.

    Returns:
        log_scale: the log-density at μ times φ (L, 1).
        rows: A / √2 of (1, x), row by row (D, L, 1 + D).
        pulls: -S⁻¹ of (1, x), column by column ((1 + D) · D, L).
    """
    dimension = means.shape[1]
    factor = torch.linalg.cholesky_ex(covariances.detach().double()).L
    eye = torch.eye(dimension, dtype=torch.float64, device=factor.device).expand_as(factor)
    whiten = torch.linalg.solve_triangular(factor, eye, upper=False)  # A (L, D, D)
    whiten = torch.cat([-whiten @ means.detach().double()[..., None], whiten], -1)  # (L, D, 1 + D), of (1, x)
    log_scale = weights.detach().double().log() + whiten.diagonal(1, -2, -1).log().sum(-1)
    log_scale = (log_scale - 0.5 * dimension * math.log(2 * math.pi))[:, None]
    pulls = -(whiten[..., 1:].mT @ whiten).permute(2, 1, 0).flatten(0, 1)
    return log_scale, (whiten / math.sqrt(2)).transpose(0, 1), pulls


def factored_log_density(
    x: torch.Tensor, log_scale: torch.Tensor, rows: torch.Tensor, pulls: torch.Tensor
) -> torch.Tensor:
    """`gaussian_log_density` of the points `x`, from what `factors` returned."""
    log_scale, rows, pulls = (numbers.to(x) for numbers in (log_scale, rows, pulls))

    def work(x: torch.Tensor, wanted: bool) -> tuple[torch.Tensor, torch.Tensor | None]:
        value = x.new_empty(x.shape[0], x.shape[2])
        slope = torch.empty_like(x) if wanted else None
        for n, p in blocks(x, 3 * len(log_scale)):
            points = F.pad(x[n, :, p], (0, 0, 1, 0), value=1.0)  # (n, 1 + D, p)
            value[n, p], shares = value_and_shares(_log_parts(points, rows, log_scale), 1)
            if slope is not None:
                _slope(points, shares, pulls, slope[n, :, p])
        return value, slope

    return with_slope(x, work)


def spheres_log_density(x: torch.Tensor, centres: torch.Tensor, sigma: float) -> torch.Tensor:
    """log of the mean over i of N(x; m_i, σ²I): as `gaussian_log_density`, of many equal spheres, by their distances.

    Args:
        x: points (N, D, P), float32 or float64; the result has the same precision.
        centres: m (S, D).
        sigma: σ > 0.

    Returns:
        log-densities (N, P).
    """
    count, dimension = centres.shape
    unit = math.sqrt(2) * sigma
    centres, units = centres.detach().to(x), (centres.detach().double() / unit).to(x)
    log_scale = -math.log(count) - 0.5 * dimension * math.log(2 * math.pi * sigma**2)

    def work(x: torch.Tensor, wanted: bool) -> tuple[torch.Tensor, torch.Tensor | None]:
        value = x.new_empty(x.shape[0], x.shape[2])
        slope = torch.empty_like(x) if wanted else None
        for n, p in blocks(x, 3 * count):
            points = x[n, :, p]
            scaled, log_parts = points / unit, x.new_zeros(())
            for d in range(dimension):
                z = scaled[:, d, None] - units[:, d, None]  # (n, S, p)
                log_parts = torch.addcmul(log_parts, z, z, value=-1, out=z)
            own, shares = value_and_shares(log_parts, 1)
            value[n, p] = own.add_(log_scale)
            if slope is not None:
                slope[n, :, p] = torch.matmul(centres.T, shares).sub_(points).div_(sigma**2)
        return value, slope

    return with_slope(x, work)


def _log_parts(points: torch.Tensor, rows: torch.Tensor, log_scale: torch.Tensor) -> torch.Tensor:
    """log φ_i N(x; μ_i, S_i), (n, L, p), of the points (1, x), (n, 1 + D, p)."""
    log_parts = log_scale
    for d, row in enumerate(rows, 2):  # A is triangular
        z = torch.matmul(row[:, :d], points[:, :d])  # (n, L, p)
        log_parts = torch.addcmul(log_parts, z, z, value=-1, out=z)
    return log_parts


def _slope(points: torch.Tensor, shares: torch.Tensor, pulls: torch.Tensor, out: torch.Tensor) -> None:
    """∇ log p (n, D, p) of the points (1, x), (n, 1 + D, p), from the shares r (n, L, p)."""
    parts = torch.matmul(pulls, shares).view(len(points), points.shape[1], -1, points.shape[2])  # (n, 1 + D, D, p)
    out.copy_(parts[:, 0])
    for d in range(1, points.shape[1]):
        out.addcmul_(parts[:, d], points[:, d : d + 1])
