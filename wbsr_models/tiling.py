"""How an image is cut for dynamic inference: patches that are routed, tiles that are run, windows that are read.

A tile is what one network call writes. Its window is the tile with a halo of real neighbouring pixels; at the image's
border the window is shifted inwards, so all windows of a tile size are equal and can share a batch, and the network's
own padding meets the true border as it would in a dense run.

A halo is paid per tile, so four neighbouring tiles are joined where one larger tile under the dearest of their subnets
costs no more than the four. The best such partition of the quadtree is found bottom-up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Tile:
    """Rows [top, bottom) and columns [left, right) of the LR image, under subnet number `subnet`.

    `window_top`, `window_left`, `window_height`, `window_width` are what the network reads, in LR pixels.
    """

    subnet: int
    top: int
    bottom: int
    left: int
    right: int
    window_top: int
    window_left: int
    window_height: int
    window_width: int

    @property
    def window_area(self) -> int:
        return self.window_height * self.window_width


def plan_tiles(
    choice: NDArray[np.integer],
    height: int,
    width: int,
    patch_size: int,
    halo: int,
    costs: Sequence[float],
    max_tile: int,
) -> list[Tile]:
    """Cover an LR image of height x width by tiles, each pixel by exactly one.

    Args:
        choice: (rows, cols) subnet of each patch, rows = ⌈height / patch_size⌉; patches lie on a regular grid, the
            last of a row or column is cut off by the image's border.
        height: LR pixels.
        width: LR pixels.
        patch_size: LR pixels.
        halo: LR pixels around a tile that its window also reads.
        costs: cost of each subnet per pixel, in any unit, increasing.
        max_tile: largest side of a joined tile in LR pixels.

    Returns:
        The tiles of the cheapest partition, halos counted.
    """
    rows, cols = choice.shape

    def tile(subnet: int, row: int, col: int, span: int) -> Tile:
        top, left, side = row * patch_size, col * patch_size, span * patch_size
        window_height, window_width = min(side + 2 * halo, height), min(side + 2 * halo, width)
        return Tile(
            subnet,
            top,
            min(top + side, height),
            left,
            min(left + side, width),
            min(max(top - halo, 0), height - window_height),
            min(max(left - halo, 0), width - window_width),
            window_height,
            window_width,
        )

    def best(row: int, col: int, span: int) -> tuple[float, list[Tile]]:
        if row >= rows or col >= cols:
            return 0.0, []
        whole = tile(int(choice[row : row + span, col : col + span].max()), row, col, span)
        cost = costs[whole.subnet] * whole.window_area
        if span == 1:
            return cost, [whole]
        half = span // 2
        parts = [best(row + i, col + j, half) for i in (0, half) for j in (0, half)]
        split = sum(part_cost for part_cost, _ in parts)
        if span * patch_size <= max_tile and cost <= split:
            return cost, [whole]
        return split, [one for _, tiles in parts for one in tiles]

    root = 1
    while root < max(rows, cols):
        root *= 2
    return best(0, 0, root)[1]
