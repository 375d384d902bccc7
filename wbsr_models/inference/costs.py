"""What a network call costs, in seconds: the ground on which plans are compared."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from wbsr_arch.cost import REFERENCE_PATCH
from wbsr_arch.dynamic import DynamicNetwork
from wbsr_models.inference.latency import measured_seconds

# Of a device in general: seconds until an operator has started, and FLOPs per second once it runs (a CPU: of a core).
_CPU_OPERATOR, _CPU_RATE = 1e-4, 1e11
_GPU_OPERATOR, _GPU_RATE = 5e-6, 5e12


@dataclass(frozen=True)
class CostModel:
    """Seconds of network calls.

    `per_pixel`: of each subnet for an LR pixel of its windows; `per_call`: of each subnet for a call of any size.
    Only their proportions matter to a plan, so a device's true speed need not be known.
    """

    per_pixel: tuple[float, ...]
    per_call: tuple[float, ...]

    def seconds(self, subnet: int, height: int, width: int, batch: int = 1) -> float:
        """Of one call of a subnet on `batch` windows of height x width LR pixels."""
        return self.per_call[subnet] + batch * height * width * self.per_pixel[subnet]

    @property
    def call_pixels(self) -> tuple[float, ...]:
        """What a call costs beside its pixels, in LR pixels of its subnet."""
        return tuple(call / pixel for call, pixel in zip(self.per_call, self.per_pixel, strict=True))


def costs_by_work(network: DynamicNetwork, device: torch.device) -> CostModel:
    """By arithmetic: the subnets' work (`wbsr_arch.cost`), and the operators that each call starts."""
    if device.type == "cuda":
        operator, rate = _GPU_OPERATOR, _GPU_RATE
    else:
        operator, rate = _CPU_OPERATOR, _CPU_RATE * torch.get_num_threads()
    return CostModel(
        tuple(work / REFERENCE_PATCH**2 / rate for work in network.work.values()),
        tuple(operator * calls for calls in network.calls.values()),
    )


def costs_by_time(network: DynamicNetwork, device: torch.device, precision: str) -> CostModel:
    """By the time that each subnet takes on the device; a call is as dear beside a pixel as by arithmetic."""
    per_pixel = measured_seconds(network, device, precision)
    beside = costs_by_work(network, device).call_pixels
    return CostModel(per_pixel, tuple(pixels * cost for pixels, cost in zip(beside, per_pixel, strict=True)))


def cost_shares(network: DynamicNetwork, cost: str, device: torch.device, precision: str) -> tuple[float, ...]:
    """C_m of each subnet as a share of the full network's: of its FLOPs, or (`latency`) of its time on the device."""
    if cost == "flops":
        return tuple(network.share(subnet) for subnet in network.subnets)
    times = measured_seconds(network, device, precision)
    return tuple(time / times[network.subnets.index(network.full)] for time in times)
