"""From measured seconds of calls to what calls of any size cost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from wbsr_arch.dynamic import DynamicNetwork
from wbsr_models.inference.costs import SIDES, CostModel, Curves, costs_by_work
from wbsr_models.inference.curve import Curve

_PAYS = 0.97  # of the time without one, from which on a graph is captured


@dataclass(frozen=True)
class Shape:
    """Calls on `batch` windows of side x side LR pixels; `patches` along the side of a window, 0 for a dense run."""

    patches: int
    side: int
    batch: int = 1

    @property
    def pixels(self) -> int:
        return self.batch * self.side**2


Times = Mapping[Shape, tuple[float, ...]]  # seconds of one call, of each subnet


@dataclass(frozen=True)
class Timings:
    """What was measured.

    `calls`: as networks are; `graphs`: as captured graphs, where there are such; `moving`: (LR pixels of an image, the
    seconds that its windows take beside network calls).
    """

    calls: Times
    graphs: Times
    moving: tuple[tuple[float, float], ...]

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        calls = [
            {
                "patches": shape.patches,
                "side": shape.side,
                "batch": shape.batch,
                "seconds": list(seconds),
                "as_graph": list(self.graphs[shape]) if shape in self.graphs else None,
            }
            for shape, seconds in self.calls.items()
        ]
        return {"calls": calls, "moving": [list(point) for point in self.moving]}

    @classmethod
    def of_plain(cls, content: Any, subnets: int) -> Timings:
        """What `plain` gave, of so many subnets.

        Raises:
            ValueError, KeyError, TypeError: it is something else.
        """
        calls, graphs = (
            {_shape(each): _seconds(each[key], subnets) for each in content["calls"] if each[key] is not None}
            for key in ("seconds", "as_graph")
        )
        moving = tuple((float(pixels), float(seconds)) for pixels, seconds in content["moving"])
        if not any(shape.patches == 0 for shape in calls):
            raise ValueError("it holds no dense run")
        return cls(calls, graphs, moving)


def costs_by_time(timings: Timings, network: DynamicNetwork, device: torch.device, by_graphs: bool) -> CostModel:
    """Curves through what was measured.

    Tiles are calls on one window each, so on a GPU they cost what small dense runs cost. On a CPU a call is as dear
    beside a pixel as by arithmetic: it is too little of a small window's time to be measured.

    Args:
        timings: of the network's subnets.
        network: whose subnets were timed.
        device: where.
        by_graphs: whether batches of windows may run as graphs: they do up to the size to which that is faster.
    """
    subnets = range(len(network.subnets))
    graphs = timings.graphs if by_graphs else {}
    captured = tuple(_captured(timings.calls, graphs, number) for number in subnets)

    def seconds(shape: Shape, number: int) -> float:
        return (graphs if shape in graphs and shape.pixels <= captured[number] else timings.calls)[shape][number]

    def curves(patches: int, most: int | None = None) -> Curves:
        shapes = sorted((s for s in timings.calls if s.patches == patches), key=lambda shape: shape.pixels)[:most]
        return tuple(Curve(tuple((float(s.pixels), seconds(s, number)) for s in shapes)) for number in subnets)

    dense, tiles = curves(0), curves(0, 2)
    if device.type == "cpu":
        first = dense[0].points[0][0]
        beside = costs_by_work(network, device).call_pixels
        each = [float(curve(first)) / first for curve in dense]
        tiles = tuple(Curve.line(pixels * pixel, pixel) for pixels, pixel in zip(beside, each, strict=True))
    timed = {shape.patches for shape in timings.calls}
    batches = {side: curves(side if side in timed else 0) for side in SIDES}
    largest = math.inf  # a GPU that is busy is as busy with more, but a CPU leaves its cache
    if device.type == "cpu":
        largest = max(shape.pixels for shape in timings.calls if shape.patches or timed == {0})
    return CostModel(dense, tiles, batches, captured, largest, Curve(timings.moving), measured=True)


def _captured(calls: Times, graphs: Times, number: int) -> float:
    """LR pixels up to which a subnet's batches are faster as graphs: infinite where the largest measured one is."""
    paying = [shape.pixels for shape in graphs if graphs[shape][number] < _PAYS * calls[shape][number]]
    if not paying:
        return 0.0
    return math.inf if max(paying) == max(shape.pixels for shape in graphs) else float(max(paying))


def _shape(content: Mapping[str, Any]) -> Shape:
    return Shape(int(content["patches"]), int(content["side"]), int(content["batch"]))


def _seconds(content: Any, subnets: int) -> tuple[float, ...]:
    seconds = tuple(map(float, content))
    if len(seconds) != subnets or not all(each > 0 for each in seconds):
        raise ValueError("it holds other numbers")
    return seconds
