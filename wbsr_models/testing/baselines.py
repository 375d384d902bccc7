"""What a test compares dynamic inference with: the full network as BasicSR runs it, and no network at all.

Each is called like a `DynamicUpscaler` and reports like one, so that one loop measures them all. And what a network in
training is compared with: itself without what it has learnt.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from wbsr_arch.cost import dry_run
from wbsr_arch.dynamic import DynamicNetwork
from wbsr_base.devices import seconds_at
from wbsr_base.pixels.bicubic import upscale_as_matlab
from wbsr_models.inference.report import Report
from wbsr_models.routing.choice import NO_SUBNET


class Dense:
    """The full network on the whole image at once, in the memory layout of its weights, as BasicSR's SRModel tests."""

    def __init__(self, supernet: DynamicNetwork) -> None:
        self.supernet = supernet

    @torch.no_grad()
    def __call__(self, image: Tensor) -> tuple[Tensor, Report]:
        """(1, 3, H, W) RGB -> (1, 3, scale H, scale W), and the report."""
        start = seconds_at(image.device)
        output: Tensor = self.supernet(image)
        return output, _report(len(self.supernet.subnets) - 1, 1.0, seconds_at(image.device) - start)


class Bicubic:
    """MATLAB-style bicubic, by which super-resolution networks are measured; always on the CPU."""

    def __init__(self, scale: int) -> None:
        self.scale = scale

    def __call__(self, image: Tensor) -> tuple[Tensor, Report]:
        """(1, 3, H, W) RGB -> (1, 3, scale H, scale W) on the same device, and the report."""
        start = seconds_at(image.device)
        output = upscale_as_matlab(image[0], self.scale)[None].to(image.device)
        return output, _report(NO_SUBNET, 0.0, seconds_at(image.device) - start)


def without_residual(network: DynamicNetwork) -> nn.Module:
    """The cheapest subnet with its output layer at zero: what is left is the image that a residual is added to, such as
    the interpolated input."""
    plain = network.extract(network.subnets[0])
    layer = plain.get_submodule(dry_run(plain, network.in_channels).output_layer)
    for weight in layer.parameters():
        nn.init.zeros_(weight)
    return plain


def _report(subnet: int, share: float, seconds: float) -> Report:
    return Report(np.full((1, 1), subnet), share, share, share, 1000 * seconds)
