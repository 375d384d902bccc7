"""How tiles fade into one another, so that no border shows although neighbours know little of each other.

Beyond its border a tile's output goes on for a rim of `tiling.FADE` LR pixels, over which its weight falls linearly
from one half to nothing, while inside the border the neighbour's rim takes from it as much:

    weight of SR pixel i beyond the border = (1 - (i + 1/2) / n) / 2        i = 0..n-1,  n = FADE · scale

so the mean of both stands at the border itself. Where both tiles say the same nothing changes.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from wbsr_models.inference.tiling import Part, Tile


@dataclass(frozen=True)
class Rim:
    """What a tile says of SR pixels beyond one of its borders.

    `target`: their rows and columns in the SR image; `pixels`: (C, h, w); `down`, `right`: the weights of rows, (h, 1),
    and of columns, (w,). All lie where the SR image lies.
    """

    target: Part
    pixels: Tensor
    down: Tensor
    right: Tensor

    def fade_into(self, canvas: Tensor) -> None:
        """Change the SR image (C, scale H, scale W), which its own tiles have written by now."""
        canvas[self.target].lerp_(self.pixels, self.down * self.right)


def rims(tile: Tile, output: Tensor, scale: int) -> Iterator[Rim]:
    """The rims of a tile, with copies of what they need of its window's output (C, scale h, scale w), in the number
    format and on the device of the SR image. Those above and below hold the corners.
    """
    above, below, before, behind = (scale * side for side in tile.rims)
    (_, rows, cols), (_, inner_rows, inner_cols) = tile.target(scale), tile.inside(scale)
    height, width = rows.stop - rows.start, cols.stop - cols.start
    weights = functools.partial(_weights, output.device, output.dtype)
    across, down = weights(before, width, behind), weights(0, height, 0)
    sides = (  # rows and columns from the tile's own corner on, and weights
        (-above, 0, -before, width + behind, weights(above, 0, 0), across),
        (height, height + below, -before, width + behind, weights(0, 0, below), across),
        (0, height, -before, 0, down, weights(before, 0, 0)),
        (0, height, width, width + behind, down, weights(0, 0, behind)),
    )
    for top, bottom, left, right, along_rows, along_cols in sides:
        if bottom > top and right > left:
            target = ..., slice(rows.start + top, rows.start + bottom), slice(cols.start + left, cols.start + right)
            inner = slice(inner_rows.start + top, inner_rows.start + bottom)
            pixels = output[..., inner, inner_cols.start + left : inner_cols.start + right].clone()
            yield Rim(target, pixels, along_rows[:, None], along_cols)


@functools.lru_cache(maxsize=1024)
def _weights(device: torch.device, dtype: torch.dtype, before: int, between: int, behind: int) -> Tensor:
    """Of the SR pixels in a line: so many of a rim before a tile, of the tile, and of the rim behind it."""
    with torch.inference_mode(False):
        first, last = ((1 - (torch.arange(rim) + 0.5) / max(1, rim)) / 2 for rim in (before, behind))
        return torch.cat([first.flip(0), torch.ones(between), last]).to(device, dtype)
