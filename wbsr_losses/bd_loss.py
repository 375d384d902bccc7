"""`BDLoss`: the Balanced Diversity Loss (Eq. 14) as a BasicSR loss, for WBSR and for any stock option file.

    train:
      pixel_opt:
        type: BDLoss
        dataroot_gt: datasets/DIV2K/DIV2K_train_HR    # the mixture is fitted to it once, then cached

An honest limit: Eq. 14 balances pixel values, and test images are no more balanced in those than training images are.
Taken literally (`form: gaussian`) with a σ of some size it loses PSNR on flat and on textured patches alike, and the
author of Balanced MSE, whose closed form this is, advises against it for reconstruction. So the default is the form
that was measured to cost nothing beside L1: `laplace` with a small b (docs/findings/bdloss.md). `L1Loss` stays one word
away.

λ‖θ‖² of Eq. 14 is no option here, since BasicSR gives a loss no weights: `WBSRModel` has `train:weight_penalty`, and
with Adam it is `weight_decay: 2λ` in `optim_g` (which adds weight_decay · θ to the gradient; that of λ‖θ‖² is 2λθ).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from inspect import signature
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
from torch import nn

from wbsr_base.basicsr import LOSS_REGISTRY, weight_reduce_loss
from wbsr_base.options import parse
from wbsr_losses.densities import GaussianDensity, LaplaceDensity
from wbsr_losses.finite import NOTES, blame, notes
from wbsr_losses.fit import fit_mixture
from wbsr_losses.functional import bd_loss_gaussian, bd_loss_laplace, bd_loss_monte_carlo
from wbsr_losses.importance import ImportanceWeights
from wbsr_losses.mixture import GaussianMixture, working_precision
from wbsr_losses.options import BDLossOptions
from wbsr_losses.pixels import Measure, list_images
from wbsr_losses.residual import bicubic_base
from wbsr_losses.texture import local_texture

CHANNELS = 3
DEFAULT_SAMPLES = 64
DEFAULT_STRENGTH = 0.25


@LOSS_REGISTRY.register()
class BDLoss(nn.Module):
    """Balanced Diversity Loss on RGB images of range 0-1.

    On a CPU a loss that is not finite is an error at once. Elsewhere the host would have to wait for the device at
    every step to see that: there `forward` reads nothing back, and `check` (`wbsr_base.protocols.ChecksLater`) raises
    what the first bad step would have raised; BasicSR's models call it at each log line and before they save.

    Args:
        loss_weight: factor of the loss.
        reduction: `mean` or `sum` over all elements; or `none`, of which a training can't make use.
        form: `laplace` (tends to L1 as σ → 0; predictions far outside 0-1 get no gradient, as both its terms grow at
            the same rate, as they do in the data's own tail if b is above its scale), `gaussian` (Eq. 14 as printed;
            tends to MSE), `monte_carlo` (Balanced MSE's batch form, without a mixture), or `weighted` (L1 in which rare
            textures weigh more).
        y: what is balanced: `pixel` (colours, the paper), `residual` (HR minus the bicubically upsampled LR image), or
            `texture` (for `weighted`: RMS gradient over cells of 16 x 16 HR pixels).
        scale: (residual) by which HR is larger than LR.
        noise_sigma: σ, the noise of the prediction in pixel values, at least 1e-5; for `laplace` its b. Larger balances
            more.
        strength: (weighted) α in 0..1: a target counts p_train^-α; 0.25 where not given.
        dataroot_gt: folder or LMDB of HR images, to fit the mixture to. Exactly one of this and `mixture`.
        mixture: path of a file that `GaussianMixture.save` wrote.
        components: (dataroot_gt) number of Gaussians.
        covariance: (dataroot_gt) `full`, `diagonal` or `spherical`.
        samples: (monte_carlo) how many targets of the batch the integral is taken over; 64 where not given.
        seed: of the fit, and of the monte_carlo draws.
        cache: (dataroot_gt) keep the fitted mixture in `.cache/wbsr`.

    Raises:
        TypeError: an unknown option, or a value of another type.
        ValueError: a value that breaks a rule.
        FileNotFoundError: the folder or the file is missing.

    Attributes:
        deferred: leave the errors to `check` on a CPU too, as in a step that is recorded or tested.
        channels: of the images it is for.
    """

    channels: ClassVar[int] = CHANNELS
    deferred: bool = False
    noted: torch.Tensor

    def __init__(
        self,
        loss_weight: float = 1.0,
        reduction: str = "mean",
        form: str = "laplace",
        y: str = "pixel",
        scale: int | None = None,
        noise_sigma: float = 0.01,
        strength: float | None = None,
        dataroot_gt: Path | str | None = None,
        mixture: Path | str | None = None,
        components: int = 8,
        covariance: str = "full",
        samples: int | None = None,
        seed: int = 0,
        cache: bool = True,
    ) -> None:
        given = {name: value for name, value in locals().items() if name in BDLossOptions.__dataclass_fields__}
        super().__init__()
        self.options = options = parse(BDLossOptions, given, "BDLoss")
        self.mixture = _mixture(options)
        if self.mixture is not None:
            self.balance = _balance(options, self.mixture)
            self.mixture.register_load_state_dict_post_hook(self.balance.work_out)  # type: ignore[no-untyped-call]
        self.generator = torch.Generator().manual_seed(options.seed)
        self.register_buffer("noted", torch.zeros(NOTES, dtype=torch.float64), persistent=False)

    @staticmethod
    def check_options(block: Mapping[str, Any]) -> None:
        """Check what a training's option file says, without fitting a mixture.

        Raises:
            TypeError, ValueError, FileNotFoundError: as the constructor does; and a reduction without a scalar.
        """
        defaults = {name: parameter.default for name, parameter in signature(BDLoss).parameters.items()}
        given = {name: value for name, value in block.items() if name != "type"}
        options = parse(BDLossOptions, defaults | given, "BDLoss")
        if options.reduction == "none":
            raise ValueError("BDLoss: reduction must be mean or sum in a training, which needs one number, got none")
        if options.components < 1:
            raise ValueError(f"BDLoss: components must be a whole number of at least 1, got {options.components}")
        if options.dataroot_gt is not None:
            list_images(options.dataroot_gt)
        elif options.mixture is not None:
            _load(options.mixture, options.y)

    @property
    def needs_lq(self) -> bool:
        """Whether `forward` makes use of the LR image, as `y: residual` does; `WBSRModel` then passes it."""
        return self.options.y == "residual"

    @property
    def draws(self) -> bool:
        """Whether `forward` draws random numbers, as `form: monte_carlo` does."""
        return self.mixture is None

    def forward(
        self,
        pred: torch.Tensor,
        target: torch.Tensor,
        weight: torch.Tensor | None = None,
        lq: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The loss, in float32 (float64 for float64 predictions), also under autocast.

        Args:
            pred: (N, 3, H, W).
            target: (N, 3, H, W).
            weight: (N, 1 or 3, H, W), factors of the elements; `mean` then divides by their sum, as in BasicSR.
            lq: (N, 3, H / scale, W / scale), the LR image, for `y: residual`; None takes the target's own bicubic
                downsampling.

        Returns:
            a scalar, or (N, 3, H, W) for reduction `none`.

        Raises:
            ValueError: other shapes; on a CPU also numbers that are not finite; the culprit is named. Elsewhere `check`
                names it.
        """
        _check_shapes(pred, target, weight)
        target = target.to(pred.device)
        with torch.autocast(pred.device.type, enabled=False):
            pred_, target_ = working_precision(pred), working_precision(target)
            if self.options.scale is not None:
                base = bicubic_base(target_, self.options.scale, lq)
                pred_, target_ = pred_ - base, target_ - base
            loss = weight_reduce_loss(self._elements(pred_, target_), weight, self.options.reduction)
            loss = self.options.loss_weight * loss
        if self.deferred or loss.device.type != "cpu":
            self._note(notes(loss, pred, target, weight))
        elif not torch.isfinite(loss).all():
            blame(notes(loss, pred, target, weight).tolist())
        return cast(torch.Tensor, loss)

    def check(self) -> None:
        """Read what was noted since the last check, and forget it; the host waits for the device once.

        Raises:
            ValueError: a loss was not finite; the culprit of the first one is named.
        """
        noted = self.noted.tolist()
        self.noted.zero_()
        if noted[0]:
            blame(noted)

    def training_state(self) -> dict[str, Any]:
        """Where the draws of `monte_carlo` are; empty for the other forms, which draw nothing."""
        if self.mixture is not None:
            return {}
        return {"generator": self.generator.get_state(), "device": self.generator.device.type}

    def resume(self, state: Mapping[str, Any]) -> None:
        """Go on with the draws of a training state; on another kind of device they begin anew."""
        if state and (state["device"] == "cpu" or torch.cuda.is_available()):
            self.generator = torch.Generator(state["device"])
            self.generator.set_state(state["generator"].cpu())

    def extra_repr(self) -> str:
        """What `print` shows."""
        return ", ".join(f"{key}={value!r}" for key, value in asdict(self.options).items() if value is not None)

    def _note(self, now: torch.Tensor) -> None:
        """Keep the first notes that say something; in place, so that a recorded step goes on writing them."""
        self.noted = self.noted.to(now.device)
        kept = self.noted[: len(now)]
        torch.where(self.noted[0] > 0, kept, now, out=kept)

    def _elements(self, pred: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        options = self.options
        sigma = options.noise_sigma
        if self.mixture is None:
            samples = self._draw(target, options.samples or DEFAULT_SAMPLES)
            return bd_loss_monte_carlo(pred, target, samples, sigma)
        if options.form == "weighted":
            weights: torch.Tensor = self.balance(local_texture(target))
            return weights * (pred - target).abs()
        in_closed_form = bd_loss_laplace if options.form == "laplace" else bd_loss_gaussian
        return in_closed_form(pred, target, self.mixture, sigma, self.balance)

    def _draw(self, target: torch.Tensor, count: int) -> torch.Tensor:
        """Pixels of the targets (count, 3), drawn with the loss's own generator, on their device."""
        pixels = target.detach().movedim(1, -1).reshape(-1, CHANNELS)
        if self.generator.device != pixels.device:
            self.generator = torch.Generator(pixels.device).manual_seed(self.options.seed)
        return pixels[torch.randint(len(pixels), (count,), generator=self.generator, device=pixels.device)]


def _mixture(options: BDLossOptions) -> GaussianMixture | None:
    if options.dataroot_gt is not None:
        return fit_mixture(
            options.dataroot_gt,
            options.components,
            options.covariance,
            seed=options.seed,
            cache=options.cache,
            y=options.y,
            scale=options.scale,
        )
    return None if options.mixture is None else _load(options.mixture, options.y)


def _load(path: Path | str, y: Measure) -> GaussianMixture:
    """The mixture of a file, which must fit what is balanced."""
    mixture = GaussianMixture.load(path)
    dimension, came = 1 if y == "texture" else CHANNELS, mixture.dimension
    if came != dimension:
        raise ValueError(f"the mixture {path} must have dimension {dimension}, got {came}: fit it to y: {y}")
    return mixture


def _balance(options: BDLossOptions, mixture: GaussianMixture) -> GaussianDensity | LaplaceDensity | ImportanceWeights:
    """What is worked out of the mixture once."""
    if options.form == "weighted":
        strength = DEFAULT_STRENGTH if options.strength is None else options.strength
        return ImportanceWeights(mixture, options.noise_sigma, strength)
    density = LaplaceDensity if options.form == "laplace" else GaussianDensity
    return density(mixture, options.noise_sigma)


def _check_shapes(pred: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None) -> None:
    if pred.shape != target.shape:
        came = f"{tuple(pred.shape)} and {tuple(target.shape)}"
        raise ValueError(f"prediction and target must have one shape, got {came}: check the scale of network and data")
    if pred.ndim != 4 or pred.shape[1] != CHANNELS or pred.numel() == 0:
        raise ValueError(
            f"BDLoss takes RGB images (N, {CHANNELS}, H, W), got {tuple(pred.shape)}: use L1Loss for other channels"
        )
    for name, tensor in (("prediction", pred), ("target", target)):
        if not tensor.is_floating_point():
            raise ValueError(f"the {name} must be floating point of range 0-1, got {tensor.dtype}: divide it by 255")
    if weight is not None and weight.shape not in {pred.shape, (pred.shape[0], 1, *pred.shape[2:])}:
        raise ValueError(f"weight must be (N, 1 or {CHANNELS}, H, W) as {tuple(pred.shape)}, got {tuple(weight.shape)}")
