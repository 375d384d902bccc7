"""Eq. 14 as a function of σ: what a learned σ is judged by.

    -log p(y; ŷ, σ) + log ∫ p(y'; ŷ, σ) p_train(y') dy'        a mean over pixels, without constants

The densities of the loss itself bring their gradient in ŷ alone. One number needs no more than some thousands of
pixels, so here torch.distributions and autograd do, in float64.
"""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution, MixtureSameFamily, MultivariateNormal, Normal

from wbsr_losses.mixture import GaussianMixture

MOST_PIXELS = 4096


def gaussian_likelihood(
    error: Tensor, point: Tensor, mixture: GaussianMixture, sigma: Tensor, per_channel: bool = False
) -> Tensor:
    """The mean of Eq. 14 over pixels for Gaussian noise, differentiable with respect to `sigma`.

    Args:
        error: y - ŷ (N, D, H, W).
        point: where p_train is asked, ŷ (N, D, H, W).
        mixture: p_train(y), of dimension D.
        sigma: σ, a tensor of one number.
        per_channel: each channel by itself, as in `bd_loss_gaussian`.
    """
    error, point = _some_pixels(error), _some_pixels(point)
    sigma, means, covariances = sigma.double(), mixture.means.double(), mixture.covariances.double()
    plain = (0.5 * (error / sigma).square() + sigma.log()).sum(1)
    parts = Categorical(probs=mixture.weights.double())
    mixed = partial(MixtureSameFamily, parts, validate_args=False)  # what is not finite is the loss's to name
    if per_channel:
        stds = (covariances.diagonal(dim1=-2, dim2=-1) + sigma**2).sqrt()
        channels = [Normal(means[:, c], stds[:, c], validate_args=False) for c in range(mixture.dimension)]
        balance = sum(_log_prob(mixed(channel), point[:, c]) for c, channel in enumerate(channels))
        return (plain + balance).mean()
    noisy = covariances + sigma**2 * torch.eye(mixture.dimension, dtype=torch.float64, device=sigma.device)
    return (plain + _log_prob(mixed(MultivariateNormal(means, noisy, validate_args=False)), point)).mean()


def laplace_likelihood(error: Tensor, point: Tensor, mixture: GaussianMixture, scale: Tensor) -> Tensor:
    """The same for Laplace noise, per channel.

    Args:
        error: as for `gaussian_likelihood`.
        point: as for `gaussian_likelihood`.
        mixture: as for `gaussian_likelihood`.
        scale: b, a tensor of one number.
    """
    error, point, scale = _some_pixels(error), _some_pixels(point), scale.double()
    stds = mixture.covariances.double().diagonal(dim1=-2, dim2=-1).sqrt()  # (L, D)
    offset = point[:, None] - mixture.means.double()  # (n, L, D)
    tails = [
        0.5 * (stds / scale).square()
        - way * offset / scale
        + torch.special.log_ndtr(way * offset / stds - stds / scale)
        for way in (1, -1)
    ]
    parts = torch.logaddexp(*tails) - (2 * scale).log() + mixture.weights.double().log()[:, None]
    return (error.abs() / scale + (2 * scale).log() + torch.logsumexp(parts, 1)).sum(1).mean()


def _log_prob(distribution: Distribution, points: Tensor) -> Tensor:
    log_density: Tensor = distribution.log_prob(points)  # type: ignore[no-untyped-call]
    return log_density


def _some_pixels(images: Tensor) -> Tensor:
    """Up to 4,096 pixels (n, D) of images (N, D, H, W), evenly spread, in float64."""
    pixels = images.detach().movedim(1, -1).flatten(0, -2)
    return pixels[:: math.ceil(len(pixels) / MOST_PIXELS)].double()
