"""What network calls cost, in seconds: the ground on which plans are compared."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import torch

from wbsr_arch.cost import REFERENCE_PATCH
from wbsr_arch.dynamic import DynamicNetwork
from wbsr_models.inference.curve import Curve
from wbsr_models.inference.workers import cores

SIDES = (1, 2, 4)  # patches along the side of a window, where all windows have one shape

# Of a device in general: seconds until an operator has started, and FLOPs per second once it runs (a CPU: of a core).
_CPU_OPERATOR, _CPU_RATE = 1e-4, 1e11
_SHARED_OPERATOR = 4e-4  # on a CPU: one that several threads begin together, and end together
_GPU_OPERATOR, _GPU_RATE = 5e-6, 5e12
_OUT_OF_CACHE = 1.05  # on a CPU: a dense run's time per pixel over that of tiles, at the least; see docs/findings

_NOTHING = Curve.line(0.0, 0.0)

Curves = tuple[Curve, ...]  # of each subnet, in the network's order


@dataclass(frozen=True)
class CostModel:
    """Seconds of network calls.

    Args:
        dense: of calls on one large image.
        tiles: of calls on the window of a tile, where as many threads as there are take one each: of the seconds that a
            thread is busy, its share.
        windows: of calls on batches of windows of one shape, by the patches along a window's side.
        captured: for each subnet the LR pixels up to which batches of windows are faster as graphs, 0 for never.
        batch_pixels: LR pixels of the largest batch that is known to be worth it.
        moving: seconds that windows cost beside network calls, to be planned, cut and put together, by the LR pixels of
            the image.
        measured: whether these are seconds of the device at hand, or arithmetic, of which proportions count.
    """

    dense: Curves
    tiles: Curves
    windows: Mapping[int, Curves]
    captured: tuple[float, ...]
    batch_pixels: float = math.inf
    moving: Curve = _NOTHING
    measured: bool = False

    @cached_property
    def per_pixel(self) -> tuple[float, ...]:
        """What an LR pixel of a tile's window costs under each subnet."""
        return tuple(curve.per_pixel for curve in self.tiles)

    @cached_property
    def per_call(self) -> tuple[float, ...]:
        """What a call on a tile's window costs beside its pixels."""
        return tuple(curve.per_call for curve in self.tiles)

    @property
    def call_pixels(self) -> tuple[float, ...]:
        """What a call on a tile's window costs beside its pixels, in LR pixels of its subnet."""
        return tuple(call / pixel for call, pixel in zip(self.per_call, self.per_pixel, strict=True))

    def shares(self, pixels: float) -> tuple[float, ...]:
        """Each subnet's seconds for an image of so many LR pixels, over the largest subnet's."""
        seconds = [float(curve(pixels)) for curve in self.dense]
        return tuple(each / seconds[-1] for each in seconds)

    def compiled(self, dense: float, windows: float) -> CostModel:
        """The same for compiled networks, which take these shares of the time in dense runs and in batches."""

        def times(curves: Curves, gain: float) -> Curves:
            return tuple(curve.times(gain) for curve in curves)

        batches = {side: times(curves, windows) for side, curves in self.windows.items()}
        return replace(self, dense=times(self.dense, dense), tiles=times(self.tiles, dense), windows=batches)


def costs_by_work(network: DynamicNetwork, device: torch.device) -> CostModel:
    """By arithmetic: the subnets' work (`wbsr_arch.cost`), and the operators that each call starts."""
    if device.type == "cuda":
        alone = together = _GPU_OPERATOR
        rate, large = _GPU_RATE, 1.0
    else:
        threads = torch.get_num_threads()
        alone = _CPU_OPERATOR / cores(device)
        together = _CPU_OPERATOR if threads == 1 else _SHARED_OPERATOR
        rate, large = _CPU_RATE * threads, _OUT_OF_CACHE
    pixels = [work / REFERENCE_PATCH**2 / rate for work in network.work.values()]

    def curves(operator: float, factor: float) -> Curves:
        calls = (operator * count for count in network.calls.values())
        return tuple(Curve.line(call, factor * pixel) for call, pixel in zip(calls, pixels, strict=True))

    large_ones = curves(together, large)
    return CostModel(large_ones, curves(alone, 1.0), dict.fromkeys(SIDES, large_ones), (0.0,) * len(pixels))
