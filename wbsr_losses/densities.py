"""The mixture under the noise of the prediction, made ready once: what BDLoss asks at every step.

All that depends on mixture and σ alone is worked out when the loss is made and kept in buffers. They follow the loss to
its device and into its copies, and stand in no checkpoint, as the mixture does; `work_out` makes them anew when another
mixture has been loaded.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from wbsr_losses.gaussian_density import factored_log_density, factors
from wbsr_losses.laplace_density import laplace_log_density, value_and_slope
from wbsr_losses.mixture import GaussianMixture
from wbsr_losses.slope import with_slope
from wbsr_losses.tabulated import CENTRE, Grid, read, tabulate

TAIL = 6.0  # standard deviations beyond which nothing but the exponential is left: Φ(-6) = 1e-9


class GaussianDensity(nn.Module):
    """log Σ_i φ_i N(·; μ_i, Σ_i + σ²I), its covariances factored.

    Args:
        mixture: of dimension D.
        sigma: σ > 0.
    """

    log_scale: Tensor
    rows: Tensor
    pulls: Tensor

    def __init__(self, mixture: GaussianMixture, sigma: float) -> None:
        super().__init__()
        self.sigma = sigma
        self.work_out(mixture)

    def work_out(self, mixture: GaussianMixture, _loaded: Any = None) -> None:
        """Take the mixture's numbers as they are; `_loaded` is what PyTorch tells a hook after loading them."""
        covariances = mixture.noisy_covariances(self.sigma**2)
        names = ("log_scale", "rows", "pulls")
        for name, numbers in zip(names, factors(mixture.weights, mixture.means, covariances), strict=True):
            self.register_buffer(name, numbers, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Log-densities (N, P) of the points x (N, D, P), differentiable once."""
        return factored_log_density(x, self.log_scale, self.rows, self.pulls)


class LaplaceDensity(nn.Module):
    """log Σ_i φ_i (Laplace_b * N(μ_ic, Σ_icc))(·) of each channel c, read off a table.

    float64, and a mixture that is too narrow for a table, is worked out value by value.

    Args:
        mixture: its marginals are taken.
        scale: b > 0.
    """

    weights: Tensor
    means: Tensor
    stds: Tensor
    table: Tensor | None

    def __init__(self, mixture: GaussianMixture, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.work_out(mixture)

    def work_out(self, mixture: GaussianMixture, _loaded: Any = None) -> None:
        """As `GaussianDensity.work_out`."""
        weights, means, stds = (numbers.double() for numbers in (mixture.weights, mixture.means.T, mixture.stds.T))
        offset = (means - CENTRE).abs()
        reach = offset + stds.square() / self.scale + TAIL * stds
        self.grid = Grid.of(stds.min().item(), offset.max().item(), reach.max().item())

        def work(x: Tensor) -> tuple[Tensor, Tensor]:
            return value_and_slope(x, weights, means, stds, self.scale)

        table = None if self.grid is None else tabulate(work, len(means), self.grid, means.device)
        for name, numbers in (("weights", weights), ("means", means), ("stds", stds), ("table", table)):
            self.register_buffer(name, numbers, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Log-densities (N, C, P) of the values x (N, C, P), differentiable once."""
        grid, table = self.grid, self.table
        if grid is None or table is None or not x.dtype == table.dtype == torch.float32:
            return laplace_log_density(x, self.weights, self.means, self.stds, self.scale)
        return with_slope(x, lambda x, _: read(table, grid, x))
