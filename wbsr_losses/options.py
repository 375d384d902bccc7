"""The options of `BDLoss` as a typed, checked object; what they mean stands there."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from wbsr_losses.fit import Covariance
from wbsr_losses.pixels import Measure

FORMS_OF_NOISE = ("gaussian", "laplace")  # Eq. 14 in closed form, a function of σ


@dataclass(frozen=True)
class BDLossOptions:
    """The options of `BDLoss`."""

    loss_weight: float
    reduction: Literal["none", "mean", "sum"]
    form: Literal["gaussian", "laplace", "monte_carlo", "weighted"]
    y: Measure
    scale: int | None
    noise_sigma: Literal["estimated", "learned"] | float
    strength: float | None
    per_channel: bool
    dataroot_gt: Path | str | None
    mixture: Path | str | None
    components: int | Literal["bic"]
    covariance: Covariance
    samples: int | None
    seed: int
    cache: bool

    def __post_init__(self) -> None:
        if not math.isfinite(self.loss_weight):
            raise ValueError(f"loss_weight must be finite, got {self.loss_weight}")
        self._check_mixture()
        self._check_noise()
        if (self.y == "residual") != (self.scale is not None):
            rule = "needs scale, by which HR is larger than LR" if self.y == "residual" else "knows no scale: remove it"
            raise ValueError(f"y: {self.y} {rule}, got scale: {self.scale}")
        if self.scale is not None and self.scale < 2:
            raise ValueError(f"scale must be at least 2, got {self.scale}")
        if (self.y == "texture") != (self.form == "weighted"):
            raise ValueError(f"y: texture and form: weighted go together, got y: {self.y}, form: {self.form}")
        if self.samples is not None and (self.form != "monte_carlo" or self.samples < 1):
            raise ValueError(f"samples must be at least 1, and goes with form: monte_carlo alone, got {self.samples}")
        if self.per_channel and self.form != "gaussian":
            raise ValueError(f"per_channel goes with form: gaussian alone, got form: {self.form}")
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

    def _check_noise(self) -> None:
        if self.noise_sigma == "learned" and (self.form not in FORMS_OF_NOISE or self.reduction == "none"):
            raise ValueError(
                "noise_sigma: learned goes with the forms gaussian and laplace and reduction mean or sum, got form: "
                f"{self.form}, reduction: {self.reduction}"
            )
        if self.noise_sigma == "estimated" and self.form == "weighted":
            raise ValueError("form: weighted needs a fixed noise_sigma, which its weights are made with, got estimated")
