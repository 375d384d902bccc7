"""The options of `BDLoss` as a typed, checked object; what they mean stands there."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from wbsr_losses.fit import Covariance
from wbsr_losses.pixels import Measure

LEAST_SIGMA = 1e-5  # below it squares of distances in units of σ leave float32; the loss is MSE or L1 long before


@dataclass(frozen=True)
class BDLossOptions:
    """The options of `BDLoss`."""

    loss_weight: float
    reduction: Literal["none", "mean", "sum"]
    form: Literal["gaussian", "laplace", "monte_carlo", "weighted"]
    y: Measure
    scale: int | None
    noise_sigma: float
    strength: float | None
    dataroot_gt: Path | str | None
    mixture: Path | str | None
    components: int
    covariance: Covariance
    samples: int | None
    seed: int
    cache: bool

    def __post_init__(self) -> None:
        if not math.isfinite(self.loss_weight):
            raise ValueError(f"loss_weight must be finite, got {self.loss_weight}")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed must be a whole number from 0 to {2**32 - 1}, got {self.seed}")
        self._check_mixture()
        if not LEAST_SIGMA <= self.noise_sigma < math.inf:
            raise ValueError(f"noise_sigma must be a number of at least {LEAST_SIGMA}, got {self.noise_sigma}")
        if (self.y == "residual") != (self.scale is not None):
            rule = "needs scale, by which HR is larger than LR" if self.y == "residual" else "knows no scale: remove it"
            raise ValueError(f"y: {self.y} {rule}, got scale: {self.scale}")
        if self.scale is not None and self.scale < 2:
            raise ValueError(f"scale must be at least 2, got {self.scale}")
        if (self.y == "texture") != (self.form == "weighted"):
            raise ValueError(f"y: texture and form: weighted go together, got y: {self.y}, form: {self.form}")
        if self.samples is not None and (self.form != "monte_carlo" or self.samples < 1):
            raise ValueError(f"samples must be at least 1, and goes with form: monte_carlo alone, got {self.samples}")
        if self.strength is not None and self.form != "weighted":
            raise ValueError(f"strength goes with form: weighted alone, got form: {self.form}: remove it")

    def _check_mixture(self) -> None:
        sources = [name for name in ("dataroot_gt", "mixture") if getattr(self, name) is not None]
        if self.form == "monte_carlo":
            if sources:
                raise ValueError(f"the monte_carlo form draws from the batch and needs no {sources[0]}: remove it")
        elif len(sources) != 1:
            came = "both" if sources else "neither"
            raise ValueError(f"give either dataroot_gt (to fit a mixture) or mixture (a file of one), got {came}")
