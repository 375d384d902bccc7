"""How an image is cut for dynamic inference: patches that are routed, tiles that are run, windows that are read.

A tile is what one network call writes. Its window is the tile with a halo of real neighbouring pixels around it; where
the image ends, the window ends too, so the network's own padding meets the true border as it would in a dense run.

The nearer to its window's end, the less a network's output is that of a dense run. So that a small halo shows no seam,
tiles fade into one another: where a window has a halo, its output is used for `FADE` LR pixels beyond the tile, its
*rim*, and there it loses its weight to the neighbour's, from one half at the border to nothing.

A halo is paid per tile: a tile of 32 x 32 with a halo of 2 computes 1.27 times its area, one of 128 x 128 only 1.06
times; layers that are trimmed (see `trimming.py`) compute less of it. So neighbouring patches are joined to
rectangles where one window, under the dearest of their subnets, costs less than its parts. The image is cut into blocks
of at most `max_tile`, and in each block the cheapest guillotine partition is found by dynamic programming over all its
rectangles, smallest first:

    best(rectangle) = min(cost of one window, min over all cuts of best(one side) + best(other side))

A window that is too large for the memory costs infinitely much; one patch's window always is allowed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from types import EllipsisType

import numpy as np
from numpy.typing import NDArray

from wbsr_models.inference.trimming import WHOLE, Margins, Parts

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Part = tuple[EllipsisType, slice, slice]  # rows and columns of an image, whatever stands before them

FADE = 1  # LR pixels beyond a tile's border, as far as its window has a halo


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
        """LR pixels that the network reads."""
        return self.window_height * self.window_width

    def is_whole(self, height: int, width: int) -> bool:
        """Whether it is the whole image of height x width."""
        return (self.top, self.left, self.bottom, self.right) == (0, 0, height, width)

    @property
    def rims(self) -> Margins:
        """LR pixels above, below, left and right of the tile over which it fades into its neighbours."""
        top, bottom, left, right = (min(side, FADE) for side in self._halos)
        return top, bottom, left, right

    @property
    def rim_area(self) -> int:
        """LR pixels of the rims."""
        height, width = self._with_rims
        return height * width - (self.bottom - self.top) * (self.right - self.left)

    @property
    def margins(self) -> Margins:
        """LR pixels that the window has above, below, left and right of the tile and its rims."""
        top, bottom, left, right = (halo - rim for halo, rim in zip(self._halos, self.rims, strict=True))
        return top, bottom, left, right

    @property
    def window(self) -> Part:
        """Rows and columns of the LR image that the network reads."""
        return (
            ...,
            slice(self.window_top, self.window_top + self.window_height),
            slice(self.window_left, self.window_left + self.window_width),
        )

    def inside(self, scale: int) -> Part:
        """Rows and columns of the window's output that are the tile's."""
        top, left = self.top - self.window_top, self.left - self.window_left
        return ..., _scaled(top, self.bottom - self.top, scale), _scaled(left, self.right - self.left, scale)

    def target(self, scale: int) -> Part:
        """Rows and columns of the SR image that the tile writes."""
        return ..., _scaled(self.top, self.bottom - self.top, scale), _scaled(self.left, self.right - self.left, scale)

    def computed_area(self, parts: Parts) -> float:
        """LR pixels that a network computes whose cost is spent in these parts, around the tile and its rims."""
        height, width = self._with_rims
        top, bottom, left, right = self.margins
        return sum(
            share * (height + min(top, m) + min(bottom, m)) * (width + min(left, m) + min(right, m))
            for m, share in parts.items()
        )

    @property
    def _with_rims(self) -> tuple[int, int]:
        """Height and width of the tile and its rims, LR pixels."""
        top, bottom, left, right = self.margins
        return self.window_height - top - bottom, self.window_width - left - right

    @property
    def _halos(self) -> Margins:
        """LR pixels that the window has above, below, left and right of the tile."""
        top, left = self.top - self.window_top, self.left - self.window_left
        height, width = self.bottom - self.top, self.right - self.left
        return top, self.window_height - height - top, left, self.window_width - width - left


def make_tile(subnet: int, top: int, bottom: int, left: int, right: int, halo: int, height: int, width: int) -> Tile:
    """The tile of these rows and columns of an LR image of height x width, which reads `halo` pixels around itself."""
    window_top, window_left = max(top - halo, 0), max(left - halo, 0)
    window_height, window_width = min(bottom + halo, height) - window_top, min(right + halo, width) - window_left
    return Tile(subnet, top, bottom, left, right, window_top, window_left, window_height, window_width)


def plan_tiles(
    choice: NDArray[np.integer],
    height: int,
    width: int,
    patch_size: int,
    halo: int,
    costs: Sequence[float],
    max_tile: int,
    call_pixels: float | Sequence[float] = 0,
    parts: Sequence[Parts] | None = None,
    max_pixels: float = math.inf,
) -> list[Tile]:
    """Cover an LR image of height x width by tiles, each pixel by exactly one, or where none is asked for by none.

    Args:
        choice: (rows, cols) subnet of each patch, rows = ⌈height / patch_size⌉; patches lie on a regular grid, the
            last of a row or column is cut off by the image's border. -1 asks for no subnet: no tile needs to cover it.
        height: LR pixels.
        width: LR pixels.
        patch_size: LR pixels.
        halo: LR pixels around a tile that its window also reads.
        costs: cost of each subnet per pixel, in any unit, above 0. Of joined patches the highest-numbered subnet
            runs: the supernet numbers them by FLOPs.
        max_tile: largest side of a joined tile in LR pixels.
        call_pixels: what a window costs beside its area, in LR pixels of its subnet: one number, or one by subnet.
        parts: how much of the cost of each subnet is spent how far around a tile and its rims; None: all of it on the
            window.
        max_pixels: LR pixels of the largest window of joined patches.

    Returns:
        The tiles of the cheapest partition, halos counted, from top to bottom and left to right within a block.
    """
    rows, cols = _edges(height, patch_size, max_tile), _edges(width, patch_size, max_tile)
    blocks = _blocks(choice, len(rows[0]) - 1, len(cols[0]) - 1, len(rows), len(cols))
    spent = _spent(costs, parts or [WHOLE] * len(costs), halo)
    extra = np.append(np.broadcast_to(call_pixels, len(costs)) * np.asarray(costs, np.float64), 0.0)
    planned = _Partition(blocks, rows, cols, spent, extra, (height, width), halo, max_pixels)
    return [make_tile(*rectangle, halo, height, width) for rectangle in planned.rectangles()]


def narrowest_band(halo: int) -> int:
    """Lines of the narrowest band of a dense run that is worth it: as many of its own as of each halo, and these."""
    return max(1, halo) + 2 * halo


def _scaled(first: int, length: int, scale: int) -> slice:
    return slice(first * scale, (first + length) * scale)


def _spent(costs: Sequence[float], parts: Sequence[Parts], halo: int) -> dict[float, Floats]:
    """By LR pixels around a tile, its rims among them: what each subnet spends there per pixel, and last 0 for number
    -1, past the image."""
    spent: dict[float, Floats] = {}
    for subnet, (cost, shares) in enumerate(zip(costs, parts, strict=True)):
        for margin, share in shares.items():
            spent.setdefault(min(margin + FADE, halo), np.zeros(len(costs) + 1))[subnet] += cost * share
    return spent


def _edges(length: int, patch_size: int, max_tile: int) -> Ints:
    """(blocks, span + 1): where the patches of each block begin and end along a side, in LR pixels.

    Blocks hold about equally many patches; positions past the image are its end, so that patches there are empty.
    """
    patches = -(-length // patch_size)
    blocks = -(-patches // max(1, max_tile // patch_size))
    span = -(-patches // blocks)
    grid = np.arange(blocks)[:, None] * span + np.arange(span + 1)
    edges: Ints = np.minimum(grid * patch_size, length)
    return edges


def _blocks(choice: NDArray[np.integer], height: int, width: int, down: int, across: int) -> Ints:
    """(down, across, height, width): the choice, block by block, -1 past the image."""
    padded: Ints = np.full((down * height, across * width), -1, dtype=np.int64)
    padded[: choice.shape[0], : choice.shape[1]] = choice
    cells: Ints = padded.reshape(down, height, across, width).swapaxes(1, 2)
    return cells


class _Partition:
    """The cheapest guillotine partition of every block, for all blocks and all positions of a rectangle at once.

    For each size (h, w) of a rectangle in patches, arrays over (block down, block across, row, column): the best cost,
    and the cut that reaches it, 0 for none, c > 0 before row c, c < 0 before column -c.
    """

    def __init__(
        self,
        blocks: Ints,
        rows: Ints,
        cols: Ints,
        spent: dict[float, Floats],
        extra: Floats,
        size: tuple[int, int],
        halo: int,
        max_pixels: float,
    ) -> None:
        self.rows, self.cols, self.span = rows, cols, blocks.shape[2:]
        self.subnets: dict[tuple[int, int], Ints] = {(1, 1): blocks}
        self.cuts: dict[tuple[int, int], Ints] = {}
        best: dict[tuple[int, int], Floats] = {}
        high, wide = self.span
        margins = {*spent, halo}
        heights = {(h, m): _window(rows, h, m, size[0])[:, None, :, None] for h in range(1, high + 1) for m in margins}
        widths = {(w, m): _window(cols, w, m, size[1])[None, :, None, :] for w in range(1, wide + 1) for m in margins}
        for h in range(1, high + 1):
            for w in range(1, wide + 1):
                subnet = self._dearest(h, w)
                cost = extra[subnet]
                for m, by_number in spent.items():
                    cost += by_number[subnet] * (heights[h, m] * widths[w, m])
                if h * w > 1:
                    cost[heights[h, halo] * widths[w, halo] > max_pixels] = np.inf
                cut = np.zeros(cost.shape, np.int64)
                for first in range(1, h):
                    other = best[first, w][:, :, : high - h + 1] + best[h - first, w][:, :, first:]
                    _improve(cost, cut, other, first)
                for first in range(1, w):
                    other = best[h, first][..., : wide - w + 1] + best[h, w - first][..., first:]
                    _improve(cost, cut, other, -first)
                best[h, w], self.cuts[h, w] = cost, cut

    def rectangles(self) -> list[tuple[int, int, int, int, int]]:
        """(subnet, top, bottom, left, right) of every part, in LR pixels."""
        found: list[tuple[int, int, int, int, int]] = []
        for down in range(len(self.rows)):
            for across in range(len(self.cols)):
                self._collect(found, down, across, 0, 0, *self.span)
        return found

    def _dearest(self, h: int, w: int) -> Ints:
        """The highest-numbered subnet in each rectangle of size (h, w), from smaller ones."""
        if (h, w) != (1, 1):
            if h > 1:
                part = self.subnets[h - 1, w]
                self.subnets[h, w] = np.maximum(part[:, :, :-1], part[:, :, 1:])
            else:
                part = self.subnets[h, w - 1]
                self.subnets[h, w] = np.maximum(part[..., :-1], part[..., 1:])
        return self.subnets[h, w]

    def _collect(
        self,
        found: list[tuple[int, int, int, int, int]],
        down: int,
        across: int,
        row: int,
        col: int,
        h: int,
        w: int,
    ) -> None:
        subnet = int(self.subnets[h, w][down, across, row, col])
        if subnet < 0:
            return
        cut = int(self.cuts[h, w][down, across, row, col])
        if cut > 0:
            self._collect(found, down, across, row, col, cut, w)
            self._collect(found, down, across, row + cut, col, h - cut, w)
        elif cut < 0:
            self._collect(found, down, across, row, col, h, -cut)
            self._collect(found, down, across, row, col - cut, h, w + cut)
        else:
            top, bottom = self.rows[down, row], self.rows[down, row + h]
            left, right = self.cols[across, col], self.cols[across, col + w]
            found.append((subnet, int(top), int(bottom), int(left), int(right)))


def _window(edges: Ints, span: int, margin: float, length: int) -> Floats:
    """(blocks, positions): side of `span` patches and the margin around them, in LR pixels."""
    lower = np.maximum(edges[:, :-span] - margin, 0)
    upper = np.minimum(edges[:, span:] + margin, length)
    side: Floats = (upper - lower).astype(np.float64)
    return side


def _improve(cost: Floats, cut: Ints, other: Floats, number: int) -> None:
    better = other < cost
    np.copyto(cost, other, where=better)
    cut[better] = number
