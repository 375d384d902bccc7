"""How tiles fade into one another, so that no border shows although neighbours know little of each other.

A tile's weight is 1 inside it and 0 outside, but that it falls linearly from n SR pixels before a border, n = FADE ·
scale, to n beyond it, where the tile's output goes on as its *rim*:

    weight of SR pixel i beyond the border = (1 - (i + 1/2) / n) / 2        i = 0..n-1

along rows, and along columns; the product counts. These weights are the tile's indicator, averaged over a square of
2 n pixels, so those of all tiles add up to 1 however they lie, and a pixel becomes

    own + Σ weight · (rim - own)        over the rims that lie on it, where `own` is what its tile says of it

Where tiles say the same nothing changes. Interpolated pixels are no tile: they take from rims and give nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
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


def rims(tile: Tile, output: Tensor, canvas: Tensor, scale: int) -> Iterator[Rim]:
    """The rims of a tile, with copies of what they need of its window's output (C, scale h, scale w), for the SR image
    (C, scale H, scale W). Those above and below hold the corners."""
    above, below, before, behind = (scale * side for side in tile.rims)
    (_, rows, cols), (_, inner_rows, inner_cols) = tile.target(scale), tile.inside(scale)
    height, width = rows.stop - rows.start, cols.stop - cols.start
    down, across = (
        _weights(*line, canvas.device, canvas.dtype) for line in ((above, height, below), (before, width, behind))
    )
    sides = (  # rows and columns from the tile's own corner on
        (-above, 0, -before, width + behind),
        (height, height + below, -before, width + behind),
        (0, height, -before, 0),
        (0, height, width, width + behind),
    )
    for top, bottom, left, right in sides:
        if bottom > top and right > left:
            target = ..., slice(rows.start + top, rows.start + bottom), slice(cols.start + left, cols.start + right)
            inner = slice(inner_rows.start + top, inner_rows.start + bottom)
            pixels = output[..., inner, inner_cols.start + left : inner_cols.start + right]
            weights = down[above + top : above + bottom, None], across[before + left : before + right]
            yield Rim(target, pixels.to(canvas.device, canvas.dtype, copy=True), *weights)


def fade(canvas: Tensor, found: Iterable[Rim]) -> None:
    """Let tiles fade into one another on the SR image (C, scale H, scale W) that they have written.

    Args:
        canvas: changed in place.
        found: the rims of all tiles, whose pixels are changed too.
    """
    everywhere = list(found)
    for rim in everywhere:
        rim.pixels.sub_(canvas[rim.target]).mul_(rim.down * rim.right)
    for rim in everywhere:
        canvas[rim.target] += rim.pixels


@functools.lru_cache(maxsize=1024)
def _weights(before: int, between: int, behind: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Of the SR pixels in a line: so many of a rim before a tile, of the tile, and of the rim behind it."""
    with torch.inference_mode(False):
        places = torch.arange(before + between + behind, dtype=torch.float64) + 0.5
        rising, falling = (
            (line / (2 * rim)).clamp(max=1) if rim else torch.ones_like(line)
            for rim, line in ((before, places), (behind, places.flip(0)))
        )
        return (rising + falling - 1).to(device, dtype)
