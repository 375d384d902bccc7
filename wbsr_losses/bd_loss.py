"""`BDLoss`: the Balanced Diversity Loss (Eq. 14) as a BasicSR loss, for WBSR and for any stock option file.

    train:
      pixel_opt:
        type: BDLoss
        dataroot_gt: datasets/DIV2K/DIV2K_train_HR    # the mixture is fitted to it once, then cached

An honest limit: Eq. 14 balances pixel values, and test images are no more balanced in those than training images are.
A small trial (MSRResNet 16 wide, one seed) lost 0.2 dB of PSNR against MSE at σ = 0.02 and 0.8 dB at σ = 0.05, on flat
and on textured patches alike; and the author of Balanced MSE, whose closed form this is, advises against it for
reconstruction. So the default σ is small, which keeps the loss near MSE and its training stable. `L1Loss` stays one
word away.

λ‖θ‖² of Eq. 14 is no option here, since BasicSR gives a loss no weights: with Adam it is `weight_decay: 2λ` in
`optim_g` (Adam adds weight_decay · θ to the gradient, and the gradient of λ‖θ‖² is 2λθ).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, cast

import torch
from torch import nn

from wbsr import compat
from wbsr.options import parse

compat.install()
from basicsr.losses.loss_util import weight_reduce_loss  # noqa: E402
from basicsr.utils.registry import LOSS_REGISTRY  # noqa: E402

from .fit import Covariance, fit_mixture  # noqa: E402
from .functional import bd_loss_gaussian, bd_loss_laplace, bd_loss_monte_carlo  # noqa: E402
from .mixture import GaussianMixture, working_precision  # noqa: E402

CHANNELS = 3
DEFAULT_SAMPLES = 64
LEAST_SIGMA = 1e-5  # below it squares of distances in units of σ leave float32; the loss is MSE or L1 long before


@dataclass(frozen=True)
class BDLossOptions:
    """The options of `BDLoss`, checked; their meaning stands there."""

    loss_weight: float
    reduction: Literal["none", "mean", "sum"]
    form: Literal["gaussian", "laplace", "monte_carlo"]
    noise_sigma: float
    per_channel: bool
    dataroot_gt: Path | str | None
    mixture: Path | str | None
    components: int | Literal["bic"]
    covariance: Covariance
    samples: int | None
    seed: int
    cache: bool

    def __post_init__(self) -> None:
        if not LEAST_SIGMA <= self.noise_sigma < float("inf"):
            raise ValueError(f"noise_sigma must be a number of at least {LEAST_SIGMA}, got {self.noise_sigma}")
        sources = [name for name in ("dataroot_gt", "mixture") if getattr(self, name) is not None]
        if self.form == "monte_carlo":
            if sources:
                raise ValueError(f"the monte_carlo form draws from the batch and needs no {sources[0]}: remove it")
        elif len(sources) != 1:
            came = "both" if sources else "neither"
            raise ValueError(f"give either dataroot_gt (to fit a mixture) or mixture (a file of one), got {came}")
        if self.samples is not None and (self.form != "monte_carlo" or self.samples < 1):
            raise ValueError(f"samples must be at least 1, and goes with form: monte_carlo alone, got {self.samples}")
        if self.per_channel and self.form != "gaussian":
            raise ValueError(f"per_channel goes with form: gaussian alone, got form: {self.form}: remove it")


@LOSS_REGISTRY.register()
class BDLoss(nn.Module):
    """Balanced Diversity Loss on RGB images of range 0-1.

    Args:
        loss_weight: factor of the loss.
        reduction: `none`, `mean` or `sum` over all elements.
        form: `gaussian` (Eq. 14 as printed; tends to MSE as σ → 0), `laplace` (tends to L1; predictions far outside
            0-1 get no gradient, as both its terms grow at the same rate), or `monte_carlo` (Balanced MSE's batch form,
            without a mixture).
        noise_sigma: σ, the noise of the prediction in pixel values; for `laplace` its b. Larger balances more.
        per_channel: (gaussian) balance each channel by itself instead of colours; `laplace` always does.
        dataroot_gt: folder or LMDB of HR images, to fit the mixture to. Exactly one of this and `mixture`.
        mixture: path of a file that `GaussianMixture.save` wrote.
        components: (dataroot_gt) number of Gaussians, or `bic` to choose it from the data.
        covariance: (dataroot_gt) `full`, `diagonal` or `spherical`.
        samples: (monte_carlo) how many targets of the batch the integral is taken over; 64 where not given.
        seed: of the fit, and of the monte_carlo draws.
        cache: (dataroot_gt) keep the fitted mixture in `.cache/wbsr`.

    Raises:
        TypeError: an unknown option, or a value of another type.
        ValueError: a value that breaks a rule.
        FileNotFoundError: the folder or the file is missing.
    """

    def __init__(
        self,
        loss_weight: float = 1.0,
        reduction: str = "mean",
        form: str = "gaussian",
        noise_sigma: float = 0.01,
        per_channel: bool = False,
        dataroot_gt: Path | str | None = None,
        mixture: Path | str | None = None,
        components: int | str = 8,
        covariance: str = "full",
        samples: int | None = None,
        seed: int = 0,
        cache: bool = True,
    ) -> None:
        given = {name: value for name, value in locals().items() if name in BDLossOptions.__dataclass_fields__}
        super().__init__()
        self.options = options = parse(BDLossOptions, given, "BDLoss")
        self.mixture = _mixture(options)
        self.generator = torch.Generator().manual_seed(options.seed)

    def forward(self, pred: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None = None) -> torch.Tensor:
        """The loss, in float32 (float64 for float64 predictions), also under autocast.

        Args:
            pred: (N, 3, H, W).
            target: (N, 3, H, W).
            weight: (N, 1 or 3, H, W), factors of the elements; `mean` then divides by their sum, as in BasicSR.

        Returns:
            a scalar, or (N, 3, H, W) for reduction `none`.

        Raises:
            ValueError: other shapes, or numbers that are not finite; the culprit is named.
        """
        _check_shapes(pred, target, weight)
        with torch.autocast(pred.device.type, enabled=False):
            elements = self._elements(working_precision(pred), working_precision(target).to(pred.device))
            loss = self.options.loss_weight * weight_reduce_loss(elements, weight, self.options.reduction)
        if not torch.isfinite(loss).all():
            _blame(pred, target, weight)
        return cast(torch.Tensor, loss)

    def extra_repr(self) -> str:
        """What `print` shows."""
        return ", ".join(f"{key}={value!r}" for key, value in asdict(self.options).items() if value is not None)

    def _elements(self, pred: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        options = self.options
        if self.mixture is None:
            samples = self._draw(target, options.samples or DEFAULT_SAMPLES)
            return bd_loss_monte_carlo(pred, target, samples, options.noise_sigma)
        if options.form == "laplace":
            return bd_loss_laplace(pred, target, self.mixture, options.noise_sigma)
        return bd_loss_gaussian(pred, target, self.mixture, options.noise_sigma, options.per_channel)

    def _draw(self, target: torch.Tensor, count: int) -> torch.Tensor:
        """Pixels of the targets (count, 3), drawn with the loss's own generator."""
        pixels = target.detach().movedim(1, -1).reshape(-1, CHANNELS)
        return pixels[torch.randint(len(pixels), (count,), generator=self.generator).to(pixels.device)]


