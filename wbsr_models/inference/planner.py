"""From the patches' subnets to a plan: what a runner is to do with an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from wbsr_models.inference.costs import CostModel
from wbsr_models.inference.settings import EngineSettings
from wbsr_models.inference.tiling import Tile, make_tile, plan_tiles
from wbsr_models.inference.trimming import Parts
from wbsr_models.routing.choice import NO_SUBNET, Choice


@dataclass(frozen=True)
class TilePlan:
    """Tiles, each under one subnet, that write every pixel of an image once.

    `kind`: how it was made; `interpolates`: whether pixels that no tile writes are interpolated.
    """

    kind: str
    tiles: tuple[Tile, ...]
    interpolates: bool

    def computed_pixels(self, shares: Sequence[float], parts: Sequence[Parts]) -> float:
        """LR pixels of the full network whose FLOPs the plan costs, halos counted.

        Args:
            shares: of each subnet's FLOPs over the full network's.
            parts: how much of each subnet's FLOPs is spent how far around a tile.
        """
        return sum(shares[tile.subnet] * tile.computed_area(parts[tile.subnet]) for tile in self.tiles)


class Planner(Protocol):
    """Makes plans under which no patch gets a smaller subnet than it was routed to."""

    def __call__(
        self, choice: Choice, height: int, width: int, costs: CostModel, parts: Sequence[Parts], max_pixels: int
    ) -> TilePlan:
        """The plan of an image.

        Args:
            choice: (rows, cols), the subnet of each patch, `NO_SUBNET` for interpolation.
            height: LR pixels.
            width: LR pixels.
            costs: of network calls.
            parts: how much of each subnet's cost is spent how far around a tile.
            max_pixels: LR pixels of the largest window that fits into the memory.
        """
        ...


@dataclass(frozen=True)
class TilePlanner:
    """Joins neighbouring patches to tiles where one window costs less than its parts (`tiling.py`)."""

    patch_size: int
    settings: EngineSettings

    def __call__(
        self, choice: Choice, height: int, width: int, costs: CostModel, parts: Sequence[Parts], max_pixels: int
    ) -> TilePlan:
        """See `Planner`."""
        layout = height, width, self.patch_size, self.settings.halo
        tiles = plan_tiles(
            choice, *layout, costs.per_pixel, self.settings.max_tile, costs.call_pixels, parts, max_pixels
        )
        return TilePlan("tiles", tuple(tiles), bool((choice == NO_SUBNET).any()))


@dataclass(frozen=True)
class DensePlanner:
    """The whole image as one tile, by the largest subnet that a patch needs; interpolated if none needs any."""

    def __call__(
        self, choice: Choice, height: int, width: int, costs: CostModel, parts: Sequence[Parts], max_pixels: int
    ) -> TilePlan:
        """See `Planner`.

        Raises:
            ValueError: the image does not fit into the memory.
        """
        if height * width > max_pixels:
            raise ValueError(
                f"plan dense needs room for the whole LR image of {height} x {width} = {height * width} pixels, but "
                f"memory_mb allows for {max_pixels}: raise it, or set plan: tiles"
            )
        largest = int(choice.max())
        tiles = () if largest == NO_SUBNET else (make_tile(largest, 0, height, 0, width, 0, height, width),)
        return TilePlan("dense", tiles, largest == NO_SUBNET)


def make_planner(patch_size: int, settings: EngineSettings) -> Planner:
    """The planner that the settings ask for."""
    return DensePlanner() if settings.plan == "dense" else TilePlanner(patch_size, settings)
