"""The balanced posterior by weights: errors count by how rare their target is.

Eq. 3 has two ways to p_bal(y|x). Eq. 14 converts the prediction and is fitted to the training data as they come. The
other corrects the data: with p_bal(t) ∝ p_train(t)^(1 - α) for a measure t of the target, its texture, a target counts

    w(t) = p_bal(t) / p_train(t) = p_σ(t)^-α / E_train[p_σ^-α],    p_σ(t) = Σ_i φ_i N(t; μ_i, s_i² + σ²)

α = 0 is the plain loss and α = 1 a uniform p_bal; σ bounds the weight of what hardly ever occurs. Where Eq. 14 moves
the prediction wherever p_train is steep, on smooth patches first of all, weights move what the network learns first.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from wbsr_losses.gaussian_density import gaussian_log_density
from wbsr_losses.mixture import GaussianMixture

STEPS = 2048  # of the table, per unit: a step is a small part of the smallest σ
LEAST_SIGMA = 0.005
REACH = 1.0  # textures lie in 0..1.4, hardly ever above 0.5


class ImportanceWeights(nn.Module):
    """w(t) as a table, one row for each channel, made once and again by `work_out`, as the `densities` are.

    Args:
        mixture: p_train(t), of D channels; they are taken each by itself.
        sigma: σ, at least 0.005.
        strength: α, in 0..1.

    Raises:
        ValueError: a number out of its range, or a mixture so narrow that the table misses it.
    """

    table: Tensor

    def __init__(self, mixture: GaussianMixture, sigma: float, strength: float) -> None:
        super().__init__()
        if not sigma >= LEAST_SIGMA:
            raise ValueError(f"noise_sigma must be at least {LEAST_SIGMA} for form: weighted, got {sigma}")
        if not 0 <= strength <= 1:
            raise ValueError(f"strength must be in 0..1, got {strength}")
        self.sigma, self.strength = sigma, strength
        self.work_out(mixture)
        if self.table.isnan().any():
            raise ValueError(
                f"form: weighted needs a mixture that is wider than 1/{STEPS} somewhere in -{REACH:g}..{REACH:g}: fit "
                "one to textures of images"
            )

    def work_out(self, mixture: GaussianMixture, _loaded: Any = None) -> None:
        """Take the mixture's numbers as they are; `_loaded` is what PyTorch tells a hook after loading them."""
        values = torch.linspace(-REACH, REACH, int(2 * REACH * STEPS) + 1, dtype=torch.float64)
        values = values.to(mixture.means.device)
        log_weights = -self.strength * _log_marginals(values, mixture, self.sigma)
        density = _log_marginals(values, mixture, 0.0).exp()
        mean = (density * log_weights.exp()).sum(1, keepdim=True) / density.sum(1, keepdim=True)
        self.register_buffer("table", (log_weights.exp() / mean).float(), persistent=False)

    def forward(self, measure: Tensor) -> Tensor:
        """w of every element of the measures (N, D, H, W), with mean 1 over p_train."""
        last = self.table.shape[1] - 1
        place = measure.detach().add(REACH).mul(STEPS).round().long().clamp(0, last)  # a NaN too finds a place
        rows = torch.arange(len(self.table), device=place.device)[:, None, None] * self.table.shape[1]
        return self.table.flatten()[place + rows].to(measure)


def _log_marginals(values: Tensor, mixture: GaussianMixture, sigma: float) -> Tensor:
    """log p_σ of each channel (D, n) at the values (n,)."""
    noisy = mixture.noisy_covariances(sigma**2)
    return torch.cat(
        [
            gaussian_log_density(
                values[None, None], mixture.weights, mixture.means[:, c : c + 1], noisy[:, c : c + 1, c : c + 1]
            )
            for c in range(mixture.dimension)
        ]
    )
