"""From the patches' subnets to a plan of tiles: what `tile_runner.py` is to do with an image."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from wbsr_models.inference.costs import CostModel
from wbsr_models.inference.tiling import Tile, make_tile, narrowest_band, plan_tiles
from wbsr_models.inference.trimming import Parts
from wbsr_models.routing.choice import NO_SUBNET, Choice


@dataclass(frozen=True)
class Request:
    """What is asked of a planner.

    Args:
        choice: (rows, cols), the subnet of each patch, `NO_SUBNET` for interpolation.
        height: of the LR image, pixels.
        width: of the LR image, pixels.
        costs: of network calls.
        max_pixels: LR pixels of the largest batch that fits into the memory, a patch's window at least.
        parts: how much of each subnet's FLOPs is spent how far around a tile; asked for by those who plan tiles alone.
        threads: that take tiles side by side.
    """

    choice: Choice
    height: int
    width: int
    costs: CostModel
    max_pixels: int
    parts: Callable[[], Sequence[Parts]]
    threads: int = 1


@dataclass(frozen=True)
class TilePlan:
    """Tiles, each under one subnet, that cover every pixel of an image once.

    Args:
        kind: how it was made.
        tiles: in any order.
        interpolates: whether pixels that no tile writes are interpolated.
        seconds: as predicted.
    """

    kind: str
    tiles: tuple[Tile, ...]
    interpolates: bool
    seconds: float = field(default=0.0, compare=False)

    def computed_pixels(self, shares: Sequence[float], parts: Callable[[], Sequence[Parts]]) -> float:
        """LR pixels of the full network whose FLOPs the plan costs, halos counted.

        Args:
            shares: of each subnet's FLOPs over the full network's.
            parts: as in `Request`.
        """
        by_subnet = parts()
        return sum(shares[tile.subnet] * tile.computed_area(by_subnet[tile.subnet]) for tile in self.tiles)


@dataclass(frozen=True)
class TilePlanner:
    """Joins neighbouring patches to tiles where one window costs less than its parts (`tiling.py`)."""

    patch_size: int
    halo: int
    max_tile: int

    def __call__(self, request: Request) -> TilePlan:
        """The plan of an image."""
        costs, parts = request.costs, request.parts()
        layout = request.height, request.width, self.patch_size, self.halo
        room = request.max_pixels
        if request.threads > 1:  # each has its tile in memory, and finds some to take
            room = min(room, request.height * request.width // 2) // request.threads
        tiles = plan_tiles(
            request.choice,
            *layout,
            costs.per_pixel,
            self.max_tile,
            costs.call_pixels,
            parts,
            room,
        )
        each = [
            costs.per_call[tile.subnet] + costs.per_pixel[tile.subnet] * tile.computed_area(parts[tile.subnet])
            for tile in tiles
        ]
        seconds = max(sum(each), request.threads * max(each, default=0.0))
        return TilePlan("tiles", tuple(tiles), bool((request.choice == NO_SUBNET).any()), seconds)


@dataclass(frozen=True)
class DensePlanner:
    """The whole image as one tile, by the fastest subnet that is at least as large as any patch needs; interpolated if
    none needs any. Where that does not fit into the memory, in as few bands across its longer side as do."""

    halo: int

    def __call__(self, request: Request) -> TilePlan:
        """The plan of an image.

        Raises:
            ValueError: no band that is wider than its halo fits into the memory.
        """
        height, width = request.height, request.width
        largest, bands = int(request.choice.max()), self.bands(request)
        if bands is None:
            least = narrowest_band(self.halo) * min(height, width)
            raise ValueError(
                f"plan dense needs room for {least} pixels of the LR image of {height} x {width}, but memory_mb allows "
                f"for {request.max_pixels}: raise it, or set plan: tiles"
            )
        if largest == NO_SUBNET:
            return TilePlan("dense", (), True)
        cuts = pairwise(max(height, width) * band // bands for band in range(bands + 1))
        places = [(*cut, 0, width) if height >= width else (0, height, *cut) for cut in cuts]
        tiles = [make_tile(largest, *place, self.halo, height, width) for place in places]
        seconds = [float(sum(curve(tile.window_area) for tile in tiles)) for curve in request.costs.dense]
        subnet = min(range(largest, len(seconds)), key=seconds.__getitem__)
        return TilePlan("dense", tuple(replace(tile, subnet=subnet) for tile in tiles), False, seconds[subnet])

    def bands(self, request: Request) -> int | None:
        """How many bands an image is cut into, 1 if it fits as a whole; None if none fits that is worth it."""
        length, across = max(request.height, request.width), min(request.height, request.width)
        lines = request.max_pixels // across
        if lines >= length:
            return 1
        return math.ceil(length / (lines - 2 * self.halo)) if lines >= narrowest_band(self.halo) else None
