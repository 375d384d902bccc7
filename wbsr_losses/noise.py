"""σ, the noise of the prediction in Eq. 2 (Laplace: its mean absolute value b): fixed, estimated or learned.

    estimated   the running mean of the prediction's own squared (absolute) error
    learned     a parameter, the σ of largest likelihood under Eq. 14; the optimiser has to be given it

Both start from the error of the first batch, averaged over ranks, and count training steps alone (predictions with a
gradient). An estimate stays the same on all ranks; the gradient of a learned σ is `WBSRModel`'s to average. Both stand
in `state_dict`. Neither is small before a network is good: σ is what Eq. 2 says it is, the error of the prediction, and
docs/bdloss.md shows what balancing by so much costs.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, distributed, nn

LEAST_SIGMA = 1e-5  # below it squares of distances in units of σ leave float32; the loss is MSE or L1 long before
RATE = 0.01  # of the running mean; the first steps are averaged evenly
PATIENCE = 100  # steps after which a learned σ must have moved

Setting = float | Literal["estimated", "learned"]


class Noise(nn.Module):
    """σ > 0 as a number, following the training where it is asked to.

    Args:
        setting: a number of at least 1e-5, `estimated` or `learned`.
        power: of the error that σ measures: 2 (gaussian, σ is its root mean square) or 1 (laplace, its mean).

    Raises:
        ValueError: a number out of range.
    """

    moment: Tensor
    steps: Tensor

    def __init__(self, setting: Setting, power: int = 2) -> None:
        super().__init__()
        if isinstance(setting, float) and not LEAST_SIGMA <= setting < math.inf:
            raise ValueError(f"noise_sigma must be a number of at least {LEAST_SIGMA}, got {setting}")
        self.setting, self.power = setting, power
        if isinstance(setting, str):
            self.register_buffer("moment", torch.tensor(1.0))
            self.register_buffer("steps", torch.tensor(0))
        if setting == "learned":
            self.log_sigma = nn.Parameter(torch.tensor(0.0))

    def value(self) -> float:
        """σ as it stands.

        Raises:
            ValueError: it is to be learned, and no optimiser moves it.
        """
        if isinstance(self.setting, float):
            return self.setting
        sigma = self.sigma().item()
        if not math.isfinite(sigma):
            raise ValueError(f"noise_sigma must be finite, got {sigma} as {self.setting}: training has diverged")
        return sigma

    def sigma(self) -> Tensor:
        """σ as a tensor of one number; a learned one with its gradient."""
        if self.setting == "learned":
            return self.log_sigma.exp().clamp(min=LEAST_SIGMA)
        return self.moment.pow(1 / self.power).clamp(min=LEAST_SIGMA)

    @torch.no_grad()
    def observe(self, error: Tensor) -> None:
        """Take notice of the errors of one training step, of any shape; of none where one is not finite."""
        if isinstance(self.setting, float):
            return
        now = mean_over_ranks(error.abs().pow(self.power).mean())
        if not torch.isfinite(now):
            return
        self.steps += 1
        steps = int(self.steps)
        if self.setting == "estimated" or steps == 1:
            self.moment.lerp_(now.to(self.moment), max(1 / steps, RATE))
        if self.setting == "learned":
            started = self.moment.pow(1 / self.power).clamp(min=LEAST_SIGMA).log()
            if steps == 1:
                self.log_sigma.copy_(started)
            elif steps == PATIENCE and torch.equal(self.log_sigma, started):
                raise ValueError(
                    f"noise_sigma: learned has not moved in {PATIENCE} steps, as no optimiser was given the loss's "
                    "parameters: use WBSRModel, or noise_sigma: estimated"
                )


@torch.no_grad()
def mean_over_ranks(value: Tensor) -> Tensor:
    """The mean of a tensor over the ranks of a distributed training; the tensor itself where there is one process."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return value
    total = value.clone()
    distributed.all_reduce(total)
    return total / distributed.get_world_size()
