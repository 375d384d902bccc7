"""The Balanced Diversity Loss, one pure function for each form of p(y|x; θ).

    L_bd = -log p(y; ŷ, σ) + log ∫ p(y'; ŷ, σ) p_train(y') dy' + λ‖θ‖²                             (14)

    y    target (HR pixel)          σ    noise of the prediction, in pixel values 0-1 (Laplace: b)
    ŷ    prediction                 φ_i, μ_i, Σ_i    mixture fitted to p_train(y), i = 1..L
    D    channels, 3                λ‖θ‖²    not here: it is the optimiser's weight_decay

The first term regresses; the second, worked out in closed form, takes back the reward for predicting what is frequent.
The loss is scaled so that the first term is plain MSE or L1, and constants are dropped:

    gaussian      2σ²/D · (L_bd - ½D log 2πσ²)  =  |y - ŷ|²/D + 2σ²/D · log Σ_i φ_i N(ŷ; μ_i, Σ_i + σ²I)
    laplace       b/D · (L_bd - D log 2b)       =  |y - ŷ|₁/D + b/D · Σ_c log Σ_i φ_i (Laplace_b * N(μ_ic, Σ_icc))(ŷ_c)
    monte_carlo   as gaussian, with the integral as the mean over targets of the batch (Balanced MSE's BMC)
    weighted      w(t)·|y - ŷ|₁/D, balancing the texture t of y by weights (`importance`)

The first three tend to MSE (L1) in value and gradient as σ → 0. For y the residual, pass prediction and target minus
the bicubic base.
The paper calls the first term "a probability form of L1" while its Eq. 9 is Gaussian: hence both forms.

Every function takes images (N, 3, H, W) in RGB, range 0-1 (predictions may leave it), float32 or float64, and returns
the loss of every element (N, 3, H, W); what belongs to a pixel rather than to a channel is shared out equally. A σ that
is not positive, or a mixture or samples of another dimension than the images, is a ValueError.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from wbsr_losses.gaussian_density import gaussian_log_density, spheres_log_density
from wbsr_losses.laplace_density import laplace_log_density
from wbsr_losses.mixture import GaussianMixture

Density = Callable[[torch.Tensor], torch.Tensor]


def bd_loss_gaussian(
    pred: torch.Tensor, target: torch.Tensor, mixture: GaussianMixture, sigma: float, density: Density | None = None
) -> torch.Tensor:
    """Eq. 14 as printed.

    Args:
        pred: ŷ (N, 3, H, W).
        target: y (N, 3, H, W).
        mixture: p_train(y), of dimension 3.
        sigma: σ > 0.
        density: `GaussianDensity(mixture, sigma)`, where it was made ready for many calls.
    """
    _check(pred, mixture.dimension, sigma)
    flat = pred.flatten(2)
    if density is None:
        noisy = mixture.noisy_covariances(sigma**2)
        log_density = gaussian_log_density(flat, mixture.weights, mixture.means, noisy)
    else:
        log_density = density(flat)
    return (pred - target).square() + 2 * sigma**2 / mixture.dimension * _as_images(log_density, pred)


def bd_loss_laplace(
    pred: torch.Tensor, target: torch.Tensor, mixture: GaussianMixture, scale: float, density: Density | None = None
) -> torch.Tensor:
    """Eq. 14 for Laplace noise, per channel, under the mixture's marginals: L1 plus its balancing term.

    Args:
        pred: ŷ (N, 3, H, W).
        target: y (N, 3, H, W).
        mixture: p_train(y), of dimension 3.
        scale: b > 0, the noise's mean absolute value.
        density: `LaplaceDensity(mixture, scale)`, a table that is as exact, where it was made ready for many calls.
    """
    _check(pred, mixture.dimension, scale)
    flat = pred.flatten(2)
    if density is None:
        log_density = laplace_log_density(flat, mixture.weights, mixture.means.T, mixture.stds.T, scale)
    else:
        log_density = density(flat)
    return (pred - target).abs().add(_as_images(log_density, pred), alpha=scale)


def bd_loss_monte_carlo(pred: torch.Tensor, target: torch.Tensor, samples: torch.Tensor, sigma: float) -> torch.Tensor:
    """Balanced MSE's batch form: no mixture, the integral is a mean over sampled targets and the pixel's own target.

    The own target is always one of them, as it is in Balanced MSE: without it a small σ would find no target near ŷ.

    Args:
        pred: ŷ (N, 3, H, W).
        target: y (N, 3, H, W).
        samples: y'_1..y'_S, pixels drawn from the targets (S, 3); detached.
        sigma: σ > 0.
    """
    count, dimension = samples.shape
    _check(pred, dimension, sigma)
    log_others = spheres_log_density(pred.flatten(2), samples, sigma) + math.log(count)
    squares = (pred - target).square()
    log_peak = -0.5 * dimension * math.log(2 * math.pi * sigma**2)
    log_own = log_peak - squares.sum(1).flatten(1) / (2 * sigma**2)
    log_density = torch.logaddexp(log_others, log_own) - math.log(count + 1)
    return squares + 2 * sigma**2 / dimension * _as_images(log_density, pred)


def _check(pred: torch.Tensor, dimension: int, sigma: float) -> None:
    if pred.shape[1] != dimension:
        raise ValueError(f"the mixture or samples must have dimension {pred.shape[1]}, as the images, got {dimension}")
    if not 0 < sigma < math.inf:
        raise ValueError(f"sigma must be a positive number, got {sigma}")


def _as_images(log_density: torch.Tensor, pred: torch.Tensor) -> torch.Tensor:
    """Log-densities (N, P) or (N, C, P) as (N, 1 or C, H, W)."""
    return log_density.reshape(pred.shape[0], -1, *pred.shape[2:])
