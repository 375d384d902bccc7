"""Networks ready to run: subnets extracted, in their precision, padded, compiled or trimmed, each made when first
needed."""

from __future__ import annotations

import logging

import torch
from torch import Tensor, nn

from wbsr_arch.cost import REFERENCE_PATCH
from wbsr_arch.dynamic import DynamicNetwork
from wbsr_arch.padding import pad_widths
from wbsr_arch.skeleton import leading
from wbsr_base.pixels.bicubic import interpolate
from wbsr_models.inference.ready import SelfEnsemble, ready
from wbsr_models.inference.settings import EngineSettings
from wbsr_models.inference.trimming import NO_MARGINS, Head, Margins, find_head, same_head, trim
from wbsr_models.routing.choice import NO_SUBNET

CHANNEL_BLOCK = 8  # a GPU multiplies so many channels at once in half precision

_logger = logging.getLogger("basicsr.wbsr_models")  # reaches the log file where BasicSR runs


class Interpolation(nn.Module):
    """The network of no subnet: bicubic, not clamped; as MATLAB interpolates, but for the border."""

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, scale H, scale W)."""
        return interpolate(x, self.scale * x.shape[-2], self.scale * x.shape[-1])


class NetworkPool:
    """The networks of a family's subnets, by number and by the margins that they may leave out.

    Networks are trimmed to what a tile needs, but for compiled ones, of which there would be one for every kind of
    window, and self-ensembles. In half precision on CUDA their widths are padded to whole blocks of channels.

    Args:
        source: the family, on the device that is to compute. Its weights are copied; `refresh` copies them anew.
        settings: precision, compilation, self-ensemble.
    """

    def __init__(self, source: DynamicNetwork, settings: EngineSettings) -> None:
        self.source, self.settings = source, settings
        self.interpolation = Interpolation(source.scale)
        self._extracted: dict[int, nn.Module] = {}
        self._ready: dict[tuple[int, Margins], nn.Module] = {}
        self._heads: dict[int, Head] = {}

    def network(self, number: int, margins: Margins = NO_MARGINS) -> nn.Module:
        """The network of a subnet's number, ready for windows with these margins around their tile."""
        if number == NO_SUBNET:
            return self.interpolation
        if (number, margins) not in self._ready:
            if margins == NO_MARGINS:
                self._ready[number, margins] = self._extract(number)
            else:
                self._ready[number, margins] = trim(self.network(number), self.head(number).stages, margins)
        return self._ready[number, margins]

    def head(self, number: int) -> Head:
        """What of a subnet's network is trimmed; nothing of interpolation, compiled networks and self-ensembles."""
        if number == NO_SUBNET or self.settings.capture == "compile" or self.settings.self_ensemble:
            return Head()
        if number not in self._heads:
            self._heads[number] = self._find_head(number)
        return self._heads[number]

    @torch.no_grad()
    def refresh(self) -> None:
        """Take over the source's weights as they are now; what was found, trimmed, captured and compiled stays."""
        for number, network in self._extracted.items():
            weights = network.state_dict()
            for name, weight in self.source.slices(self.source.subnets[number]).items():
                leading(weights[name], weight.shape).copy_(weight)

    def _extract(self, number: int) -> nn.Module:
        settings, subnet = self.settings, self.source.subnets[number]
        network = self.source.extract(subnet)
        if self._pads(network):
            network = pad_widths(network, self.source.options(subnet, CHANNEL_BLOCK))
        compiled = settings.capture == "compile"
        if compiled and not self._extracted:
            _logger.warning(
                "torch compiles each network when it first runs, which takes from some seconds to minutes; later "
                "images of this run are spared it."
            )
        self._extracted[number] = ready(network, settings.precision, compiled)
        return SelfEnsemble(network) if settings.self_ensemble else network

    def _pads(self, network: nn.Module) -> bool:
        """Whether a network runs faster with whole blocks of channels."""
        return self.settings.precision != "fp32" and next(network.parameters()).is_cuda

    def _find_head(self, number: int) -> Head:
        subnet = self.source.subnets[number]
        network = self.source.extract(subnet)
        flops = self.source.flops[subnet] / REFERENCE_PATCH**2
        known = (same_head(head, network, flops) for head in self._heads.values())
        return next(filter(None, known), None) or find_head(network, self.source.in_channels)
