"""What network calls cost, in seconds: the ground on which plans are compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from wbsr_arch.cost import REFERENCE_PATCH
from wbsr_arch.dynamic import DynamicNetwork
from wbsr_models.inference.curve import Curve

SIDES = (1, 2, 4)  # patches along the side of a window, where all windows have one shape

# Of a device in general: seconds until an operator has started, and FLOPs per second once it runs (a CPU: of a core).
_CPU_OPERATOR, _CPU_RATE = 1e-4, 1e11
_GPU_OPERATOR, _GPU_RATE = 5e-6, 5e12
_OUT_OF_CACHE = 1.05  # on a CPU: a dense run's time per pixel over that of tiles, at the least; see docs/findings

Curves = tuple[Curve, ...]  # of each subnet, in the network's order


@dataclass(frozen=True)
class CostModel:
    """Seconds of network calls.

    Args:
        dense: of calls on one large image.
        tiles: of calls on the window of a tile.
        windows: of calls on batches of windows of one shape, by the patches along a window's side.
        captured: for each subnet the LR pixels up to which batches of windows are faster as graphs, 0 for never.
        measured: whether these are seconds of the device at hand, or arithmetic, of which proportions count.
    """

    dense: Curves
    tiles: Curves
    windows: Mapping[int, Curves]
    captured: tuple[float, ...]
    measured: bool

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

    def times(self, factor: float) -> CostModel:
        """The same for networks that take `factor` times as long."""
        dense, tiles = (tuple(curve.times(factor) for curve in curves) for curves in (self.dense, self.tiles))
        windows = {side: tuple(curve.times(factor) for curve in curves) for side, curves in self.windows.items()}
        return CostModel(dense, tiles, windows, self.captured, self.measured)

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        by_kind = {"dense": self.dense, "tiles": self.tiles} | {str(side): self.windows[side] for side in SIDES}
        calls = {kind: [list(map(list, curve.points)) for curve in curves] for kind, curves in by_kind.items()}
        return {"seconds_by_pixels": calls, "captured": list(self.captured)}

    @classmethod
    def of_plain(cls, content: Any, subnets: int) -> CostModel:
        """What `plain` gave, of so many subnets; they were measured.

        Raises:
            ValueError, KeyError, TypeError: it is something else.
        """
        calls = content["seconds_by_pixels"]
        dense, tiles, *windows = (
            tuple(Curve(tuple((float(x), float(y)) for x, y in points)) for points in calls[kind])
            for kind in ("dense", "tiles", *map(str, SIDES))
        )
        captured = tuple(map(float, content["captured"]))
        for curves in (dense, tiles, *windows, captured):
            if len(curves) != subnets:
                raise ValueError(f"it holds {len(curves)} subnets instead of {subnets}")
        if any(curve.per_pixel <= 0 for curves in (dense, tiles, *windows) for curve in curves):
            raise ValueError("it holds calls that take no time")
        return cls(dense, tiles, dict(zip(SIDES, windows, strict=True)), captured, True)


def costs_by_work(network: DynamicNetwork, device: torch.device) -> CostModel:
    """By arithmetic: the subnets' work (`wbsr_arch.cost`), and the operators that each call starts."""
    if device.type == "cuda":
        operator, rate, large = _GPU_OPERATOR, _GPU_RATE, 1.0
    else:
        operator, rate, large = _CPU_OPERATOR, _CPU_RATE * torch.get_num_threads(), _OUT_OF_CACHE
    calls = [operator * count for count in network.calls.values()]
    pixels = [work / REFERENCE_PATCH**2 / rate for work in network.work.values()]

    def curves(factor: float) -> Curves:
        return tuple(Curve.line(call, factor * pixel) for call, pixel in zip(calls, pixels, strict=True))

    return CostModel(curves(large), curves(1.0), dict.fromkeys(SIDES, curves(large)), (0.0,) * len(calls), False)