def _mixture(options: BDLossOptions) -> GaussianMixture | None:
    if options.dataroot_gt is not None:
        return fit_mixture(
            options.dataroot_gt, options.components, options.covariance, seed=options.seed, cache=options.cache
        )
    if options.mixture is None:
        return None
    mixture = GaussianMixture.load(options.mixture)
    if mixture.dimension != CHANNELS:
        came = mixture.dimension
        raise ValueError(f"the mixture {options.mixture} must have dimension {CHANNELS}, got {came}: fit it to RGB")
    return mixture


def _check_shapes(pred: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None) -> None:
    if pred.shape != target.shape:
        came = f"{tuple(pred.shape)} and {tuple(target.shape)}"
        raise ValueError(f"prediction and target must have one shape, got {came}: check the scale of network and data")
    if pred.ndim != 4 or pred.shape[1] != CHANNELS or pred.numel() == 0:
        raise ValueError(
            f"BDLoss takes RGB images (N, {CHANNELS}, H, W), got {tuple(pred.shape)}: use L1Loss for other channels"
        )
    if weight is not None and weight.shape not in {pred.shape, (pred.shape[0], 1, *pred.shape[2:])}:
        raise ValueError(f"weight must be (N, 1 or {CHANNELS}, H, W) as {tuple(pred.shape)}, got {tuple(weight.shape)}")


def _blame(pred: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None) -> None:
    """Raise an error that names what made the loss non-finite."""
    for name, tensor in (("prediction", pred), ("target", target), ("weight", weight)):
        if tensor is not None and not torch.isfinite(tensor).all():
            count = int((~torch.isfinite(tensor)).sum())
            remedy = "check the HR images" if name == "target" else "lower the learning rate or clip the gradient"
            raise ValueError(f"the {name} must be finite, got {count} values of NaN or infinity: {remedy}")
    largest = pred.detach().abs().max().item()
    raise ValueError(
        f"the loss is not finite, with predictions up to {largest:.3g} where 0-1 is meant"
        + ("" if weight is None else f" and weights that sum to {weight.sum().item():.3g}")
        + ": training has diverged, lower the learning rate"
    )
